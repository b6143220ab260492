"""Determine which execution provider runs each node, to verify that a model ran where
requested."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime as ort

from app.errors import UnavailableError
from app.inference.providers import get_runtime_name
from app.records.local import Placement

_BOOKKEEPING_OPERATORS = frozenset(
    {"Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Range", "ConstantOfShape"}
)
"""Operators that GPU providers intentionally assign to the CPU if the nodes only compute shapes."""


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
        from app.inference.bookkeeping import BookkeepingNodes  # This imports onnx, which most sessions do not need.

        bookkeeping_nodes = BookkeepingNodes(model)
        computing_nodes += [node for node in candidates if not bookkeeping_nodes.contains(node.name, node.op_type)]
    return frozenset(map(id, computing_nodes))
