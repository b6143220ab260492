"""A gRPC server whose responses grow up to the client's message limit and never end."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from loadgen.protocols.open_inference_pb2 import ModelMetadataResponse
from tests.fakes.stream_server import stream_server

_PREFACE_BYTES = 24
_FRAME = struct.Struct(">I B I")
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW = 4
_BLOCK = bytes(16_384)
_MESSAGE_BYTES = 60 * 2**20
_RESPONSE_HEADERS = b"\x88\x00\x0ccontent-type\x10application/grpc"
_TRAILERS = b"\x00\x0bgrpc-status\x010"


def _frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return _FRAME.pack(len(body) << 8 | kind, flags, stream) + body


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, metadata: list[bytes]) -> None:
        self._reader, self._writer, self._metadata = reader, writer, metadata
        self._initial, self._window = 65_535, 65_535
        self._windows: dict[int, int] = {}
        self._changed = asyncio.Condition()
        self._sending: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        await self._reader.readexactly(_PREFACE_BYTES)
        self._writer.write(_frame(_SETTINGS, 0, 0))
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                await self._read_frame()

    async def _read_frame(self) -> None:
        length_and_kind, flags, stream = _FRAME.unpack(await self._reader.readexactly(_FRAME.size))
        body = await self._reader.readexactly(length_and_kind >> 8)
        match length_and_kind & 0xFF:
            case kind if kind == _SETTINGS and not flags & _ACK:
                for setting, value in struct.iter_unpack(">HI", body):
                    if setting == _INITIAL_WINDOW:
                        self._initial = value
                self._writer.write(_frame(_SETTINGS, _ACK, 0))
            case kind if kind == _PING and not flags & _ACK:
                self._writer.write(_frame(_PING, _ACK, 0, body))
            case kind if kind == _WINDOW_UPDATE:
                (increment,) = struct.unpack(">I", body)
                async with self._changed:
                    if stream == 0:
                        self._window += increment
                    else:
                        self._windows[stream] = self._windows.get(stream, self._initial) + increment
                    self._changed.notify_all()
            case kind if kind == _HEADERS:
                self._windows.setdefault(stream, self._initial)
                self._respond(stream)

    def _respond(self, stream: int) -> None:
        self._writer.write(_frame(_HEADERS, _END_HEADERS, stream, _RESPONSE_HEADERS))
        if self._metadata:
            message = self._metadata.pop()
            self._writer.write(_frame(_DATA, 0, stream, b"\0" + struct.pack(">I", len(message)) + message))
            self._writer.write(_frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _TRAILERS))
            return
        task = asyncio.get_running_loop().create_task(self._send_message(stream))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send_message(self, stream: int) -> None:
        piece, left = b"\0" + struct.pack(">I", _MESSAGE_BYTES), _MESSAGE_BYTES
        with suppress(OSError):
            while left:
                await self._claim(stream, len(piece))
                self._writer.write(_frame(_DATA, 0, stream, piece))
                await self._writer.drain()
                piece = _BLOCK[: min(left, len(_BLOCK))]
                left -= len(piece)

    async def _claim(self, stream: int, size: int) -> None:
        """Wait until the client's window allows `size` bytes."""
        async with self._changed:
            await self._changed.wait_for(lambda: min(self._window, self._windows[stream]) >= size)
            self._window -= size
            self._windows[stream] -= size


@contextmanager
def endless_grpc_server(metadata: ModelMetadataResponse) -> Iterator[str]:
    """Yield the URL of the server. Its first call must be the one for the metadata."""
    first = [metadata.SerializeToString()]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Connection(reader, writer, first).serve()

    with stream_server(serve) as port:
        yield f"grpc://127.0.0.1:{port}"
