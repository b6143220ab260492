"""The frames of `loadgen.records` on a pipe: written whole, read whole."""

from __future__ import annotations

import struct
import threading
from typing import IO, BinaryIO, Literal, Protocol

import msgspec
import pyarrow as pa

from loadgen.records import REQUEST_SCHEMA, Command, Report

_HEAD = struct.Struct("<Ic")
_encode = msgspec.msgpack.Encoder().encode
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def message_body(message: Command | Report) -> bytes:
    return _encode(message)


def command_of(body: bytes) -> Command:
    """Raises msgspec.DecodeError for what is none."""
    return _commands.decode(body)


def report_of(body: bytes) -> Report:
    """Raises msgspec.DecodeError for what is none."""
    return _reports.decode(body)


def rows_body(batch: pa.RecordBatch) -> bytes:
    body: bytes = batch.serialize().to_pybytes()
    return body


def rows_of(body: bytes) -> pa.RecordBatch:
    """Raises pyarrow.ArrowException, or OSError, for what is none."""
    return pa.ipc.read_record_batch(pa.py_buffer(body), REQUEST_SCHEMA)


def message_frame(message: Command | Report) -> bytes:
    body = message_body(message)
    return _HEAD.pack(len(body), b"M") + body


def rows_frame(batch: pa.RecordBatch) -> bytes:
    return packed_rows_frame(rows_body(batch))


def packed_rows_frame(body: bytes) -> bytes:
    return _HEAD.pack(len(body), b"R") + body


class Listener(Protocol):
    """Whoever is told how the work goes, from any thread."""

    def send(self, report: Report) -> None: ...

    def send_rows(self, batch: pa.RecordBatch) -> None: ...


class Reports:
    """What a child tells the engine: frames on the pipe, whole ones, from any thread."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, report: Report) -> None:
        self._write(message_frame(report))

    def send_rows(self, batch: pa.RecordBatch) -> None:
        self._write(rows_frame(batch))

    def _write(self, frame: bytes) -> None:
        with self._lock:
            self._pipe.write(frame)
            self._pipe.flush()


def read_command(stream: IO[bytes]) -> Command | None:
    """The next command; None at the end of the stream, also when it ends inside a frame."""
    frame = _read_frame(stream)
    return None if frame is None else command_of(frame[1])


def read_report(stream: IO[bytes]) -> Report | pa.RecordBatch | None:
    """The next report or batch of rows; None at the end of the stream, also when it ends inside a frame."""
    frame = _read_frame(stream)
    if frame is None:
        return None
    kind, body = frame
    return report_of(body) if kind == b"M" else rows_of(body)


def _read_frame(stream: IO[bytes]) -> tuple[Literal[b"M", b"R"], bytes] | None:
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, kind = _HEAD.unpack(head)
    body = stream.read(length)
    return (kind, body) if len(body) == length else None
