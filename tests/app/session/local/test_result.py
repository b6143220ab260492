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
from tests.fakes.session_dependencies import ENVIRONMENT


def summarize_single_stream(batch: int, *, streams: int = 1, checks: tuple[Check, ...] = ()) -> Stage:
    duration_ms = (2 + batch) / 0.8  # the execution takes 80 % of it
    rows = [call(duration_ms * n, duration_ms, query=n) for n in range(60)]
    return summarize_calls(table_of(rows), stage_of(batch=batch, streams=streams), checks)


@pytest.fixture
def dependencies(tmp_path: Path) -> LocalDependencies:
    """Return the dependencies with a model that needs 10^6 floating-point operations for each row."""
    cost = BatchCost(batch=1, flops=10**6, moved_bytes=10**4, min_bytes=10**4, memory_bytes=10**4, flops_per_byte=100.0)
    with RunWriter(tmp_path / "run") as store:
        return replace(LocalBench(tmp_path).parts(store), compute_cost=lambda _path, _batch, _axes: cost)


def test_batch_model_is_fitted_to_variants_that_differ_only_in_batch() -> None:
    stages = [
        summarize_single_stream(1),
        summarize_single_stream(4),
        summarize_single_stream(8),
        summarize_single_stream(4, streams=2),
    ]
    (model,) = fit_batch_models(stages)
    assert model.batches == (1, 4, 8)
    assert model.variant == stage_of(batch=1).variant
    assert model.t0_ms.value == pytest.approx(2, abs=0.05)
    assert model.t1_ms.value == pytest.approx(1, abs=0.05)


def test_single_batch_or_other_scenarios_have_no_batch_model() -> None:
    offline = summarize_calls(table_of([call(0, 10)]), stage_of("offline", batch=2))
    assert fit_batch_models([summarize_single_stream(1), offline]) == ()


def build_variant_data(variant: Variant) -> VariantData:
    return VariantData(
        variant=variant,
        model_file="m.onnx",
        model_sha256=None,
        size_bytes=10,
        failure=None,
        placements=(Placement("Gemm", "CPUExecutionProvider", 3),),
    )


def test_bottleneck_of_a_variant_is_based_on_its_single_stream_calls(dependencies: LocalDependencies) -> None:
    stage = summarize_single_stream(1)
    bound = find_variant_bottleneck(
        order_of(1), "m.onnx", build_variant_data(order_of(1).variant), [stage], (), dependencies, ENVIRONMENT
    )
    assert bound is not None
    assert bound.flops_per_s == pytest.approx(10**6 / 0.003, rel=0.01)


def test_bottleneck_is_none_without_valid_single_stream_calls_or_a_model_path(dependencies: LocalDependencies) -> None:
    variant_data = build_variant_data(order_of(1).variant)
    offline = summarize_calls(table_of([call(0, 10)]), stage_of("offline"))
    invalidated = summarize_single_stream(
        1, checks=(Check("provider", "cpu", "cuda", None, "INVALID", "It fell back."),)
    )
    for path, stages in (("m.onnx", [offline]), (None, [summarize_single_stream(1)]), ("m.onnx", [invalidated])):
        assert find_variant_bottleneck(order_of(1), path, variant_data, stages, (), dependencies, ENVIRONMENT) is None
