"""Read the header of a GGUF file: its metadata and the list of its tensors, without the weights."""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.inference.folder_file import find_file_in_folder
from app.inference.inspection.formats import GGUF_MAGIC
from app.inference.tensor_spec import StoredTensor, printable
from app.records.model import ExternalFile
from loadgen.regular_files import open_regular

_VERSIONS = (2, 3)
MAX_HEADER_BYTES = 256 << 20
_MAX_KEYS, _MAX_TENSORS, _MAX_SHARDS = 65_536, 500_000, 1_000
_MAX_ARRAY_LENGTH, _MAX_WANTED_LENGTH = 16_000_000, 1_000_000
_MAX_NESTING = 4
_MAX_KEY_BYTES, _MAX_TENSOR_NAME_BYTES = 65_535, 1_024
_MAX_AXES = 4
_MAX_KEPT_TEXT_BYTES, _MAX_KEPT_ELEMENTS = 1_024, 4_096
_DEFAULT_ALIGNMENT, _MAX_ALIGNMENT = 32, 1 << 20
_MAX_TENSOR_BYTES = 2**63 - 1
_HINT = "Download the file again, or convert the model again."

_SCALARS = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: struct.Struct("<I"), 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<?"),
    10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip
"""Layouts of the scalar types of metadata, by number."""
_STRING, _ARRAY = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")

TENSOR_TYPES = {
    0: ("float32", 1, 4), 1: ("float16", 1, 2), 30: ("bfloat16", 1, 2), 28: ("float64", 1, 8),
    24: ("int8", 1, 1), 25: ("int16", 1, 2), 26: ("int32", 1, 4), 27: ("int64", 1, 8),
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
"""Name, elements per block and bytes per block of each tensor type, by its number in ggml."""

Value = int | float | bool | str | tuple[int | float | bool | str, ...]


class GgufFile(msgspec.Struct, frozen=True):
    """Header of a GGUF file, with the tensors of all shards.

    `metadata` has the values that are short or were asked for; `array_lengths` has the lengths of
    all arrays. Long arrays and those of strings have no value otherwise. `offsets` are the positions
    of the tensors in the first file."""

    version: int
    metadata: dict[str, Value]
    array_lengths: dict[str, int]
    tensors: tuple[StoredTensor, ...]
    files: tuple[ExternalFile, ...]
    offsets: dict[str, int] = {}


def read_gguf(path: Path, retained_keys: frozenset[str] = frozenset()) -> GgufFile:
    """Read the headers of a GGUF file and of its further shards. The values of `retained_keys` are kept
    even if they are long or arrays of strings. Raises UsageError if a file is not a valid GGUF file,
    and for a shard other than the first."""
    first_file = _read_one(path, retained_keys)
    shard_count = first_file.metadata.get("split.count", 1)
    if not isinstance(shard_count, int) or not 0 <= shard_count <= _MAX_SHARDS:
        raise _build_error(path.name, f"it declares {printable(str(shard_count))} shards")
    if shard_count <= 1:
        return first_file
    match = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})\.gguf", path.name)
    if first_file.metadata.get("split.no") != 0 or match is None or int(match[2]) != 1 or int(match[3]) != shard_count:
        raise UsageError(
            f"{printable(path.name)} is one of {shard_count} shards, but not named as the first of them",
            hint=f"Pass the file whose name ends with -00001-of-{shard_count:05}.gguf, with all shards beside it.",
        )
    tensors, files = [*first_file.tensors], [*first_file.files]
    for number in range(2, shard_count + 1):
        name = f"{match[1]}-{number:05}-of-{shard_count:05}.gguf"
        find_file_in_folder(path.parent, name)
        shard = _read_one(path.parent / name, frozenset())
        tensors += shard.tensors
        files += shard.files
        if len(tensors) > _MAX_TENSORS:
            raise _build_error(path.name, f"its shards have more than {_MAX_TENSORS:,} tensors")
    _require_unique(path.name, tensors)
    return msgspec.structs.replace(first_file, tensors=tuple(tensors), files=tuple(files))


def _read_one(path: Path, retained_keys: frozenset[str]) -> GgufFile:
    size_bytes = path.stat().st_size
    if size_bytes < 24:
        raise _build_error(path.name, "it is shorter than the header")
    with (
        open_regular(path) as file,
        mmap.mmap(file.fileno(), min(size_bytes, MAX_HEADER_BYTES), access=mmap.ACCESS_READ) as content,
    ):
        return _Reader(content, path.name, size_bytes, retained_keys).read_file()


