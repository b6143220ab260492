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


def session_of(**nodes: tuple[str, ...]) -> Any:
    """That has given each provider such nodes."""
    parts = [
        SimpleNamespace(
            ep_name=provider, get_nodes=lambda names=names: [SimpleNamespace(op_type=name, name="") for name in names]
        )
        for provider, names in nodes.items()
    ]
    return SimpleNamespace(get_provider_graph_assignment_info=lambda: parts)


def test_nodes_that_compute_elsewhere_are_fallbacks_and_those_of_shapes_are_none(tmp_path: Path) -> None:
    model = reshaping(tmp_path / "m.onnx")
    session = session_of(
        CUDAExecutionProvider=("Conv", "Conv", "Relu"), CPUExecutionProvider=("Shape", "Gather", "Resize")
    )
    assert read_placements(session, "cuda", model) == (
        Placement("Conv", CUDA, 2),
        Placement("Relu", CUDA, 1),
        Placement("Shape", CPU, 1),
        Placement("Gather", CPU, 1),
        Placement("Resize", CPU, 1, is_fallback=True),
    )


def test_one_operator_may_be_on_two_providers(tmp_path: Path) -> None:
    model = reshaping(tmp_path / "m.onnx")
    session = session_of(CUDAExecutionProvider=("Conv", "Conv"), CPUExecutionProvider=("Conv",))
    assert [(one.nodes, one.is_fallback) for one in read_placements(session, "cuda", model)] == [(2, False), (1, True)]


def test_runtime_that_cannot_report_is_unavailable_but_for_the_cpu() -> None:
    assert read_placements(SimpleNamespace(), "cpu", Path("m.onnx")) == ()
    with pytest.raises(UnavailableError, match="does not report which provider"):
        read_placements(SimpleNamespace(), "cuda", Path("m.onnx"))


def test_a_table_that_is_looked_up_in_elsewhere_is_no_bookkeeping() -> None:
    model = DIGITS_MODEL.with_name("recommendation.onnx")
    session = session_of(CUDAExecutionProvider=("MatMul",), CPUExecutionProvider=("Gather", "Gather"))
    assert read_placements(session, "cuda", model)[0] == Placement("Gather", CPU, 2, is_fallback=True)


def test_what_works_on_shapes_is_bookkeeping_by_name_and_by_operator(tmp_path: Path) -> None:
    nodes = BookkeepingNodes(reshaping(tmp_path / "m.onnx"))
    assert all(nodes.contains(name, name.title()) for name in ("shape", "rows", "length", "wanted"))
    assert not nodes.contains("y", "Reshape")
    assert nodes.contains("a name of the runtime's own", "Gather")
    assert not nodes.contains("", "Reshape")


def test_rows_of_a_table_are_none(tmp_path: Path) -> None:
    assert not BookkeepingNodes(lookup(tmp_path / "m.onnx")).contains("", "Gather")
    assert not BookkeepingNodes(DIGITS_MODEL).contains("", "Conv")
