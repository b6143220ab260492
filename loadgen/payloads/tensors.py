"""Load or generate the input tensors of a model, and find which output of the model contains the
predicted classes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from loadgen.regular_files import open_regular

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
"""NumPy dtypes of the Open Inference Protocol's datatypes, as transmitted (little-endian). BYTES
has no dtype, because its elements are length-prefixed."""


_MAX_AXES = 32
_MAX_SIZE = 2**31
_STRING_BYTES = 16
"""Memory in bytes per generated string: eight bytes for the drawn number, and six bytes for its
digits, rounded up to eight."""


class TensorError(Exception):
    """Error that is raised when the input tensors of a model cannot be loaded or generated."""


class TensorInput(msgspec.Struct, frozen=True):
    """Name, datatype and shape of a tensor in the Open Inference Protocol.

    In a model's metadata, the size -1 in `shape` is a dynamic axis.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


def read_npz(path: str) -> dict[str, Tensor]:
    """Load all arrays of an .npz file, by name. Raises TensorError if the file cannot be read, or
    contains object arrays, because loading them could execute code."""
    try:
        with open_regular(path) as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise TensorError(f"{path} is not an .npz file")
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        # Replace NumPy's message, which recommends unpickling.
        reason = "it is not an .npz file of plain arrays" if "pickle" in str(error) else error
        raise TensorError(f"{path} cannot be read: {reason}") from error


def select_inputs(arrays: Mapping[str, Tensor], specs: Sequence[TensorInput]) -> dict[str, Tensor]:
    """Select the arrays for the model's inputs by name, and convert the arrays to the datatypes of
    the inputs. Raises TensorError if an array is missing or cannot be converted, or if the arrays
    differ in the number of rows."""
    missing_names = [spec.name for spec in specs if spec.name not in arrays]
    if missing_names:
        raise TensorError(
            f"the file has no array named {', '.join(missing_names)}; it has these arrays: "
            f"{', '.join(arrays) or 'none'}"
        )
    inputs = {spec.name: _convert_to_datatype(arrays[spec.name], spec) for spec in specs}
    row_count_by_name = {name: tensor.shape[0] if tensor.ndim else 0 for name, tensor in inputs.items()}
    if len(set(row_count_by_name.values())) != 1 or 0 in row_count_by_name.values():
        row_counts_text = ", ".join(f"{name} has {row_count}" for name, row_count in row_count_by_name.items())
        raise TensorError(f"the arrays must have the same number of rows, and at least one row ({row_counts_text})")
    return inputs


def _convert_to_datatype(array: Tensor, spec: TensorInput) -> Tensor:
    if spec.datatype == "BYTES":
        if array.dtype.kind not in "SU":
            raise TensorError(f"{spec.name} must contain strings for BYTES, but contains {array.dtype}")
        return array
    dtype = _get_dtype(spec)
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TensorError(f"{spec.name} contains {array.dtype}, which cannot be converted to {spec.datatype}")
    return array.astype(dtype, copy=False)


