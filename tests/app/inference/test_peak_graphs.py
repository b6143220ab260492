from __future__ import annotations

import json
from pathlib import Path

import onnxruntime as ort
import pytest

from app.inference.inspection.metadata import read_model_metadata
from app.inference.peak_graphs import build_float_product, build_integer_product, build_weight_read
from app.records.model import ShapeOverrides


def test_work_per_call_equals_the_inspected_flops(tmp_path: Path) -> None:
    for graph in (build_float_product(tmp_path), build_integer_product(tmp_path)):
        (cost, *_) = read_model_metadata(graph.model, ShapeOverrides()).costs
        assert graph.work_per_call == cost.flops


def test_weight_read_graph_runs_only_a_matmul_per_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = build_weight_read(tmp_path, 10**7)
    assert graph.work_per_call == read_model_metadata(graph.model, ShapeOverrides()).parameters.bytes
    monkeypatch.chdir(tmp_path)
    options = ort.SessionOptions()
    options.enable_profiling = True
    session = ort.InferenceSession(str(graph.model), options, providers=["CPUExecutionProvider"])
    session.run(None, graph.feeds)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    assert {event["args"]["op_name"] for event in events if event["cat"] == "Node"} == {"MatMul"}


def test_weight_read_graph_has_the_requested_size_within_limits(tmp_path: Path) -> None:
    weight_bytes = [build_weight_read(tmp_path, size_bytes).work_per_call for size_bytes in (0, 10**7, 10**12)]
    assert weight_bytes == [4 * 2**20, pytest.approx(10**7, rel=0.01), pytest.approx(128 * 2**20, rel=0.01)]
