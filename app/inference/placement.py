"""Which provider runs which nodes: the proof that a model ran where it was asked to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime as ort

from app.errors import UnavailableError
from app.inference.providers import runtime_name
from app.records.local import Placement

_MAYBE_BOOKKEEPING = frozenset(
    {"Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Range", "ConstantOfShape"}
)
"""Operators that GPU providers leave on the CPU on purpose where they only work on shapes."""


def placements_of(session: Any, provider: str, model: Path) -> tuple[Placement, ...]:
    """Of every node of an ONNX Runtime session on `model`, the most frequent operators first.

    Raises UnavailableError where this runtime cannot tell and it matters: what falls back falls back to the CPU.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        if provider == "cpu":
            return ()
        raise UnavailableError(
            f"ONNX Runtime {ort.__version__} cannot tell which provider runs which node",
            hint="Install version 1.24 or newer, or choose the cpu provider.",
        )
    asked = runtime_name(provider)
    nodes = [(node, part.ep_name) for part in session.get_provider_graph_assignment_info() for node in part.get_nodes()]
    elsewhere = [node for node, ran_on in nodes if ran_on != asked]
    computes = _computing(model, elsewhere)
    counts = Counter((node.op_type, ran_on, ran_on != asked and id(node) in computes) for node, ran_on in nodes)
    return tuple(
        Placement(operator, ran_on, number, is_stray=is_stray)
        for (operator, ran_on, is_stray), number in counts.most_common()
    )


def _computing(model: Path, elsewhere: list[Any]) -> frozenset[int]:
    """Which of some nodes do more than work on shapes, by their ids."""
    maybe = [node for node in elsewhere if node.op_type in _MAYBE_BOOKKEEPING]
    surely = [node for node in elsewhere if node.op_type not in _MAYBE_BOOKKEEPING]
    if maybe:
        from app.inference.bookkeeping import BookkeepingNodes  # onnx, which most sessions need not load

        known = BookkeepingNodes(model)
        surely += [node for node in maybe if not known.has(node.name, node.op_type)]
    return frozenset(map(id, surely))
