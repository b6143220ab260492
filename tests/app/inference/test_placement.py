from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.errors import UnavailableError
from app.inference.placement import BookkeepingNodes, read_placements
from app.inference.probe import DIGITS_MODEL
from app.records.local import Placement
from tests.fakes.onnx_models import lookup, reshaping

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def build_session(**nodes: tuple[str, ...]) -> Any:
    """Return a session that reports these operator types per provider."""
    parts = [
        SimpleNamespace(
            ep_name=provider, get_nodes=lambda names=names: [SimpleNamespace(op_type=name, name="") for name in names]
        )
        for provider, names in nodes.items()
    ]
    return SimpleNamespace(get_provider_graph_assignment_info=lambda: parts)


def test_compute_nodes_on_another_provider_are_fallbacks_and_shape_nodes_are_not(tmp_path: Path) -> None:
    model = reshaping(tmp_path / "m.onnx")
    session = build_session(
        CUDAExecutionProvider=("Conv", "Conv", "Relu"), CPUExecutionProvider=("Shape", "Gather", "Resize")
    )
    assert read_placements(session, "cuda", model) == (
        Placement("Conv", CUDA, 2),
        Placement("Relu", CUDA, 1),
        Placement("Shape", CPU, 1),
        Placement("Gather", CPU, 1),
        Placement("Resize", CPU, 1, is_fallback=True),
    )


def test_operator_on_two_providers_has_two_placements(tmp_path: Path) -> None:
    model = reshaping(tmp_path / "m.onnx")
    session = build_session(CUDAExecutionProvider=("Conv", "Conv"), CPUExecutionProvider=("Conv",))
    assert [(placement.nodes, placement.is_fallback) for placement in read_placements(session, "cuda", model)] == [
        (2, False),
        (1, True),
    ]


def test_placements_without_runtime_support_are_unavailable_except_on_cpu() -> None:
    assert read_placements(SimpleNamespace(), "cpu", Path("m.onnx")) == ()
    with pytest.raises(UnavailableError, match="does not report which provider"):
        read_placements(SimpleNamespace(), "cuda", Path("m.onnx"))


def test_table_lookup_on_the_cpu_is_a_fallback() -> None:
    model = DIGITS_MODEL.with_name("recommendation.onnx")
    session = build_session(CUDAExecutionProvider=("MatMul",), CPUExecutionProvider=("Gather", "Gather"))
    assert read_placements(session, "cuda", model)[0] == Placement("Gather", CPU, 2, is_fallback=True)


def test_shape_nodes_are_bookkeeping_by_name_and_by_operator(tmp_path: Path) -> None:
    nodes = BookkeepingNodes(reshaping(tmp_path / "m.onnx"))
    assert all(nodes.contains(name, name.title()) for name in ("shape", "rows", "length", "wanted"))
    assert not nodes.contains("y", "Reshape")
    assert nodes.contains("a name added by the runtime", "Gather")
    assert not nodes.contains("", "Reshape")


def test_table_lookups_and_convolutions_are_not_bookkeeping(tmp_path: Path) -> None:
    assert not BookkeepingNodes(lookup(tmp_path / "m.onnx")).contains("", "Gather")
    assert not BookkeepingNodes(DIGITS_MODEL).contains("", "Conv")