class _Reader:
    """Reader of one header. Positions are checked before each access, so that nothing is read beyond
    the end of the header."""

    def __init__(self, content: mmap.mmap, name: str, size_bytes: int, retained_keys: frozenset[str]) -> None:
        self._content = content
        self._name = name
        self._size_bytes = size_bytes
        self._retained_keys = retained_keys
        self._end = len(content)
        self._position = 0
        self._array_lengths: dict[str, int] = {}

    def read_file(self) -> GgufFile:
        if self._content[:4] != GGUF_MAGIC:
            raise self._reject("it does not begin with GGUF")
        self._position = 4
        version = self._read_scalar(_U32)
        if version not in _VERSIONS:
            if int.from_bytes(int(version).to_bytes(4, "little"), "big") in _VERSIONS:
                raise self._reject("its byte order is big-endian, which Sizewise does not read")
            raise self._reject(f"its version is {version}, but Sizewise reads versions 2 and 3")
        tensor_count, key_count = self._read_scalar(_U64), self._read_scalar(_U64)
        if tensor_count > _MAX_TENSORS or key_count > _MAX_KEYS:
            raise self._reject(f"it declares {tensor_count:,} tensors and {key_count:,} metadata keys")
        metadata: dict[str, Value] = {}
        keys: set[str] = set()
        for _ in range(int(key_count)):
            key = self._read_text(_MAX_KEY_BYTES)
            if key in keys:
                raise self._reject(f"the metadata key {printable(key)} occurs twice")
            keys.add(key)
            value = self._read_value(key)
            if value is not None:
                metadata[key] = value
        tensors, offsets = self._read_tensors(int(tensor_count), self._read_alignment(metadata))
        files = (ExternalFile(printable(self._name), self._size_bytes),)
        return GgufFile(int(version), metadata, self._array_lengths, tensors, files, offsets)

    def _read_alignment(self, metadata: dict[str, Value]) -> int:
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 8 <= alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
            raise self._reject(f"its alignment is {printable(str(alignment))}, which is not a power of 2 of at least 8")
        return alignment

    def _read_tensors(self, count: int, alignment: int) -> tuple[tuple[StoredTensor, ...], dict[str, int]]:
        tensors, offsets = [], []
        for _ in range(count):
            name = self._read_text(_MAX_TENSOR_NAME_BYTES)
            axis_count = self._read_scalar(_U32)
            if not 0 <= axis_count <= _MAX_AXES:
                raise self._reject(f"tensor {printable(name)!r} has {axis_count} axes")
            shape = tuple(int(self._read_scalar(_U64)) for _ in range(int(axis_count)))
            tensors.append(self._build_tensor(name, shape, int(self._read_scalar(_U32))))
            offsets.append(int(self._read_scalar(_U64)))
        _require_unique(self._name, tensors)
        data_start = -(-self._position // alignment) * alignment
        end = 0
        for offset, tensor in sorted(zip(offsets, tensors, strict=True), key=lambda row: (row[0], row[1].size_bytes)):
            name = printable(tensor.name)
            if offset % alignment:
                raise self._reject(f"tensor {name!r} does not begin at a multiple of {alignment} bytes")
            if offset < end:
                raise self._reject(f"tensor {name!r} overlaps another tensor")
            end = offset + tensor.size_bytes
            if data_start + end > self._size_bytes:
                raise self._reject(f"tensor {name!r} extends beyond the end of the file")
        positions = (data_start + offset for offset in offsets)
        return tuple(tensors), {tensor.name: position for tensor, position in zip(tensors, positions, strict=True)}

    def _build_tensor(self, name: str, shape: tuple[int, ...], type_number: int) -> StoredTensor:
        tensor_type = TENSOR_TYPES.get(type_number)
        if tensor_type is None:
            raise self._reject(f"tensor {printable(name)!r} has the unknown type {type_number}")
        dtype, block_elements, block_bytes = tensor_type
        elements = math.prod(shape)
        if elements // block_elements * block_bytes > _MAX_TENSOR_BYTES:
            raise self._reject(f"tensor {printable(name)!r} is larger than 2^63 - 1 bytes")
        if elements == 0 or (block_elements > 1 and (not shape or shape[0] % block_elements)):
            raise self._reject(
                f"tensor {printable(name)!r} has the shape {list(shape)}, which is not possible for {dtype}"
            )
        return StoredTensor(name, dtype, shape, size_bytes=elements // block_elements * block_bytes)

    def _read_value(self, key: str) -> Value | None:
        value_type = int(self._read_scalar(_U32))
        if value_type == _STRING:
            length = int(self._read_scalar(_U64))
            if length > _MAX_KEPT_TEXT_BYTES and key not in self._retained_keys:
                self._skip(length)
                return None
            return self._decode(length)
        if value_type == _ARRAY:
            return self._read_array(key, 1)
        return self._read_scalar(self._get_layout(value_type))

    def _read_array(self, key: str, depth: int) -> tuple[int | float | bool | str, ...] | None:
        """Return the elements of an array of scalars; `None` for long arrays and other elements."""
        element_type, length = int(self._read_scalar(_U32)), int(self._read_scalar(_U64))
        is_retained = depth == 1 and key in self._retained_keys
        if length > (_MAX_WANTED_LENGTH if is_retained else _MAX_ARRAY_LENGTH) or depth > _MAX_NESTING:
            raise self._reject(f"the metadata key {printable(key)} has an array that is too long or too deeply nested")
        if depth == 1:
            self._array_lengths[key] = length
        if element_type == _STRING:
            if is_retained:
                return tuple(self._read_text(_MAX_KEPT_TEXT_BYTES) for _ in range(length))
            self._skip_strings(length)
            return None
        if element_type == _ARRAY:
            for _ in range(length):
                self._read_array(key, depth + 1)
            return None
        layout = self._get_layout(element_type)
        if not is_retained and (depth > 1 or length > _MAX_KEPT_ELEMENTS):
            self._skip(length * layout.size)
            return None
        return tuple(self._read_scalar(layout) for _ in range(length))

    def _skip_strings(self, count: int) -> None:
        content, end, position, unpack = self._content, self._end - 8, self._position, _U64.unpack_from
        for _ in range(count):
            if position > end:
                raise self._build_truncation_error()
            position += 8 + unpack(content, position)[0]
        self._position = position
        self._skip(0)

    def _get_layout(self, value_type: int) -> struct.Struct:
        layout = _SCALARS.get(value_type)
        if layout is None:
            raise self._reject(f"a metadata value has the unknown type {value_type}")
        return layout

    def _read_scalar(self, layout: struct.Struct) -> int | float | bool:
        position = self._position
        self._skip(layout.size)
        value: int | float | bool = layout.unpack_from(self._content, position)[0]
        return value

    def _read_text(self, max_bytes: int) -> str:
        length = int(self._read_scalar(_U64))
        if length > max_bytes:
            raise self._reject(f"a name has {length:,} bytes, above the maximum of {max_bytes:,}")
        return self._decode(length)

    def _decode(self, length: int) -> str:
        position = self._position
        self._skip(length)
        try:
            return self._content[position : position + length].decode()
        except UnicodeDecodeError as error:
            raise self._reject("it has a text that is not valid UTF-8") from error

    def _skip(self, byte_count: int) -> None:
        self._position += byte_count
        if self._position > self._end:
            raise self._build_truncation_error()

    def _build_truncation_error(self) -> UsageError:
        if self._end < self._size_bytes:
            return self._reject(f"its header is larger than {MAX_HEADER_BYTES >> 20} MiB")
        return self._reject("it ends within its header")

    def _reject(self, reason: str) -> UsageError:
        return _build_error(self._name, reason)


def _require_unique(file_name: str, tensors: list[StoredTensor]) -> None:
    duplicate = next(_find_duplicates(tensor.name for tensor in tensors), None)
    if duplicate is not None:
        raise _build_error(file_name, f"tensor {printable(duplicate)!r} is stored twice")


def _find_duplicates(names: Iterator[str]) -> Iterator[str]:
    read_names: set[str] = set()
    for name in names:
        if name in read_names:
            yield name
        read_names.add(name)


def _build_error(file_name: str, reason: str) -> UsageError:
    return UsageError(f"{printable(file_name)} is not a valid GGUF file: {reason}", hint=_HINT)
