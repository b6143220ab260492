from __future__ import annotations

import math

import pytest

from app.analysis.practice_checks import prefix_cache_check, prompts_check
from app.records.result import Check
from app.records.telemetry import Samples


def vllm(hits: float, asked: float) -> Samples:
    return Samples({"vllm:prefix_cache_hits_total": hits, "vllm:prefix_cache_queries_total": asked})


def moved(before: Samples | None, after: Samples | None, *, is_wanted: bool = False) -> Check | None:
    return prefix_cache_check((before,), (after,), is_wanted=is_wanted)


@pytest.mark.parametrize(("hits", "verdict"), [(0, "VALID"), (50, "VALID"), (51, "WARN"), (1_000, "WARN")])
def test_prompts_answered_from_a_cache_are_a_doubt(hits: float, verdict: str) -> None:
    found = moved(vllm(700, 5_000), vllm(700 + hits, 6_000))
    assert found is not None
    assert (found.value, found.verdict) == (hits / 1_000, verdict)


def test_it_is_said_what_the_share_means_and_what_to_do() -> None:
    found = moved(vllm(0, 0), vllm(380, 1_000))
    assert found is not None
    assert str(found.hint).startswith("38 % of the prompt tokens came from the server's prefix cache")
    assert "prompts.unique" in str(found.hint)


def test_a_cache_that_the_profile_means_to_use_is_no_doubt() -> None:
    found = moved(vllm(0, 0), vllm(900, 1_000), is_wanted=True)
    assert found == Check("prefix_cache", 0.9, None, "share", "VALID")


@pytest.mark.parametrize(
    ("hits", "asked"),
    [
        ("vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_queries_total"),
        ("sglang:cached_tokens_total", "sglang:prompt_tokens_total"),
        ("trtllm_prompt_cached_tokens_total", "trtllm_prompt_tokens_total"),
    ],
)
def test_other_servers_count_by_other_names(hits: str, asked: str) -> None:
    found = moved(Samples({hits: 0.0, asked: 100.0}), Samples({hits: 30.0, asked: 200.0, "up": 1.0}))
    assert found is not None
    assert found.value == pytest.approx(0.3)


def test_names_of_two_versions_are_not_added_up() -> None:
    older = {"vllm:gpu_prefix_cache_hits_total": 38.0, "vllm:gpu_prefix_cache_queries_total": 100.0}
    found = moved(Samples({}), Samples({**older, **vllm(38, 100).totals}))
    assert found is not None
    assert found.value == pytest.approx(0.38)


def test_a_counter_that_is_not_shown_before_it_counts_was_0() -> None:
    found = moved(Samples({"sglang:prompt_tokens_total": 10.0}), Samples({
        "sglang:prompt_tokens_total": 110.0, "sglang:cached_tokens_total": 20.0,
    }))  # fmt: skip
    assert found is not None
    assert found.value == pytest.approx(0.2)


def test_replicas_are_taken_together_and_those_that_do_not_count_left_out() -> None:
    before = (vllm(0, 0), None, Samples({"up": 1.0}), vllm(5, 10))
    after = (vllm(30, 100), vllm(9, 9), Samples({"up": 1.0}), vllm(5, 310))
    found = prefix_cache_check(before, after, is_wanted=False)
    assert found is not None
    assert found.value == pytest.approx(30 / 400)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, vllm(1, 2)),
        (vllm(1, 2), None),
        (vllm(5, 10), vllm(5, 10)),
        (vllm(5, 10), vllm(1, 2)),
        (vllm(50, 100), vllm(1, 200)),
        (vllm(0, 0), vllm(math.inf, math.inf)),
        (Samples({"up": 1.0}), Samples({"up": 1.0})),
    ],
)
def test_nothing_is_said_where_nothing_was_counted(before: Samples | None, after: Samples | None) -> None:
    """No page, no such counter, none that moved, a server that started again, numbers that are none."""
    assert moved(before, after) is None


def test_a_share_is_at_most_all() -> None:
    found = moved(vllm(0, 0), vllm(300, 100))
    assert found is not None
    assert found.value == 1.0


@pytest.mark.parametrize(("distinct", "prepared", "verdict"), [(1, 1, "WARN"), (1, 1_000, "WARN"), (2, 1_000, "VALID")])
def test_prompts_that_are_all_alike_are_a_doubt(distinct: int, prepared: int, verdict: str) -> None:
    found = prompts_check(distinct, prepared)
    assert (found.value, found.verdict) == (distinct, verdict)
    if prepared > 1 and distinct == 1:
        assert "All 1,000 prepared requests have the same prompt" in str(found.hint)
