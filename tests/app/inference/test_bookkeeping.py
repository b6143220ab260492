from __future__ import annotations

from pathlib import Path

from app.inference.bookkeeping import BookkeepingNodes
from app.inference.probe import DIGITS_MODEL
from tests.fakes.onnx_models import lookup, reshaping


def test_what_works_on_shapes_is_bookkeeping_by_name_and_by_operator(tmp_path: Path) -> None:
    nodes = BookkeepingNodes(reshaping(tmp_path / "m.onnx"))
    assert all(nodes.contains(name, name.title()) for name in ("shape", "rows", "length", "wanted"))
    assert not nodes.contains("y", "Reshape")
    assert nodes.contains("a name of the runtime's own", "Gather")
    assert not nodes.contains("", "Reshape")


def test_rows_of_a_table_are_none(tmp_path: Path) -> None:
    assert not BookkeepingNodes(lookup(tmp_path / "m.onnx")).contains("", "Gather")
    assert not BookkeepingNodes(DIGITS_MODEL).contains("", "Conv")
