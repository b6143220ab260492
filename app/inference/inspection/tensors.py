"""Iterate over the tensors stored in a model, and compute their sizes. Also check that all
external weight files belong to the model.

A malicious model may refer to /etc/passwd, ../secrets or a symbolic link to such a file. A runtime
that opens the model would then expose the content of that file as weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import TensorProto

from app.errors import UsageError
from app.inference.folder_file import EXPORT_HINT, build_rejection_error, find_file_in_folder
from app.inference.tensor_spec import printable
from app.records.model import ExternalFile

MAX_BYTES = 2**63 - 1

_BITS_BY_DTYPE = {
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64", "COMPLEX64"), 64),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("BOOL", "INT8", "UINT8"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("INT2", "UINT2"), 2),
    "COMPLEX128": 128,
}
_NUMPY_NAMES = {"FLOAT": "float32", "DOUBLE": "float64"}
_TYPED_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def get_dtype_name(dtype: int) -> str:
    """Return the NumPy name of an ONNX data type, or the ONNX name in lower case if NumPy has no
    such type; `unknown` for a number that ONNX does not define."""
    definition = TensorProto.DataType.DESCRIPTOR.values_by_number.get(dtype)
    return "unknown" if definition is None else _NUMPY_NAMES.get(definition.name, definition.name.lower())


def compute_size_bytes(dtype: int, shape: tuple[int, ...]) -> int | None:
    """Return the size of a tensor in bytes; `None` for data types without a fixed size, such as
    strings. Raises UsageError if the size exceeds 2^63 - 1 bytes."""
    definition = TensorProto.DataType.DESCRIPTOR.values_by_number.get(dtype)
    bits = None if definition is None else _BITS_BY_DTYPE.get(definition.name)
    if bits is None:
        return None
    size_bytes = -(-math.prod(shape) * bits // 8)
    if size_bytes > MAX_BYTES:
        shape_text = printable(" × ".join(map(str, shape)))
        raise UsageError(
            f"the model has a tensor of {shape_text} elements, which is too large (above 2^63 - 1 bytes)",
            hint="Check the input shapes.",
        )
    return size_bytes


def iterate_stored_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield all tensors stored in a model: in its graph, subgraphs, functions and training
    information."""
    yield from _iterate_graph_tensors(model.graph)
    for function in model.functions:
        yield from _iterate_node_tensors(function.node)
        for attribute in function.attribute_proto:
            yield from _iterate_attribute_tensors(attribute)
    for training in model.training_info:
        yield from _iterate_graph_tensors(training.initialization)
        yield from _iterate_graph_tensors(training.algorithm)


def iterate_subgraph_tensors(node: onnx.NodeProto) -> Iterator[TensorProto]:
    """Yield the tensors stored in the subgraphs of a node."""
    for attribute in node.attribute:
        for graph in _list_attribute_graphs(attribute):
            yield from _iterate_graph_tensors(graph)


def check_stored_tensor(tensor: TensorProto) -> None:
    """Raise UsageError if a stored tensor has an axis of negative length, or if its data does not
    match its declared size."""
    name = printable(tensor.name)
    if any(dim < 0 for dim in tensor.dims):
        raise UsageError(f"tensor {name!r} has an axis of negative length", hint=EXPORT_HINT)
    size_bytes = compute_size_bytes(tensor.data_type, tuple(tensor.dims))
    if tensor.data_location == TensorProto.EXTERNAL or size_bytes is None:
        return
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != size_bytes:
            raise UsageError(
                f"tensor {name!r} declares {size_bytes} bytes but contains {len(tensor.raw_data)} bytes",
                hint=EXPORT_HINT,
            )
    elif size_bytes > 16 * sum(len(getattr(tensor, field)) for field in _TYPED_FIELDS):
        raise UsageError(f"tensor {name!r} declares {size_bytes} bytes but contains fewer", hint=EXPORT_HINT)


def _iterate_graph_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse_tensor in graph.sparse_initializer:
        yield from (sparse_tensor.values, sparse_tensor.indices)
    yield from _iterate_node_tensors(graph.node)


def _iterate_node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from _iterate_attribute_tensors(attribute)


def _iterate_attribute_tensors(attribute: onnx.AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    single_sparse_tensors = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    for sparse_tensor in (*single_sparse_tensors, *attribute.sparse_tensors):
        yield from (sparse_tensor.values, sparse_tensor.indices)
    for graph in _list_attribute_graphs(attribute):
        yield from _iterate_graph_tensors(graph)


def _list_attribute_graphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def find_weight_files(model: onnx.ModelProto, path: Path) -> tuple[ExternalFile, ...]:
    """Return the external weight files of `model`, which was read from `path`.

    Raises UsageError for a file outside the folder of the model, for a file with several hard
    links, and for a tensor that extends beyond the end of its file."""
    files: dict[str, ExternalFile] = {}
    for tensor in iterate_stored_tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
            continue
        entries = _read_entries(tensor)
        location = entries.get("location", "")
        if location not in files:
            files[location] = find_file_in_folder(path.parent, location)
        _check_byte_range(tensor, entries, files[location])
    return tuple(sorted(files.values(), key=lambda file: file.name))


def _read_entries(tensor: TensorProto) -> dict[str, str]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) != len(tensor.external_data):
        raise build_rejection_error(
            f"tensor {printable(tensor.name)!r} declares the location of its weights more than once"
        )
    return entries


def _check_byte_range(tensor: TensorProto, entries: dict[str, str], file: ExternalFile) -> None:
    name = printable(tensor.name)
    offset, length = (_parse_number(entries.get(key), name, key) for key in ("offset", "length"))
    if any(dim < 0 for dim in tensor.dims):
        raise build_rejection_error(f"tensor {name!r} has an axis of negative length")
    declared_bytes = compute_size_bytes(tensor.data_type, tuple(tensor.dims))
    if declared_bytes is None:
        raise build_rejection_error(f"tensor {name!r} has a type that cannot be stored in a weights file")
    if length is not None and length != declared_bytes:
        raise build_rejection_error(
            f"tensor {name!r} declares {declared_bytes} bytes, but its file entry has {length} bytes"
        )
    if (offset or 0) + declared_bytes > file.size_bytes:
        raise build_rejection_error(f"tensor {name!r} extends beyond the end of {file.name}")


def _parse_number(text: str | None, tensor_name: str, key: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise build_rejection_error(f"tensor {tensor_name!r} has an invalid {key} {printable(text)!r} for its file")
    return int(text)
