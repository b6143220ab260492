"""Decode JSON, and headers of Arrow messages, from files and other processes. Each function raises
a single documented exception type for invalid input."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

_T = TypeVar("_T")

_CONTINUATION_MARKER, _PREFIX = b"\xff\xff\xff\xff", struct.Struct("<4si")
MESSAGE_PREFIX_BYTES = _PREFIX.size
"""Size in bytes of the prefix of an Arrow message: a continuation marker and the length of the
metadata."""
MAX_METADATA_BYTES = 1 << 20
"""Maximum size in bytes of the metadata of an Arrow message. A batch of request rows has about
2 KiB of metadata."""
_RECORD_BATCH_TYPE = 3
_TYPE_FIELD, _HEADER_FIELD, _BODY_LENGTH_FIELD, _CUSTOM_METADATA_FIELD = 1, 2, 3, 4
_LENGTH_FIELD, _COMPRESSION_FIELD = 0, 3


@overload
def decode_json(content: bytes | bytearray | memoryview | str) -> Any: ...
@overload
def decode_json(content: bytes | bytearray | memoryview | str, value_type: type[_T]) -> _T: ...
@overload
def decode_json(content: bytes | bytearray | memoryview | str, value_type: Any) -> Any: ...
def decode_json(content: bytes | bytearray | memoryview | str, value_type: Any = Any) -> Any:
    """Decode a JSON document into a value of type `value_type`. Raises msgspec.DecodeError if the
    content is invalid.

    msgspec itself also raises UnicodeDecodeError for bytes that are not UTF-8, UnicodeEncodeError
    for a lone surrogate in a string, and RecursionError for deep nesting; `decode_json` converts
    these errors to msgspec.DecodeError.
    """
    try:
        return msgspec.json.decode(content, type=value_type)
    except (UnicodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


@overload
def json_decoder(value_type: type[_T]) -> Callable[[bytes | bytearray | memoryview | str], _T]: ...
@overload
def json_decoder(value_type: Any) -> Callable[[bytes | bytearray | memoryview | str], Any]: ...
def json_decoder(value_type: Any) -> Callable[[bytes | bytearray | memoryview | str], Any]:
    """Return a decoder for values of type `value_type`: a function like `decode_json`, but faster
    for repeated calls."""
    decode = msgspec.json.Decoder(value_type).decode

    def decode_checked(content: bytes | bytearray | memoryview | str) -> Any:
        try:
            return decode(content)
        except (UnicodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from error

    return decode_checked


class BatchHeader(msgspec.Struct, frozen=True):
    """Number of rows and body size of an Arrow record batch, as stated in the metadata of the
    batch."""

    row_count: int
    body_bytes: int


def read_metadata_length(prefix: bytes) -> int:
    """Return the length in bytes of the metadata that follows the 8-byte prefix of an Arrow
    message; 0 at the end of a stream.

    Raises ValueError if `prefix` is not the prefix of an Arrow message.
    """
    if len(prefix) < _PREFIX.size:
        raise ValueError("the data is too short for a batch of rows")
    marker, length = _PREFIX.unpack_from(prefix)
    if marker != _CONTINUATION_MARKER or not 0 <= length <= MAX_METADATA_BYTES:
        raise ValueError("the data is not an uncompressed batch of rows")
    return int(length)


def read_batch_header(message: bytes) -> BatchHeader:
    """Read the number of rows and the body size of an Arrow record batch from the start of its
    message. `message` must contain the prefix and the metadata; the body is not needed.

    Raises ValueError for any other message, and for a compressed batch. A compressed batch is
    rejected before Arrow decodes it, because 50 kB of compressed data can expand to gigabytes. A
    batch with custom metadata is rejected too, because Arrow 0.17 stored the compression there.

    The offsets in the flatbuffer follow Message.fbs and "Encapsulated message format" of Apache
    Arrow and "Internals" of FlatBuffers.
    """
    try:
        if not read_metadata_length(message):
            raise ValueError("the data ends before a batch of rows")
        root_position = _PREFIX.size + _unpack_at("<I", message, _PREFIX.size)
        type_position = _find_field(message, root_position, _TYPE_FIELD)
        header_position = _find_field(message, root_position, _HEADER_FIELD)
        if (
            type_position is None
            or header_position is None
            or _unpack_at("<B", message, type_position) != _RECORD_BATCH_TYPE
        ):
            raise ValueError("the data is not a batch of rows, but a message of a different type")
        batch_position = header_position + _unpack_at("<I", message, header_position)
        metadata_position = _find_field(message, root_position, _CUSTOM_METADATA_FIELD)
        compression_position = _find_field(message, batch_position, _COMPRESSION_FIELD)
        if metadata_position is not None or compression_position is not None:
            raise ValueError("the batch of rows is compressed or has custom metadata")
        batch_header = BatchHeader(
            _read_int64_field(message, batch_position, _LENGTH_FIELD),
            _read_int64_field(message, root_position, _BODY_LENGTH_FIELD),
        )
    except struct.error as error:
        raise ValueError("the metadata of the batch of rows is corrupted") from error
    if batch_header.row_count < 0 or batch_header.body_bytes < 0:
        raise ValueError("a length in the batch of rows is negative")
    return batch_header


def _read_int64_field(message: bytes, table_position: int, field_number: int) -> int:
    position = _find_field(message, table_position, field_number)
    return 0 if position is None else _unpack_at("<q", message, position)


def _find_field(message: bytes, table_position: int, field_number: int) -> int | None:
    """Return the position of field `field_number` in the flatbuffer table at position
    `table_position`; None if the table does not contain the field."""
    vtable_position = table_position - _unpack_at("<i", message, table_position)
    vtable_offset = 4 + 2 * field_number
    offset = (
        _unpack_at("<H", message, vtable_position + vtable_offset)
        if vtable_offset < _unpack_at("<H", message, vtable_position)
        else 0
    )
    return table_position + offset if offset else None


def _unpack_at(format_: str, message: bytes, position: int) -> int:
    if position < 0:
        raise struct.error("the position is negative")
    value: int = struct.unpack_from(format_, message, position)[0]
    return value
