"""Decode JSON and Arrow messages from files and other processes; invalid input raises one
documented exception type."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

_T = TypeVar("_T")

_CONTINUATION, _PREFIX = b"\xff\xff\xff\xff", struct.Struct("<4si")
MESSAGE_PREFIX_BYTES = _PREFIX.size
"""Size in bytes of the prefix of an Arrow message: a continuation marker and the length of the
metadata."""
MAX_METADATA_BYTES = 1 << 20
"""Maximum size in bytes of the metadata of an Arrow message. A batch of request rows has about
2 KiB of metadata."""
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
    """Decode one JSON document as `kind`. Raises msgspec.DecodeError if the content is invalid.

    msgspec itself also raises UnicodeDecodeError for bytes that are not UTF-8, UnicodeEncodeError
    for a lone surrogate in a string, and RecursionError for deep nesting; `decode_json` converts
    these errors.
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
    """Return a function like `decode_json` for a fixed `kind`, which is faster for repeated
    calls."""
    decode = msgspec.json.Decoder(kind).decode

    def decode_checked(content: bytes | bytearray | memoryview | str) -> Any:
        try:
            return decode(content)
        except (UnicodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from error

    return decode_checked


class BatchHeader(msgspec.Struct, frozen=True):
    """Number of rows and body size of an Arrow record batch, as stated in the metadata of the
    batch."""

    rows: int
    body_bytes: int


def read_metadata_length(prefix: bytes) -> int:
    """Return the number of metadata bytes that follow the 8-byte prefix of an Arrow message; 0 at
    the end of a stream.

    Raises ValueError if `prefix` is not the prefix of an Arrow message.
    """
    if len(prefix) < _PREFIX.size:
        raise ValueError("not a batch of rows: the data is too short")
    marker, length = _PREFIX.unpack_from(prefix)
    if marker != _CONTINUATION or not 0 <= length <= MAX_METADATA_BYTES:
        raise ValueError("not a batch of rows, or possibly compressed")
    return int(length)


def read_batch_header(message: bytes) -> BatchHeader:
    """Read the metadata of an Arrow record batch from the bytes of the prefix and the metadata. The
    body is not needed.

    Raises ValueError for any other message, and for a compressed batch: 50 kB of compressed data
    can expand to gigabytes, so compressed batches are rejected before Arrow reads them. The offsets
    in the flatbuffer follow Message.fbs and "Encapsulated message format" of Apache Arrow and
    "Internals" of FlatBuffers. Arrow 0.17 stored the compression in the custom metadata.
    """
    try:
        if not read_metadata_length(message):
            raise ValueError("not a batch of rows: end of the stream")
        root = _PREFIX.size + _unpack_at("<I", message, _PREFIX.size)
        kind, header = _find_slot(message, root, _TYPE), _find_slot(message, root, _HEADER)
        if kind is None or header is None or _unpack_at("<B", message, kind) != _RECORD_BATCH:
            raise ValueError("not a batch of rows: different message type")
        batch = header + _unpack_at("<I", message, header)
        custom, compression = _find_slot(message, root, _CUSTOM_METADATA), _find_slot(message, batch, _COMPRESSION)
        if custom is not None or compression is not None:
            raise ValueError("a batch of rows that is possibly compressed")
        parsed = BatchHeader(_read_int64_slot(message, batch, _LENGTH), _read_int64_slot(message, root, _BODY_LENGTH))
    except struct.error as error:
        raise ValueError("not a batch of rows: corrupted metadata") from error
    if parsed.rows < 0 or parsed.body_bytes < 0:
        raise ValueError("not a batch of rows: negative length")
    return parsed


def _read_int64_slot(message: bytes, table: int, slot: int) -> int:
    at = _find_slot(message, table, slot)
    return 0 if at is None else _unpack_at("<q", message, at)


def _find_slot(message: bytes, table: int, number: int) -> int | None:
    """Return the position of a field of a flatbuffer table; None if the table does not contain the
    field."""
    slots = table - _unpack_at("<i", message, table)
    entry = 4 + 2 * number
    offset = _unpack_at("<H", message, slots + entry) if entry < _unpack_at("<H", message, slots) else 0
    return table + offset if offset else None


def _unpack_at(kind: str, message: bytes, at: int) -> int:
    if at < 0:
        raise struct.error("before the beginning")
    value: int = struct.unpack_from(kind, message, at)[0]
    return value
