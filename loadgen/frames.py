"""The frames of `loadgen.records` on a pipe: written whole, read whole."""

from __future__ import annotations

import struct
import threading
from typing import BinaryIO, Literal

import msgspec
import pyarrow as pa

from loadgen.records import REQUEST_SCHEMA, Command, Report

_HEAD = struct.Struct("<Ic")
_encode = msgspec.msgpack.Encoder().encode
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def message_frame(message: Command | Report) -> bytes:
    body = _encode(message)
    return _HEAD.pack(len(body), b"M") + body


def rows_frame(batch: pa.RecordBatch) -> bytes:
    body: bytes = batch.serialize().to_pybytes()
    return _HEAD.pack(len(body), b"R") + body


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


def read_command(stream: BinaryIO) -> Command | None:
    """The next command; None at the end of the stream, also when it ends inside a frame."""
    frame = _read_frame(stream)
    return None if frame is None else _commands.decode(frame[1])


def read_report(stream: BinaryIO) -> Report | pa.RecordBatch | None:
    """The next report or batch of rows; None at the end of the stream, also when it ends inside a frame."""
    frame = _read_frame(stream)
    if frame is None:
        return None
    kind, body = frame
    return _reports.decode(body) if kind == b"M" else pa.ipc.read_record_batch(pa.py_buffer(body), REQUEST_SCHEMA)


def _read_frame(stream: BinaryIO) -> tuple[Literal[b"M", b"R"], bytes] | None:
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, kind = _HEAD.unpack(head)
    body = stream.read(length)
    return (kind, body) if len(body) == length else None
