"""Detect the bookkeeping nodes of a model, which only compute shapes and output a few integers."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import onnx
from onnx import shape_inference

_INTEGER_TYPES = frozenset({onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL})
_MAX_SHAPE_ELEMENTS = 8
"""Assumed maximum number of elements of a value in a shape computation, equal to the assumed
maximum number of axes of a shape."""


class BookkeepingNodes:
    """Nodes of a model file that only compute shapes, determined by ONNX shape inference.

    Nodes whose output shape cannot be inferred do not count as bookkeeping nodes."""

    def __init__(self, model: Path) -> None:
        model_proto = onnx.load(str(model), load_external_data=False)
        graph = shape_inference.infer_shapes(model_proto).graph
        small_values = {value.name for value in (*graph.value_info, *graph.output) if _is_small_value(value)}
        self._is_bookkeeping_by_name: dict[str, bool] = {}
        self._is_bookkeeping_by_operator: defaultdict[str, bool] = defaultdict(lambda: True)
        for node in graph.node:
            has_small_outputs = small_values.issuperset(node.output)
            if node.name:
                self._is_bookkeeping_by_name[node.name] = has_small_outputs
            self._is_bookkeeping_by_operator[node.op_type] &= has_small_outputs

    def contains(self, name: str, operator: str) -> bool:
        """Return True if the node called `name` only computes shapes. If no node of the file has
        this name, return True if all nodes of the file with the same operator only compute
        shapes."""
        return self._is_bookkeeping_by_name.get(name, self._is_bookkeeping_by_operator[operator])


def _is_small_value(value: onnx.ValueInfoProto) -> bool:
    """Return True if a value has at most one axis, and either an integer or boolean type or at most
    eight elements."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or len(tensor.shape.dim) > 1:
        return False
    axis_lengths = [dim.dim_value for dim in tensor.shape.dim]
    return tensor.elem_type in _INTEGER_TYPES or all(0 < length <= _MAX_SHAPE_ELEMENTS for length in axis_lengths)
