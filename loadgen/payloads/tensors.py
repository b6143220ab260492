"""Input tensors for a model: read from an .npz, or made up from the model's metadata."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Tensor = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Datatypes of the Open Inference Protocol as they lie on the wire. BYTES has none: its elements have lengths."""


class TensorError(Exception):
    """The file or the metadata gives no usable inputs."""


class TensorSpec(msgspec.Struct, frozen=True):
    """One input in a model's metadata; -1 in `shape` is a dimension of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def read_npz(path: str) -> dict[str, Tensor]:
    """Every array of the file. Arrays of objects are refused: reading them would run what the file says."""
    try:
        with Path(path).open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise TensorError(f"{path} is not an .npz file")
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise TensorError(f"{path} cannot be read: {error}") from error


def inputs_from(arrays: Mapping[str, Tensor], specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    """The arrays the model asks for, in its types. Raises TensorError when one is missing or cannot be converted."""
    missing = [spec.name for spec in specs if spec.name not in arrays]
    if missing:
        raise TensorError(f"no array named {', '.join(missing)}; the file has {', '.join(arrays) or 'none'}")
    inputs = {spec.name: _as_datatype(arrays[spec.name], spec) for spec in specs}
    rows = {name: tensor.shape[0] if tensor.ndim else 0 for name, tensor in inputs.items()}
    if len(set(rows.values())) != 1 or 0 in rows.values():
        raise TensorError(f"the arrays must have the same number of rows, at least one: {rows}")
    return inputs


def _as_datatype(array: Tensor, spec: TensorSpec) -> Tensor:
    if spec.datatype == "BYTES":
        if array.dtype.kind not in "SU":
            raise TensorError(f"{spec.name} must hold text for BYTES, and holds {array.dtype}")
        return array
    dtype = _dtype(spec)
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TensorError(f"{spec.name} holds {array.dtype}, which does not convert to {spec.datatype}")
    return array.astype(dtype, copy=False)


def made_up(specs: Sequence[TensorSpec], rows: int, requests: int, seed: int) -> dict[str, Tensor]:
    """Seeded inputs for `requests` requests of `rows` rows: a free first axis is the row's, every other has size 1.

    Floats are standard normal. Integers are 0 or 1, which are valid as token numbers, masks and categories alike.
    Raises TensorError when a model with a fixed first axis cannot take `rows` rows.
    """
    rng = np.random.default_rng(seed)
    inputs: dict[str, Tensor] = {}
    for spec in specs:
        if not spec.shape:
            raise TensorError(f"{spec.name} is a scalar: give its values in an .npz")
        if spec.shape[0] not in (-1, rows):
            raise TensorError(f"{spec.name} takes {spec.shape[0]} rows a request, not {rows}")
        shape = (rows * requests, *(1 if size < 0 else size for size in spec.shape[1:]))
        inputs[spec.name] = _random(spec, shape, rng)
    return inputs


def _random(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    if spec.datatype == "BYTES":
        return rng.integers(100_000, 1_000_000, shape).astype(np.str_)
    dtype = _dtype(spec)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _dtype(spec: TensorSpec) -> np.dtype[Any]:
    if spec.datatype not in DTYPES:
        raise TensorError(f"{spec.name} has datatype {spec.datatype}, which cannot be sent")
    return DTYPES[spec.datatype]


def to_bytes(tensor: Tensor) -> bytes:
    """The tensor as the binary extension has it: row by row, little-endian; each text with its length before it."""
    if tensor.dtype.kind not in "SU":
        return tensor.tobytes()
    return b"".join(len(text).to_bytes(4, "little") + text for text in map(_text, tensor.ravel().tolist()))


def _text(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def to_list(tensor: Tensor) -> list[Any]:
    """The tensor as JSON has it: its elements, row by row."""
    flat = tensor.ravel()
    return flat.astype(np.str_).tolist() if flat.dtype.kind == "S" else flat.tolist()
