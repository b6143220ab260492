"""Input tensors for a model: read from an .npz, or made up from the model's metadata.

Which of a model's outputs holds its classes, and which class each row was given.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal

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


_MAX_AXES = 32
_MAX_SIZE = 2**31
_TEXT_BYTES = 16
"""A made-up text: the eight bytes of the number drawn, and its six digits."""


class TensorError(Exception):
    """The file or the metadata gives no usable inputs."""


class TensorInput(msgspec.Struct, frozen=True):
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
    except (OSError, EOFError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        reason = "it is no .npz of plain arrays" if "pickle" in str(error) else error  # numpy advises to unpickle
        raise TensorError(f"{path} cannot be read: {reason}") from error


def inputs_from(arrays: Mapping[str, Tensor], specs: Sequence[TensorInput]) -> dict[str, Tensor]:
    """The arrays the model asks for, in its types. Raises TensorError when one is missing or cannot be converted."""
    missing = [spec.name for spec in specs if spec.name not in arrays]
    if missing:
        raise TensorError(f"no array named {', '.join(missing)}; the file has {', '.join(arrays) or 'none'}")
    inputs = {spec.name: _as_datatype(arrays[spec.name], spec) for spec in specs}
    rows = {name: tensor.shape[0] if tensor.ndim else 0 for name, tensor in inputs.items()}
    if len(set(rows.values())) != 1 or 0 in rows.values():
        raise TensorError(f"the arrays must have the same number of rows, at least one: {rows}")
    return inputs


def _as_datatype(array: Tensor, spec: TensorInput) -> Tensor:
    if spec.datatype == "BYTES":
        if array.dtype.kind not in "SU":
            raise TensorError(f"{spec.name} must hold text for BYTES, and holds {array.dtype}")
        return array
    dtype = _dtype(spec)
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TensorError(f"{spec.name} holds {array.dtype}, which does not convert to {spec.datatype}")
    return array.astype(dtype, copy=False)


def made_up(
    specs: Sequence[TensorInput], rows: int, requests: int, seed: int, *, limit_bytes: int
) -> dict[str, Tensor]:
    """Seeded inputs for requests of `rows` rows: a free first axis is the row's, every other has size 1. They are for
    `requests` requests, or as many as `limit_bytes` hold.

    Floats are standard normal. Integers are 0 or 1, which are valid as token numbers, masks and categories alike.
    Raises TensorError when a model with a fixed first axis cannot take `rows` rows, or not one request fits.
    """
    shapes = [_row_shape(spec, rows) for spec in specs]
    request_bytes = rows * sum(_drawn_bytes(spec) * prod(shape) for spec, shape in zip(specs, shapes, strict=True))
    if request_bytes > limit_bytes:
        sizes = f"{request_bytes / 2**20:,.0f} MiB, more than {limit_bytes / 2**20:g}"
        raise TensorError(f"made-up inputs for one request of {rows} rows would take {sizes}: ask for fewer rows")
    count = rows * min(requests, limit_bytes // max(request_bytes, 1))
    rng = np.random.default_rng(seed)
    return {spec.name: _random(spec, (count, *shape), rng) for spec, shape in zip(specs, shapes, strict=True)}


def _row_shape(spec: TensorInput, rows: int) -> tuple[int, ...]:
    if not spec.shape:
        raise TensorError(f"{spec.name} is a scalar: give its values in an .npz")
    if spec.shape[0] not in (-1, rows):
        raise TensorError(f"{spec.name} takes {spec.shape[0]} rows a request, not {rows}")
    if len(spec.shape) > _MAX_AXES or 0 in spec.shape or max(spec.shape) > _MAX_SIZE:
        raise TensorError(f"{spec.name} has a shape that no values can be made up for")
    return tuple(1 if size < 0 else size for size in spec.shape[1:])


def _drawn_bytes(spec: TensorInput) -> int:
    """What one element takes while it is drawn."""
    return _TEXT_BYTES if spec.datatype == "BYTES" else max(_dtype(spec).itemsize, 4)


def _random(spec: TensorInput, shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    if spec.datatype == "BYTES":
        return rng.integers(100_000, 1_000_000, shape).astype("S6")
    dtype = _dtype(spec)
    if dtype.kind != "f":
        return rng.integers(0, 2, shape, dtype.type)
    drawn = np.float64 if dtype.itemsize == 8 else np.float32
    return rng.standard_normal(shape, drawn).astype(dtype, copy=False)


def _dtype(spec: TensorInput) -> np.dtype[Any]:
    if spec.datatype == "BF16":
        raise TensorError(f"{spec.name} takes BF16, which no array can hold: serve the model with FP16 or FP32 inputs")
    if spec.datatype not in DTYPES:
        raise TensorError(f"{spec.name} has datatype {spec.datatype}, which cannot be sent")
    return DTYPES[spec.datatype]


def to_bytes(tensor: Tensor) -> bytes:
    """The tensor as the binary extension has it: row by row, little-endian; each text with its length before it."""
    if tensor.dtype.kind not in "SU":
        return tensor.tobytes()
    return b"".join(len(text).to_bytes(4, "little") + text for text in map(text_of, tensor.ravel().tolist()))


def text_of(value: str | bytes) -> bytes:
    """An element of BYTES as it is sent."""
    return value.encode() if isinstance(value, str) else value


def to_list(tensor: Tensor) -> list[Any]:
    """The tensor as JSON has it: its elements, row by row."""
    flat = tensor.ravel()
    return [text.decode() for text in flat.tolist()] if flat.dtype.kind == "S" else flat.tolist()


Named = tuple[str, Tensor]
Kind = Literal["class", "scores"]

_NAME_IT = "Name the one that holds the class or its scores in workload.output."


class UnclearOutputError(Exception):
    """No output, or more than one, can hold the classes. `hint` says what to change."""

    def __init__(self, message: str, hint: str = _NAME_IT, *, is_none: bool = False) -> None:
        super().__init__(message)
        self.hint, self.is_none = hint, is_none


def class_output(outputs: Sequence[Named], rows: int, wanted: str | None = None) -> int:
    """The index of the output that holds the class of each of the first rows: the one named `wanted`, else the only one
    of whole numbers, one a row, else the only one of scores, one a class. Raises UnclearOutputError."""
    kinds = [kind_of(tensor, rows) for _, tensor in outputs]
    if wanted is not None:
        index = next((at for at, (name, _) in enumerate(outputs) if name == wanted), None)
        if index is None:
            raise UnclearOutputError(f"the model has no output {wanted!r}; it has {_listed(outputs)}")
        if kinds[index] is None:
            raise UnclearOutputError(f"output {_shown(outputs[index])} has neither a class nor scores for each row")
        return index
    for kind in ("class", "scores"):
        found = [at for at, one in enumerate(kinds) if one == kind]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnclearOutputError(
                f"{len(found)} outputs of the model may hold its classes: {_listed([outputs[at] for at in found])}"
            )
    raise UnclearOutputError(
        f"no output of the model has a class or scores for each row: {_listed(outputs)}",
        "Accuracy needs whole numbers, one a row, or scores, one a class. Without them, leave workload.labels out.",
        is_none=True,
    )


def kind_of(tensor: Tensor, rows: int) -> Kind | None:
    """What an output holds for each row, None where it is neither."""
    if not tensor.ndim or len(tensor) < rows or not rows:
        return None
    axes = [axis for axis in tensor.shape[1:] if axis != 1]
    if not axes:
        return "class" if tensor.dtype.kind in "iu" else None
    return "scores" if len(axes) == 1 and axes[0] > 1 and tensor.dtype.kind in "fiu" else None


def classes_of(tensor: Tensor, rows: int) -> npt.NDArray[Any]:
    """The class of each of the first rows of an output that `kind_of` knows."""
    flat = tensor[:rows].reshape(rows, -1)
    return flat[:, 0] if flat.shape[1] == 1 else np.asarray(flat.argmax(axis=1))


def _listed(outputs: Sequence[Named]) -> str:
    return ", ".join(map(_shown, outputs))


def _shown(output: Named) -> str:
    name, tensor = output
    if not tensor.ndim or not tensor.size:
        return f"{name!r}"
    return f"{name!r} ({tensor.dtype} of {' x '.join(map(str, tensor.shape))})"
