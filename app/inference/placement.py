"""Determine which execution provider runs each node, to verify that a model ran where
requested."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from app.errors import UnavailableError
from app.inference.providers import get_runtime_name
from app.records.local import Placement

if TYPE_CHECKING:
    import onnx

_BOOKKEEPING_OPERATORS = frozenset(
    {"Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Range", "ConstantOfShape"}
)
"""Operators that GPU providers intentionally assign to the CPU if the nodes only compute shapes."""
_MAX_SHAPE_ELEMENTS = 8
"""Assumed maximum number of elements of a value in a shape computation, equal to the assumed
maximum number of axes of a shape."""


def read_placements(session: Any, provider: str, model: Path) -> tuple[Placement, ...]:
    """Return the number of nodes of each operator on each execution provider, most frequent first.
    `session` is an ONNX Runtime session for `model`.

    Nodes that the requested provider does not support fall back to the CPU. Raises UnavailableError
    if the installed ONNX Runtime does not report placements and the requested provider is not the
    CPU."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        if provider == "cpu":
            return ()
        raise UnavailableError(
            f"ONNX Runtime {ort.__version__} does not report which provider runs each node",
            hint="Install ONNX Runtime 1.24 or newer, or use the cpu provider.",
        )
    requested_name = get_runtime_name(provider)
    assigned_nodes = [
        (node, assignment.ep_name)
        for assignment in session.get_provider_graph_assignment_info()
        for node in assignment.get_nodes()
    ]
    fallback_nodes = [node for node, used_name in assigned_nodes if used_name != requested_name]
    computing_ids = _find_computing_node_ids(model, fallback_nodes)
    counts = Counter(
        (node.op_type, used_name, used_name != requested_name and id(node) in computing_ids)
        for node, used_name in assigned_nodes
    )
    return tuple(
        Placement(operator, used_name, count, is_fallback=is_fallback)
        for (operator, used_name, is_fallback), count in counts.most_common()
    )


def _find_computing_node_ids(model: Path, nodes: list[Any]) -> frozenset[int]:
    """Return the `id` values of the nodes that do more than compute shapes."""
    candidates = [node for node in nodes if node.op_type in _BOOKKEEPING_OPERATORS]
    computing_nodes = [node for node in nodes if node.op_type not in _BOOKKEEPING_OPERATORS]
    if candidates:
        bookkeeping_nodes = BookkeepingNodes(model)
        computing_nodes += [node for node in candidates if not bookkeeping_nodes.contains(node.name, node.op_type)]
    return frozenset(map(id, computing_nodes))


class BookkeepingNodes:
    """Nodes of a model file that only compute shapes, determined by ONNX shape inference.

    Nodes whose output shape cannot be inferred do not count as bookkeeping nodes."""

    def __init__(self, model: Path) -> None:
        import onnx  # Most sessions do not need onnx.
        from onnx import shape_inference

        integer_types = frozenset({onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL})
        model_proto = onnx.load(str(model), load_external_data=False)
        graph = shape_inference.infer_shapes(model_proto).graph
        values = (*graph.value_info, *graph.output)
        small_values = {value.name for value in values if _is_small_value(value, integer_types)}
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


def _is_small_value(value: onnx.ValueInfoProto, integer_types: frozenset[int]) -> bool:
    """Return True if a value has at most one axis, and either a type in `integer_types` or at most
    eight elements."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or len(tensor.shape.dim) > 1:
        return False
    axis_lengths = [dim.dim_value for dim in tensor.shape.dim]
    return tensor.elem_type in integer_types or all(0 < length <= _MAX_SHAPE_ELEMENTS for length in axis_lengths)
