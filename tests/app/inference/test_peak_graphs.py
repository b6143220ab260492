from __future__ import annotations

import json
from pathlib import Path

import onnxruntime as ort
import pytest

from app.inference.inspection.facts import facts_of
from app.inference.peak_graphs import float_product, integer_product, weight_read
from app.records.model import GivenShapes


def test_the_arithmetic_is_what_inspection_counts(tmp_path: Path) -> None:
    for graph in (float_product(tmp_path), integer_product(tmp_path)):
        (cost, *_) = facts_of(graph.model, GivenShapes()).costs
        assert graph.amount == cost.flops


def test_the_weights_read_are_constants_by_the_time_of_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = weight_read(tmp_path, 10**7)
    assert graph.amount == facts_of(graph.model, GivenShapes()).parameters.bytes
    monkeypatch.chdir(tmp_path)
    options = ort.SessionOptions()
    options.enable_profiling = True
    session = ort.InferenceSession(str(graph.model), options, providers=["CPUExecutionProvider"])
    session.run(None, graph.feeds)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    assert {event["args"]["op_name"] for event in events if event["cat"] == "Node"} == {"MatMul"}


def test_as_many_weights_are_read_as_the_model_has_within_limits(tmp_path: Path) -> None:
    amounts = [weight_read(tmp_path, size_bytes).amount for size_bytes in (0, 10**7, 10**12)]
    assert amounts == [4 * 2**20, pytest.approx(10**7, rel=0.01), pytest.approx(128 * 2**20, rel=0.01)]
