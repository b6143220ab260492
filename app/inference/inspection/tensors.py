"""The tensors a model stores, wherever in it they stand, and how large they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import onnx
from onnx import TensorProto

from app.errors import UsageError
from app.inference.printable import printable

LARGEST_BYTES = 2**63 - 1

_BITS = {
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64", "COMPLEX64"), 64),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("BOOL", "INT8", "UINT8"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("INT2", "UINT2"), 2),
    "COMPLEX128": 128,
}
_NAMES = {"FLOAT": "float32", "DOUBLE": "float64"}
_TYPED_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def dtype_name(dtype: int) -> str:
    """NumPy's name where it has one; `unknown` for a number that onnx does not define."""
    known = TensorProto.DataType.DESCRIPTOR.values_by_number.get(dtype)
    return "unknown" if known is None else _NAMES.get(known.name, known.name.lower())


def size_bytes(dtype: int, shape: tuple[int, ...]) -> int | None:
    """None for what has no size of its own, such as strings. Raises UsageError beyond 2^63 - 1 bytes."""
    known = TensorProto.DataType.DESCRIPTOR.values_by_number.get(dtype)
    bits = None if known is None else _BITS.get(known.name)
    if bits is None:
        return None
    size = -(-math.prod(shape) * bits // 8)
    if size > LARGEST_BYTES:
        lengths = printable(" × ".join(map(str, shape)))
        raise UsageError(f"the model has a tensor of {lengths} elements, more than a computer can hold")
    return size


def stored_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor in the file: of the graph, of its subgraphs, of functions, and of training."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)
        for attribute in function.attribute_proto:
            yield from _of_attribute(attribute)
    for training in model.training_info:
        yield from _of_graph(training.initialization)
        yield from _of_graph(training.algorithm)


def tensors_within(node: onnx.NodeProto) -> Iterator[TensorProto]:
    """Those of its subgraphs."""
    for attribute in node.attribute:
        for graph in _graphs(attribute):
            yield from _of_graph(graph)


def check_stored(tensor: TensorProto) -> None:
    """Raises UsageError for a tensor within the file that declares more, or other, than it holds."""
    name = printable(tensor.name)
    if any(axis < 0 for axis in tensor.dims):
        raise UsageError(f"tensor {name!r} has an axis of negative length")
    size = size_bytes(tensor.data_type, tuple(tensor.dims))
    if tensor.data_location == TensorProto.EXTERNAL or size is None:
        return
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != size:
            raise UsageError(f"tensor {name!r} declares {size} bytes and holds {len(tensor.raw_data)}")
    elif size > 16 * sum(len(getattr(tensor, field)) for field in _TYPED_FIELDS):
        raise UsageError(f"tensor {name!r} declares {size} bytes and does not hold them")


def _of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from _of_attribute(attribute)


def _of_attribute(attribute: onnx.AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparse_ones = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    for sparse in (*sparse_ones, *attribute.sparse_tensors):
        yield from (sparse.values, sparse.indices)
    for graph in _graphs(attribute):
        yield from _of_graph(graph)


def _graphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
