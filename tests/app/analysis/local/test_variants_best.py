from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.analysis.local.call_stages import summarize_calls
from app.analysis.local.variants import VariantResult, find_best_variant, find_equally_fast_variants
from app.analysis.objectives import parse_objective
from app.records.estimate import Estimate
from app.records.local import VariantData
from app.records.result import Check
from tests.fakes.calls import call, stage_of, table_of

FALLBACK = Check("provider", "cpu", "cuda", None, "INVALID", "It fell back.")
SLO = (parse_objective("service_ms.p95 < 20"),)


def build_variant(batch: int, duration_ms: float, *checks: Check) -> VariantResult:
    """Result of a variant with 100 calls of `batch` rows each."""
    rows = [call(duration_ms * n, duration_ms, query=n) for n in range(100)]
    call_stage = stage_of(batch=batch, seconds=duration_ms / 10)
    variant_data = VariantData(
        variant=call_stage.variant, model_file="m.onnx", model_sha256=None, size_bytes=None, failure=None
    )
    return VariantResult(variant_data, (summarize_calls(table_of(rows), call_stage, checks),))


@pytest.mark.parametrize(
    ("variants", "best"),
    [
        ([build_variant(1, 5), build_variant(8, 16)], 8),
        ([build_variant(1, 5), build_variant(8, 60)], 1),
        ([build_variant(1, 5), build_variant(8, 16, FALLBACK)], 1),
    ],
    ids=["the most throughput", "inside the SLO", "that can be relied on"],
)
def test_best_variant_is_fastest_valid_variant_within_slo(variants: list[VariantResult], best: int) -> None:
    best_variant, reason = find_best_variant(variants, SLO)
    assert best_variant is not None
    assert (best_variant.data.variant.batch, reason) == (best, None)


def test_missing_best_variant_has_reason() -> None:
    assert find_best_variant([build_variant(8, 60)], SLO) == (None, "missed")
    assert find_best_variant([build_variant(1, 5, FALLBACK)], SLO)[1] == "not_trusted"
    assert find_best_variant([], SLO)[0] is None


def test_variant_without_stages_is_not_best() -> None:
    left_out = replace(build_variant(1, 5), stages=())
    assert find_best_variant([left_out], ())[0] is None


def test_variants_with_overlapping_intervals_within_slo_are_equally_fast() -> None:
    best, near, far, beyond = build_variant(8, 16), build_variant(4, 7.99), build_variant(1, 5), build_variant(16, 32)
    assert find_equally_fast_variants(best, [best, near, far, beyond], SLO) == (near.data.variant,)


def test_best_variant_of_rate_search_has_highest_max_rate() -> None:
    batch_1, batch_8 = build_variant(1, 5), build_variant(8, 16)
    batch_1 = replace(batch_1, data=replace(batch_1.data, server_per_s=Estimate(150.0)))
    batch_8 = replace(batch_8, data=replace(batch_8.data, server_per_s=Estimate(15.0)))
    best, _ = find_best_variant([batch_1, batch_8], SLO)
    assert best is batch_1
    assert find_equally_fast_variants(batch_1, [batch_1, batch_8], SLO) == ()
    beyond = replace(batch_8, data=replace(batch_8.data, is_server_rate_lower_bound=True))
    batch_1 = replace(batch_1, data=replace(batch_1.data, server_per_s=Estimate(150.0, (145.0, 155.0))))
    assert find_equally_fast_variants(batch_1, [batch_1, beyond], SLO) == (batch_8.data.variant,), (
        "its max rate is a lower bound"
    )
