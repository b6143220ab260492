"""Encode, decode, read and write the frames on the pipe between the engine and a load worker, as
defined in `loadgen.records`."""

from __future__ import annotations

import struct
import threading
from typing import IO, BinaryIO, Literal, Protocol

import msgspec
import pyarrow as pa

from loadgen.records import REQUEST_SCHEMA, Command, Report

_FRAME_HEADER = struct.Struct("<Ic")
_encode = msgspec.msgpack.Encoder().encode
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_report_decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def encode_message(message: Command | Report) -> bytes:
    return _encode(message)


def decode_command(body: bytes) -> Command:
    """Decode a command. Raises msgspec.DecodeError if `body` is not a command."""
    return _command_decoder.decode(body)


def decode_report(body: bytes) -> Report:
    """Decode a report. Raises msgspec.DecodeError if `body` is not a report."""
    return _report_decoder.decode(body)


def encode_rows(batch: pa.RecordBatch) -> bytes:
    body: bytes = batch.serialize().to_pybytes()
    return body


def decode_rows(body: bytes) -> pa.RecordBatch:
    """Decode a record batch of request rows. Raises pyarrow.ArrowException or OSError if `body` is
    not a record batch."""
    return pa.ipc.read_record_batch(pa.py_buffer(body), REQUEST_SCHEMA)


def encode_message_frame(message: Command | Report) -> bytes:
    body = encode_message(message)
    return _FRAME_HEADER.pack(len(body), b"M") + body


def encode_rows_frame(batch: pa.RecordBatch) -> bytes:
    return wrap_rows_frame(encode_rows(batch))


def wrap_rows_frame(body: bytes) -> bytes:
    return _FRAME_HEADER.pack(len(body), b"R") + body


class ReportSink(Protocol):
    """Receiver of the reports and rows of a load worker. The methods may be called from any
    thread."""

    def send(self, report: Report) -> None: ...

    def send_rows(self, batch: pa.RecordBatch) -> None: ...


class ReportWriter:
    """Writer of reports and rows, as frames, to the pipe to the engine. The methods may be called
    from any thread."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, report: Report) -> None:
        self._write(encode_message_frame(report))

    def send_rows(self, batch: pa.RecordBatch) -> None:
        self._write(encode_rows_frame(batch))

    def _write(self, frame: bytes) -> None:
        with self._lock:
            self._pipe.write(frame)
            self._pipe.flush()


def read_command(stream: IO[bytes]) -> Command | None:
    """Read the next command from a stream of frames. Return None at the end of the stream, even
    within a frame. Raises msgspec.DecodeError for an invalid command."""
    frame = _read_frame(stream)
    return None if frame is None else decode_command(frame[1])


def read_report(stream: IO[bytes]) -> Report | pa.RecordBatch | None:
    """Read the next report or batch of rows from a stream of frames. Return None at the end of the
    stream, even within a frame."""
    frame = _read_frame(stream)
    if frame is None:
        return None
    kind, body = frame
    return decode_report(body) if kind == b"M" else decode_rows(body)


def _read_frame(stream: IO[bytes]) -> tuple[Literal[b"M", b"R"], bytes] | None:
    header = stream.read(_FRAME_HEADER.size)
    if len(header) < _FRAME_HEADER.size:
        return None
    length, kind = _FRAME_HEADER.unpack(header)
    body = stream.read(length)
    return (kind, body) if len(body) == length else None
