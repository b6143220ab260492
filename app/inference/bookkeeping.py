"""Which nodes of a model only work out shapes: their outputs are a few whole numbers."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import onnx
from onnx import shape_inference

_WHOLE = frozenset({onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL})
_FEW = 8
"""As many as a shape has axes."""


class BookkeepingNodes:
    """Of the standard shape inference of one file; what it cannot tell is no bookkeeping."""

    def __init__(self, model: Path) -> None:
        read = onnx.load(str(model), load_external_data=False)
        graph = shape_inference.infer_shapes(read).graph
        small = {value.name for value in (*graph.value_info, *graph.output) if _is_small(value)}
        self._by_name: dict[str, bool] = {}
        self._by_operator: defaultdict[str, bool] = defaultdict(lambda: True)
        for node in graph.node:
            is_small = small.issuperset(node.output)
            if node.name:
                self._by_name[node.name] = is_small
            self._by_operator[node.op_type] &= is_small

    def has(self, name: str, operator: str) -> bool:
        """A node whose name the file does not have counts as one as long as all of its operator do."""
        return self._by_name.get(name, self._by_operator[operator])


def _is_small(value: onnx.ValueInfoProto) -> bool:
    """Whole numbers along one axis at most; of other types, so few that they can only be factors of a shape."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or len(tensor.shape.dim) > 1:
        return False
    lengths = [axis.dim_value for axis in tensor.shape.dim]
    return tensor.elem_type in _WHOLE or all(0 < length <= _FEW for length in lengths)
