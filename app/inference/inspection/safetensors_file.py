"""Read the headers of safetensors files: the list of their tensors, without the weights."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import msgspec

from app.errors import UsageError
from app.inference.folder_file import find_file_in_folder
from app.inference.inspection.bounded_json import MAX_INDEX_BYTES, decode, read_json
from app.inference.tensor_spec import StoredTensor, printable
from app.records.model import ExternalFile
from loadgen.regular_files import open_regular

MAX_HEADER_BYTES = 100_000_000
"""Maximum size of a header in bytes, as in the format's own implementation."""
INDEX_NAME = "model.safetensors.index.json"
_SINGLE_NAME = "model.safetensors"
_MAX_FILES, _MAX_TENSORS, _MAX_AXES = 4_096, 500_000, 16
_MAX_TENSOR_BYTES = 2**63 - 1
_METADATA_KEY = "__metadata__"
_SHARD_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors")
_HINT = "Download the file again, or export the model again."

_BITS_BY_DTYPE = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8"), 8),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
_DTYPE_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool", "F4": "float4e2m1",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "C64": "complex64",
    "F8_E4M3": "float8e4m3fn", "F8_E5M2": "float8e5m2", "F8_E8M0": "float8e8m0", "F8_E4M3FNUZ": "float8e4m3fnuz",
    "F8_E5M2FNUZ": "float8e5m2fnuz", "F6_E2M3": "float6e2m3", "F6_E3M2": "float6e3m2",
}  # fmt: skip
"""Names of the data types, as for ONNX models."""

_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _TensorEntry(msgspec.Struct, frozen=True):
    dtype: str
    shape: Annotated[tuple[_Size, ...], msgspec.Meta(max_length=_MAX_AXES)]
    data_offsets: tuple[_Size, _Size]


class _Index(msgspec.Struct, frozen=True):
    """Index of a sharded model: the name of the file that stores each tensor."""

    weight_map: dict[str, str]


class WeightFiles(msgspec.Struct, frozen=True):
    """Tensors of all safetensors files of a model."""

    tensors: tuple[StoredTensor, ...]
    files: tuple[ExternalFile, ...]


def read_safetensors(path: Path) -> WeightFiles:
    """Read one safetensors file. Raises UsageError if it is not valid, and for a shard."""
    match = _SHARD_NAME.fullmatch(path.name)
    if match is not None and int(match[3]) > 1:
        raise UsageError(
            f"{printable(path.name)} is one of {int(match[3])} files of a model",
            hint="Pass the folder of the model, with all its files.",
        )
    return WeightFiles(_read_header(path), (ExternalFile(printable(path.name), path.stat().st_size),))


def read_safetensors_folder(folder: Path) -> WeightFiles:
    """Read all safetensors files of a folder: those in its index, or else `model.safetensors`, or
    else all. Raises UsageError if a file is not valid, missing, or outside the folder."""
    if (folder / INDEX_NAME).is_symlink() or (folder / INDEX_NAME).exists():
        weight_map = read_json(folder, INDEX_NAME, _Index, MAX_INDEX_BYTES).weight_map
        names = sorted(set(weight_map.values()))
    else:
        weight_map = {}
        names = sorted(path.name for path in folder.glob("*.safetensors"))
        if _SINGLE_NAME in names:
            names = [_SINGLE_NAME]
    if not 1 <= len(names) <= _MAX_FILES:
        raise UsageError(
            f"the model has {len(names):,} safetensors files; between 1 and {_MAX_FILES:,} are possible",
            hint="Check that the folder has all files of the model.",
        )
    tensors: dict[str, StoredTensor] = {}
    files = []
    for name in names:
        files.append(find_file_in_folder(folder, name))
        for tensor in _read_header(folder / name):
            if tensor.name in tensors:
                raise _build_error(name, f"tensor {printable(tensor.name)!r} is also in another file")
            if weight_map and weight_map.get(tensor.name) != name:
                raise _build_error(name, f"tensor {printable(tensor.name)!r} is not in the index of the model")
            tensors[tensor.name] = tensor
        if len(tensors) > _MAX_TENSORS:
            raise _build_error(name, f"the model has more than {_MAX_TENSORS:,} tensors")
    absent_name = next((name for name in weight_map if name not in tensors), None)
    if absent_name is not None:
        raise _build_error(weight_map[absent_name], f"it lacks the tensor {printable(absent_name)!r} of the index")
    return WeightFiles(tuple(tensors.values()), tuple(files))


def _read_header(path: Path) -> tuple[StoredTensor, ...]:
    size_bytes = path.stat().st_size
    with open_regular(path) as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if size_bytes < 8 or header_bytes > size_bytes - 8:
            raise _build_error(path.name, "it ends within its header")
        if header_bytes > MAX_HEADER_BYTES:
            raise _build_error(
                path.name, f"its header has {header_bytes:,} bytes, above the maximum of {MAX_HEADER_BYTES:,}"
            )
        first_byte = file.read(1)  # before a header of zeros takes memory
        if first_byte != b"{":
            raise _build_error(path.name, "its header is not a JSON object")
        content = first_byte + file.read(header_bytes - 1)
    header_name = f"the header of {printable(path.name)}"
    entries = decode(content, dict[str, msgspec.Raw], header_name)
    entries.pop(_METADATA_KEY, None)
    if not 1 <= len(entries) <= _MAX_TENSORS:
        raise _build_error(path.name, f"it has {len(entries):,} tensors")
    tensors, ranges = [], []
    for name, raw_entry in entries.items():
        entry = decode(bytes(raw_entry), _TensorEntry, header_name)
        tensors.append(_build_tensor(path.name, name, entry))
        ranges.append(entry.data_offsets)
    _check_ranges(path.name, tensors, ranges, size_bytes - 8 - header_bytes)
    return tuple(tensors)


def _build_tensor(file_name: str, name: str, entry: _TensorEntry) -> StoredTensor:
    bits = _BITS_BY_DTYPE.get(entry.dtype)
    if bits is None:
        raise _build_error(
            file_name, f"tensor {printable(name)!r} has the unknown data type {printable(entry.dtype)!r}"
        )
    size_bytes, remainder = divmod(math.prod(entry.shape) * bits, 8)
    start, end = entry.data_offsets
    if remainder or size_bytes > _MAX_TENSOR_BYTES or end - start != size_bytes:
        raise _build_error(
            file_name,
            f"tensor {printable(name)!r} of the shape {printable(str(list(entry.shape)))} does not have the "
            f"{end - start:,} bytes that the header declares",
        )
    return StoredTensor(name, _DTYPE_NAMES[entry.dtype], entry.shape, size_bytes=size_bytes)


def _check_ranges(file_name: str, tensors: list[StoredTensor], ranges: list[tuple[int, int]], data_bytes: int) -> None:
    """Raise UsageError unless the tensors fill the data of the file without gaps and overlaps, as
    the format requires."""
    position = 0
    for (start, end), tensor in sorted(zip(ranges, tensors, strict=True), key=lambda row: row[0]):
        if start != position:
            problem = "overlaps another tensor" if start < position else "follows a gap in the data"
            raise _build_error(file_name, f"tensor {printable(tensor.name)!r} {problem}")
        position = end
        if position > data_bytes:
            raise _build_error(file_name, f"tensor {printable(tensor.name)!r} extends beyond the end of the file")
    if position != data_bytes:
        raise _build_error(file_name, f"{data_bytes - position:,} bytes at its end belong to no tensor")


def _build_error(file_name: str, reason: str) -> UsageError:
    return UsageError(f"{printable(file_name)} is not a valid safetensors file: {reason}", hint=_HINT)
