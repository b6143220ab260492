from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from app.analysis.local.call_stages import summarize_calls
from app.records.estimate import Variant
from app.records.local import Placement, VariantData
from app.records.model import BatchCost
from app.records.result import Check, Stage
from app.session.local.result import find_variant_bottleneck, fit_batch_models
from app.session.local.spec import LocalDependencies
from app.storage.run_directory import RunWriter
from tests.fakes.calls import call, stage_of, table_of
from tests.fakes.local import LocalBench, order_of
from tests.fakes.parts import ENVIRONMENT


def alone(batch: int, *, streams: int = 1, checks: tuple[Check, ...] = ()) -> Stage:
    takes_ms = (2 + batch) / 0.8  # of which eight tenths are the execution
    rows = [call(takes_ms * n, takes_ms, query=n) for n in range(60)]
    return summarize_calls(table_of(rows), stage_of(batch=batch, streams=streams), checks)


@pytest.fixture
def parts(tmp_path: Path) -> LocalDependencies:
    """Of a model that adds a million numbers for each row."""
    cost = BatchCost(batch=1, flops=10**6, moved_bytes=10**4, min_bytes=10**4, memory_bytes=10**4, flops_per_byte=100.0)
    with RunWriter(tmp_path / "run") as store:
        return replace(LocalBench(tmp_path).parts(store), compute_cost=lambda _path, _batch, _axes: cost)


def test_a_law_is_of_variants_that_differ_in_their_batch_alone() -> None:
    stages = [alone(1), alone(4), alone(8), alone(4, streams=2)]
    (law,) = fit_batch_models(stages)
    assert law.batches == (1, 4, 8)
    assert law.variant == stage_of(batch=1).variant
    assert law.t0_ms.value == pytest.approx(2, abs=0.05)
    assert law.t1_ms.value == pytest.approx(1, abs=0.05)


def test_one_batch_and_other_scenarios_report_no_law() -> None:
    offline = summarize_calls(table_of([call(0, 10)]), stage_of("offline", batch=2))
    assert fit_batch_models([alone(1), offline]) == ()


def facts_of(variant: Variant) -> VariantData:
    return VariantData(
        variant=variant,
        model_file="m.onnx",
        model_sha256=None,
        size_bytes=10,
        failure=None,
        placements=(Placement("Gemm", "CPUExecutionProvider", 3),),
    )


def test_what_limits_a_variant_is_reported_of_its_calls_alone(parts: LocalDependencies) -> None:
    stage = alone(1)
    bound = find_variant_bottleneck(
        order_of(1), "m.onnx", facts_of(order_of(1).variant), [stage], (), parts, ENVIRONMENT
    )
    assert bound is not None
    assert bound.flops_per_s == pytest.approx(10**6 / 0.003, rel=0.01)


def test_nothing_limits_what_was_not_measured_alone_or_cannot_be_relied_on(parts: LocalDependencies) -> None:
    facts = facts_of(order_of(1).variant)
    offline = summarize_calls(table_of([call(0, 10)]), stage_of("offline"))
    invalidated = alone(1, checks=(Check("provider", "cpu", "cuda", None, "INVALID", "It fell back."),))
    for path, stages in (("m.onnx", [offline]), (None, [alone(1)]), ("m.onnx", [invalidated])):
        assert find_variant_bottleneck(order_of(1), path, facts, stages, (), parts, ENVIRONMENT) is None
