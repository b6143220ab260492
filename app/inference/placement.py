"""Maps nodes to the execution providers that run them, to verify that a model ran where
requested."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime as ort

from app.errors import UnavailableError
from app.inference.providers import get_runtime_name
from app.records.local import Placement

_MAYBE_BOOKKEEPING = frozenset(
    {"Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Range", "ConstantOfShape"}
)
"""Operators that GPU providers intentionally assign to the CPU if they only compute shapes."""


def read_placements(session: Any, provider: str, model: Path) -> tuple[Placement, ...]:
    """Return the placement of all nodes of an ONNX Runtime session for `model`, most frequent
    operators first. Nodes that a provider does not support always fall back to the CPU.

    Raises UnavailableError if this runtime does not report placements and the provider is not the
    CPU."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        if provider == "cpu":
            return ()
        raise UnavailableError(
            f"ONNX Runtime {ort.__version__} does not report which provider runs which node",
            hint="Install version 1.24 or newer, or use the cpu provider.",
        )
    requested = get_runtime_name(provider)
    nodes = [(node, part.ep_name) for part in session.get_provider_graph_assignment_info() for node in part.get_nodes()]
    fallback_nodes = [node for node, ran_on in nodes if ran_on != requested]
    computing_ids = _find_computing_nodes(model, fallback_nodes)
    counts = Counter(
        (node.op_type, ran_on, ran_on != requested and id(node) in computing_ids) for node, ran_on in nodes
    )
    return tuple(
        Placement(operator, ran_on, count, is_fallback=is_fallback)
        for (operator, ran_on, is_fallback), count in counts.most_common()
    )


def _find_computing_nodes(model: Path, nodes: list[Any]) -> frozenset[int]:
    """Return the ids of the nodes that do more than compute shapes."""
    candidates = [node for node in nodes if node.op_type in _MAYBE_BOOKKEEPING]
    computing = [node for node in nodes if node.op_type not in _MAYBE_BOOKKEEPING]
    if candidates:
        from app.inference.bookkeeping import BookkeepingNodes  # This imports onnx, which most sessions do not need.

        bookkeeping = BookkeepingNodes(model)
        computing += [node for node in candidates if not bookkeeping.contains(node.name, node.op_type)]
    return frozenset(map(id, computing))
