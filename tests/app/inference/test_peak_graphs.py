from __future__ import annotations

import json
from pathlib import Path

import onnxruntime as ort
import pytest

from app.inference.inspection.metadata import read_model_metadata
from app.inference.peak_graphs import build_float_product, build_integer_product, build_weight_read
from app.records.model import ShapeOverrides


def test_the_arithmetic_is_what_inspection_counts(tmp_path: Path) -> None:
    for graph in (build_float_product(tmp_path), build_integer_product(tmp_path)):
        (cost, *_) = read_model_metadata(graph.model, ShapeOverrides()).costs
        assert graph.work_per_call == cost.flops


def test_the_weights_read_are_constants_by_the_time_of_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = build_weight_read(tmp_path, 10**7)
    assert graph.work_per_call == read_model_metadata(graph.model, ShapeOverrides()).parameters.bytes
    monkeypatch.chdir(tmp_path)
    options = ort.SessionOptions()
    options.enable_profiling = True
    session = ort.InferenceSession(str(graph.model), options, providers=["CPUExecutionProvider"])
    session.run(None, graph.feeds)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    assert {event["args"]["op_name"] for event in events if event["cat"] == "Node"} == {"MatMul"}


def test_as_many_weights_are_read_as_the_model_has_within_limits(tmp_path: Path) -> None:
    amounts = [build_weight_read(tmp_path, size_bytes).work_per_call for size_bytes in (0, 10**7, 10**12)]
    assert amounts == [4 * 2**20, pytest.approx(10**7, rel=0.01), pytest.approx(128 * 2**20, rel=0.01)]
