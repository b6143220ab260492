"""Which provider runs which nodes: the proof that a model ran where it was asked to."""

from __future__ import annotations

from collections import Counter
from typing import Any

import onnxruntime as ort

from app.errors import UnavailableError
from app.inference.providers import runtime_name
from app.records.local import Placement

_SHAPE_OPERATORS = frozenset(
    {"Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Range", "ConstantOfShape"}
)
"""Bookkeeping of tensor shapes that GPU providers leave on the CPU on purpose."""


def placements_of(session: Any, provider: str) -> tuple[Placement, ...]:
    """Of every node of an ONNX Runtime session, the most frequent operators first.

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
    counts = Counter(
        (node.op_type, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    )
    return tuple(
        Placement(operator, ran_on, nodes, is_stray=ran_on != asked and operator not in _SHAPE_OPERATORS)
        for (operator, ran_on), nodes in counts.most_common()
    )