def generate_inputs(
    specs: Sequence[TensorInput], rows_per_request: int, max_requests: int, seed: int, *, limit_bytes: int
) -> dict[str, Tensor]:
    """Generate seeded input tensors for `max_requests` requests of `rows_per_request` rows each, or
    for as many requests as fit into `limit_bytes` bytes of memory.

    The first axis is the row axis. Other dynamic axes get size 1. Floats are drawn from the
    standard normal distribution. Integers are 0 or 1, which are valid token IDs, masks and
    categories. Raises TensorError if a fixed first axis differs from `rows_per_request`, or if a
    single request exceeds the limit.
    """
    shapes = [_get_row_shape(spec, rows_per_request) for spec in specs]
    request_bytes = rows_per_request * sum(
        _get_element_bytes(spec) * prod(shape) for spec, shape in zip(specs, shapes, strict=True)
    )
    if request_bytes > limit_bytes:
        size_text = f"{request_bytes / 2**20:,.0f} MiB, more than {limit_bytes / 2**20:g} MiB"
        raise TensorError(
            f"generated inputs for one request of {rows_per_request} rows would take {size_text}. Use fewer rows."
        )
    row_count = rows_per_request * min(max_requests, limit_bytes // max(request_bytes, 1))
    rng = np.random.default_rng(seed)
    return {spec.name: _draw_tensor(spec, (row_count, *shape), rng) for spec, shape in zip(specs, shapes, strict=True)}


def _get_row_shape(spec: TensorInput, rows_per_request: int) -> tuple[int, ...]:
    if not spec.shape:
        raise TensorError(f"{spec.name} is a scalar, which cannot be generated. Provide its values in an .npz file.")
    if spec.shape[0] not in (-1, rows_per_request):
        raise TensorError(f"{spec.name} requires {spec.shape[0]} rows per request (got {rows_per_request})")
    if len(spec.shape) > _MAX_AXES or 0 in spec.shape or max(spec.shape) > _MAX_SIZE:
        raise TensorError(f"{spec.name} has a shape for which no values can be generated")
    return tuple(1 if size < 0 else size for size in spec.shape[1:])


def _get_element_bytes(spec: TensorInput) -> int:
    """Return the memory in bytes that one element of an input takes while the input is
    generated."""
    return _STRING_BYTES if spec.datatype == "BYTES" else max(_get_dtype(spec).itemsize, 4)


def _draw_tensor(spec: TensorInput, shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    if spec.datatype == "BYTES":
        return rng.integers(100_000, 1_000_000, shape).astype("S6")
    dtype = _get_dtype(spec)
    if dtype.kind != "f":
        return rng.integers(0, 2, shape, dtype.type)
    drawn_dtype = np.float64 if dtype.itemsize == 8 else np.float32
    return rng.standard_normal(shape, drawn_dtype).astype(dtype, copy=False)


def _get_dtype(spec: TensorInput) -> np.dtype[Any]:
    if spec.datatype == "BF16":
        raise TensorError(
            f"{spec.name} has datatype BF16, which NumPy does not support. Serve the model with FP16 or FP32 inputs."
        )
    if spec.datatype not in DTYPES:
        raise TensorError(f"{spec.name} has datatype {spec.datatype}, which is not supported")
    return DTYPES[spec.datatype]


def to_bytes(tensor: Tensor) -> bytes:
    """Serialize a tensor in the binary format of the Open Inference Protocol: little-endian, in
    row-major order, with length-prefixed strings."""
    if tensor.dtype.kind not in "SU":
        return tensor.tobytes()
    return b"".join(len(text).to_bytes(4, "little") + text for text in map(encode_string, tensor.ravel().tolist()))


def encode_string(value: str | bytes) -> bytes:
    """Return an element of a BYTES tensor as bytes. Strings are encoded as UTF-8."""
    return value.encode() if isinstance(value, str) else value


def to_list(tensor: Tensor) -> list[Any]:
    """Return the elements of a tensor as a flat list in row-major order, for JSON."""
    flat = tensor.ravel()
    return [text.decode() for text in flat.tolist()] if flat.dtype.kind == "S" else flat.tolist()


NamedTensor = tuple[str, Tensor]
OutputKind = Literal["class", "scores"]

_NAME_OUTPUT_HINT = "Set workload.output to the name of the output with the classes or the scores."


class AmbiguousOutputError(Exception):
    """Error that is raised when none or several of the model's outputs can contain the classes.
    `hint` suggests what to change."""

    def __init__(self, message: str, hint: str = _NAME_OUTPUT_HINT, *, has_no_candidate: bool = False) -> None:
        super().__init__(message)
        self.hint, self.has_no_candidate = hint, has_no_candidate


def find_class_output(outputs: Sequence[NamedTensor], row_count: int, output_name: str | None = None) -> int:
    """Return the index of the output that contains the class, or the class scores, of each of the
    first `row_count` rows.

    Select the output named `output_name`. Without a name, select the only output with one integer
    per row, or else the only output with several scores per row. Raises AmbiguousOutputError if
    there is no such output, or more than one.
    """
    output_kinds = [classify_output(tensor, row_count) for _, tensor in outputs]
    if output_name is not None:
        index = next((position for position, (name, _) in enumerate(outputs) if name == output_name), None)
        if index is None:
            raise AmbiguousOutputError(
                f"the model has no output {output_name!r}; it has these outputs: {_format_outputs(outputs)}"
            )
        if output_kinds[index] is None:
            raise AmbiguousOutputError(
                f"output {_format_output(outputs[index])} has neither a class nor scores for each row"
            )
        return index
    for kind in ("class", "scores"):
        matching_indices = [position for position, output_kind in enumerate(output_kinds) if output_kind == kind]
        if len(matching_indices) == 1:
            return matching_indices[0]
        if matching_indices:
            raise AmbiguousOutputError(
                f"{len(matching_indices)} outputs of the model may contain the classes: "
                f"{_format_outputs([outputs[position] for position in matching_indices])}"
            )
    raise AmbiguousOutputError(
        f"no output of the model has a class or scores for each row: {_format_outputs(outputs)}",
        "Accuracy requires one integer per row, or one score per class. Use such a model, or remove workload.labels.",
        has_no_candidate=True,
    )


def classify_output(tensor: Tensor, row_count: int) -> OutputKind | None:
    """Return what an output contains for each of the first `row_count` rows: "class", or "scores"
    for class scores. Return None for any other output."""
    if not tensor.ndim or len(tensor) < row_count or not row_count:
        return None
    dims = [dim for dim in tensor.shape[1:] if dim != 1]
    if not dims:
        return "class" if tensor.dtype.kind in "iu" else None
    return "scores" if len(dims) == 1 and dims[0] > 1 and tensor.dtype.kind in "fiu" else None


def extract_classes(tensor: Tensor, row_count: int) -> npt.NDArray[Any]:
    """Return the class of each of the first `row_count` rows of an output. If the output contains
    class scores, the class is their arg max."""
    flat = tensor[:row_count].reshape(row_count, -1)
    return flat[:, 0] if flat.shape[1] == 1 else np.asarray(flat.argmax(axis=1))


def _format_outputs(outputs: Sequence[NamedTensor]) -> str:
    return ", ".join(map(_format_output, outputs))


def _format_output(output: NamedTensor) -> str:
    name, tensor = output
    if not tensor.ndim or not tensor.size:
        return f"{name!r}"
    return f"{name!r} ({tensor.dtype} of {' x '.join(map(str, tensor.shape))})"
