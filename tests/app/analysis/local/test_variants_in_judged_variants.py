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

STRAY = Check("provider", "cpu", "cuda", None, "INVALID", "It fell back.")
SLO = (parse_objective("service_ms.p95 < 20"),)


def variant(batch: int, takes_ms: float, *checks: Check) -> VariantResult:
    """Of calls of so many rows."""
    rows = [call(takes_ms * n, takes_ms, query=n) for n in range(100)]
    facts = stage_of(batch=batch, seconds=takes_ms / 10)
    whole = VariantData(variant=facts.variant, model_file="m.onnx", model_sha256=None, size_bytes=None, failure=None)
    return VariantResult(whole, (summarize_calls(table_of(rows), facts, checks),))


@pytest.mark.parametrize(
    ("variants", "best"),
    [
        ([variant(1, 5), variant(8, 16)], 8),
        ([variant(1, 5), variant(8, 60)], 1),
        ([variant(1, 5), variant(8, 16, STRAY)], 1),
    ],
    ids=["the most throughput", "inside the SLO", "that can be relied on"],
)
def test_the_best_is(variants: list[VariantResult], best: int) -> None:
    found, reason = find_best_variant(variants, SLO)
    assert found is not None
    assert (found.data.variant.batch, reason) == (best, None)


def test_without_a_best_it_says_why() -> None:
    assert find_best_variant([variant(8, 60)], SLO) == (None, "missed")
    assert find_best_variant([variant(1, 5, STRAY)], SLO)[1] == "not_trusted"
    assert find_best_variant([], SLO)[0] is None


def test_a_variant_that_was_left_out_is_no_best() -> None:
    left_out = replace(variant(1, 5), stages=())
    assert find_best_variant([left_out], ())[0] is None


def test_others_are_as_fast_where_the_intervals_meet_and_the_slo_is_met() -> None:
    best, near, far, beyond = variant(8, 16), variant(4, 7.99), variant(1, 5), variant(16, 32)
    assert find_equally_fast_variants(best, [best, near, far, beyond], SLO) == (near.data.variant,)


def test_where_arrivals_were_searched_the_best_is_what_carries_most_of_them() -> None:
    one, eight = variant(1, 5), variant(8, 16)
    one = replace(one, data=replace(one.data, server_per_s=Estimate(150.0)))
    eight = replace(eight, data=replace(eight.data, server_per_s=Estimate(15.0)))
    found, _ = find_best_variant([one, eight], SLO)
    assert found is one
    assert find_equally_fast_variants(one, [one, eight], SLO) == ()
    beyond = replace(eight, data=replace(eight.data, is_server_rate_lower_bound=True))
    one = replace(one, data=replace(one.data, server_per_s=Estimate(150.0, (145.0, 155.0))))
    assert find_equally_fast_variants(one, [one, beyond], SLO) == (eight.data.variant,), "it may carry more"
