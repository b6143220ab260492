"""JSON and Arrow messages from files and other processes, decoded so that bad input raises one documented exception."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

_T = TypeVar("_T")

_CONTINUATION, _PREFIX = b"\xff\xff\xff\xff", struct.Struct("<4si")
MESSAGE_PREFIX_BYTES = _PREFIX.size
"""Bytes in front of the metadata of an Arrow message: a marker and the length of the metadata."""
MAX_METADATA_BYTES = 1 << 20
"""Limit for the metadata of one Arrow message. The metadata of a batch of request rows takes about 2 KiB."""
_RECORD_BATCH = 3
_TYPE, _HEADER, _BODY_LENGTH, _CUSTOM_METADATA = 1, 2, 3, 4
_LENGTH, _COMPRESSION = 0, 3


@overload
def decode_json(content: bytes | bytearray | memoryview | str) -> Any: ...
@overload
def decode_json(content: bytes | bytearray | memoryview | str, kind: type[_T]) -> _T: ...
@overload
def decode_json(content: bytes | bytearray | memoryview | str, kind: Any) -> Any: ...
def decode_json(content: bytes | bytearray | memoryview | str, kind: Any = Any) -> Any:
    """Decode one JSON document as `kind`. Raises msgspec.DecodeError for any content that is not valid.

    msgspec itself also raises UnicodeDecodeError for a byte that is not UTF-8, UnicodeEncodeError for a lone surrogate
    in a text, and RecursionError for deep nesting.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (UnicodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


@overload
def json_decoder(kind: type[_T]) -> Callable[[bytes | bytearray | memoryview | str], _T]: ...
@overload
def json_decoder(kind: Any) -> Callable[[bytes | bytearray | memoryview | str], Any]: ...
def json_decoder(kind: Any) -> Callable[[bytes | bytearray | memoryview | str], Any]:
    """Return a function like `decode_json` for one `kind`, prepared for many calls."""
    decode = msgspec.json.Decoder(kind).decode

    def decoded(content: bytes | bytearray | memoryview | str) -> Any:
        try:
            return decode(content)
        except (UnicodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from error

    return decoded


class BatchHeader(msgspec.Struct, frozen=True):
    """Number of rows and size of the body of an Arrow record batch, as stated in its metadata."""

    rows: int
    body_bytes: int


def read_metadata_length(prefix: bytes) -> int:
    """Return the bytes of metadata that follow the 8-byte prefix of an Arrow message; 0 at the end of a stream.

    Raises ValueError when the prefix is not one.
    """
    if len(prefix) < _PREFIX.size:
        raise ValueError("not a batch of rows: the data is too short")
    marker, length = _PREFIX.unpack_from(prefix)
    if marker != _CONTINUATION or not 0 <= length <= MAX_METADATA_BYTES:
        raise ValueError("not a batch of rows, or possibly compressed")
    return int(length)


def read_batch_header(message: bytes) -> BatchHeader:
    """Read the metadata of an Arrow record batch, including its prefix. The body need not be present.

    Raises ValueError for any other message, and for a compressed batch: 50 kB of compressed data can expand to
    gigabytes, so such batches are rejected before Arrow sees them. The positions in the flatbuffer follow Message.fbs
    and "Encapsulated message format" of Apache Arrow and "Internals" of FlatBuffers. Arrow 0.17 stored the compression
    in the custom metadata.
    """
    try:
        if not read_metadata_length(message):
            raise ValueError("not a batch of rows: end of the stream")
        root = _PREFIX.size + _field("<I", message, _PREFIX.size)
        kind, header = _slot(message, root, _TYPE), _slot(message, root, _HEADER)
        if kind is None or header is None or _field("<B", message, kind) != _RECORD_BATCH:
            raise ValueError("not a batch of rows: another kind of message")
        batch = header + _field("<I", message, header)
        custom, compression = _slot(message, root, _CUSTOM_METADATA), _slot(message, batch, _COMPRESSION)
        if custom is not None or compression is not None:
            raise ValueError("a batch of rows that is possibly compressed")
        parsed = BatchHeader(_number(message, batch, _LENGTH), _number(message, root, _BODY_LENGTH))
    except struct.error as error:
        raise ValueError("not a batch of rows: its metadata is damaged") from error
    if parsed.rows < 0 or parsed.body_bytes < 0:
        raise ValueError("not a batch of rows: its length is negative")
    return parsed


def _number(message: bytes, table: int, slot: int) -> int:
    at = _slot(message, table, slot)
    return 0 if at is None else _field("<q", message, at)


def _slot(message: bytes, table: int, number: int) -> int | None:
    """Return the position of a field of a table; None when the table does not have it."""
    slots = table - _field("<i", message, table)
    entry = 4 + 2 * number
    offset = _field("<H", message, slots + entry) if entry < _field("<H", message, slots) else 0
    return table + offset if offset else None


def _field(kind: str, message: bytes, at: int) -> int:
    if at < 0:
        raise struct.error("before the beginning")
    value: int = struct.unpack_from(kind, message, at)[0]
    return value
