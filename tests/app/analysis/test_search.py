from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from app.analysis.search import CapacityPosterior, Probe, RateSearch
from tests.tiers import first_in_unit_tier

BRACKET = [(40.0, True), (80.0, False)]


def test_between_a_rate_that_held_and_one_that_failed_all_limits_are_alike_likely() -> None:
    """On a log scale: the middle is √(40 × 80)."""
    belief = CapacityPosterior(BRACKET)
    assert belief.compute_quantile(0.5) == pytest.approx(3200**0.5, rel=0.01)
    assert belief.compute_quantile(0.25) == pytest.approx(40 * 2**0.25, rel=0.02)


def test_evidence_narrows_it_and_one_chance_failure_does_not_rule() -> None:
    tried = [*BRACKET, (50.0, True), (52.0, True), (60.0, False), (56.0, False)]
    assert 52 < CapacityPosterior(tried).compute_quantile(0.5) < 56
    unlucky = CapacityPosterior([*tried, (45.0, False)])
    assert 45 < unlucky.compute_quantile(0.5) < 54


def test_more_repeats_are_less_likely_and_a_lower_rate_is_likelier() -> None:
    belief = CapacityPosterior([*BRACKET, (55.0, True), (58.0, False)])
    assert (
        belief.compute_pass_probability(54, 1)
        > belief.compute_pass_probability(54, 3)
        > belief.compute_pass_probability(56, 3)
    )
    rate = belief.find_highest_rate(3, 0.5)
    assert belief.compute_pass_probability(rate, 3) == pytest.approx(0.5, abs=0.02)
    assert belief.find_highest_rate(3, 0.8) < rate < belief.find_highest_rate(1, 0.5)


def test_a_limit_above_all_that_was_tried_is_thought_of_where_a_rate_failed_and_held() -> None:
    belief = CapacityPosterior([(40.0, True), (40.0, False), (40.0, True)])
    assert belief.compute_quantile(0.9) > 42


Responder = Callable[[float], bool]


def run(search: RateSearch, holds: Responder) -> list[tuple[Probe, bool]]:
    tried: list[tuple[Probe, bool]] = []
    while (probe := search.next_probe()) is not None:
        assert search.next_probe() == probe  # the same again until it was recorded
        held = holds(probe.rate_per_s)
        search.record_result(probe, held)
        tried.append((probe, held))
    return tried


def below(limit_per_s: float) -> Responder:
    return lambda rate_per_s: rate_per_s <= limit_per_s


@pytest.mark.parametrize("limit_per_s", [10.0, 11.0, 137.0, 999.0, 12_345.0, 3.3, 0.4])
def test_a_sharp_limit_is_found_to_2_5_percent(limit_per_s: float) -> None:
    search = RateSearch(start_per_s=10, repeats=3)
    tried = run(search, below(limit_per_s))
    outcome = search.get_outcome()
    assert outcome.max_rate_per_s is not None
    assert limit_per_s / 1.025 <= outcome.max_rate_per_s <= limit_per_s
    assert outcome.reason is None
    low, high = outcome.bracket
    assert low == outcome.max_rate_per_s
    assert high is not None
    assert low <= limit_per_s < high
    holds = [probe.repeat for probe, _ in tried if probe.rate_per_s == outcome.max_rate_per_s and probe.kind == "step"]
    assert holds == [1, 2, 3]
    assert outcome.probe_count == len(tried) <= 25


def test_the_rate_is_doubled_and_then_the_middle_of_what_is_thought_is_tried() -> None:
    search = RateSearch(start_per_s=10, repeats=3)
    rates = [probe.rate_per_s for probe, _ in run(search, below(45))]
    assert rates[:4] == [10, 20, 40, 80]
    assert rates[4] == pytest.approx(math.sqrt(40 * 80), rel=0.01)


def test_a_start_that_fails_is_halved() -> None:
    search = RateSearch(start_per_s=10, repeats=3)
    assert [probe.rate_per_s for probe, _ in run(search, below(3))][:3] == [10, 5, 2.5]


def test_a_target_that_carries_nothing_ends_the_search() -> None:
    search = RateSearch(start_per_s=64, repeats=3)
    tried = run(search, below(0))
    assert [probe.rate_per_s for probe, _ in tried] == [64, 32, 16, 8, 4, 2, 1]
    outcome = search.get_outcome()
    assert outcome.max_rate_per_s is None
    assert outcome.reason == "even the lowest tested rate of 1 req/s failed"
    assert outcome.bracket == (None, 1)


def test_a_target_without_limit_is_held_at_the_end_of_the_budget() -> None:
    search = RateSearch(start_per_s=1, repeats=3, max_probes=10)
    tried = run(search, below(math.inf))
    assert search.get_outcome().max_rate_per_s == 2.0**6
    assert search.get_outcome().bracket == (2.0**6, None)
    assert len(tried) == 10


def test_a_search_that_is_reported_how_little_is_left_holds_what_it_is_sure_of() -> None:
    search = RateSearch(start_per_s=10, repeats=3)
    tried: list[Probe] = []
    while (probe := search.next_probe()) is not None:
        if len(tried) == 4:
            assert probe.kind == "probe"
            search.limit_probes(20)
            assert (search.remaining_probes, search.is_shortened) == (20, True)
            search.limit_probes(3)
            assert search.remaining_probes == 3
            probe = search.next_probe()
            assert probe is not None
            assert (probe.kind, probe.repeat) == ("step", 1)
        tried.append(probe)
        search.record_result(probe, probe.rate_per_s < 60)
    assert [probe.kind for probe in tried[4:]] == ["step"] * 3
    assert 40 <= (search.get_outcome().max_rate_per_s or 0) < 60


def test_a_search_that_was_left_says_so() -> None:
    search = RateSearch(start_per_s=10, repeats=3)
    assert search.get_outcome().reason == "the search was stopped early"
    probe = search.next_probe()
    assert probe is not None
    search.record_result(probe, True)
    assert search.get_outcome().max_rate_per_s is None
    assert search.get_outcome().bracket == (10, None)


def test_a_hold_that_fails_fails_its_rate() -> None:
    """Everything below 90/s holds but the second hold of the first rate that is held."""
    search = RateSearch(start_per_s=100, repeats=2)
    first: list[float] = []

    def holds(rate_per_s: float) -> bool:
        probe = search.next_probe()
        assert probe is not None
        if probe.kind == "step" and probe.repeat == 2 and not first:
            first.append(rate_per_s)
            return False
        return rate_per_s < 90

    tried = run(search, holds)
    assert [held for probe, held in tried if probe.kind == "step" and probe.rate_per_s == first[0]] == [True, False]
    found = search.get_outcome().max_rate_per_s
    assert found is not None
    assert 85 < found < 90
    assert found != first[0]


def test_a_single_failure_is_tried_again_before_it_is_believed() -> None:
    """A stall fails 40/s once, far below the limit of 800/s."""
    search = RateSearch(start_per_s=10, repeats=3)
    stalls = iter([40.0])

    def holds(rate_per_s: float) -> bool:
        return not (rate_per_s == 40 and next(stalls, None) is not None) and rate_per_s <= 800

    rates = [probe.rate_per_s for probe, _ in run(search, holds)]
    found = search.get_outcome().max_rate_per_s
    assert rates.count(40) == 2
    assert found is not None
    assert 760 <= found <= 800


def test_a_rate_that_held_far_below_the_limit_is_followed_by_a_higher_one() -> None:
    """The first two probes near the limit of 100/s fail by chance."""
    search = RateSearch(start_per_s=64, repeats=3)
    unlucky = iter([False, False])

    def holds(rate_per_s: float) -> bool:
        return rate_per_s <= 100 and (rate_per_s < 85 or next(unlucky, True))

    tried = run(search, holds)
    held = {probe.rate_per_s for probe, has_held in tried if probe.kind == "step" and probe.repeat == 3 and has_held}
    found = search.get_outcome().max_rate_per_s
    assert len(held) > 1
    assert found == max(held)
    assert found > 90


def beyond(search: RateSearch, ceiling_per_s: float, limit_per_s: float = math.inf) -> list[Probe]:
    """Runs the search with a generator that can send so much, on an endpoint that carries so much."""
    tried = []
    while (probe := search.next_probe()) is not None:
        tried.append(probe)
        if probe.rate_per_s > ceiling_per_s:
            search.record_unsendable_rate(probe)
        else:
            search.record_result(probe, probe.rate_per_s <= limit_per_s)
    return tried


@pytest.mark.parametrize("ceiling_per_s", [12.0, 100.0, 777.0])
def test_what_the_generator_cannot_send_bounds_the_search_and_is_no_failure(ceiling_per_s: float) -> None:
    search = RateSearch(start_per_s=10, repeats=3)
    tried = beyond(search, ceiling_per_s)
    outcome = search.get_outcome()
    assert len(tried) == outcome.probe_count <= 25
    assert outcome.max_rate_per_s is not None
    assert ceiling_per_s / 1.06 <= outcome.max_rate_per_s <= ceiling_per_s
    assert outcome.is_generator_limited
    assert outcome.unsendable_per_s is not None
    assert outcome.bracket[1] is None
    assert not [probe for probe in tried if probe.kind == "step" and probe.rate_per_s > ceiling_per_s]


def test_an_endpoint_that_fails_below_what_the_generator_cannot_send_is_the_limit() -> None:
    search = RateSearch(start_per_s=10, repeats=3)
    beyond(search, ceiling_per_s=100, limit_per_s=95)
    outcome = search.get_outcome()
    assert outcome.max_rate_per_s is not None
    assert 95 / 1.05 <= outcome.max_rate_per_s <= 95
    assert not outcome.is_generator_limited


def test_a_generator_that_can_send_nothing_ends_the_search_with_that_reason() -> None:
    search = RateSearch(start_per_s=64, repeats=3)
    tried = beyond(search, ceiling_per_s=0)
    assert [probe.rate_per_s for probe in tried] == [64, 32, 16, 8, 4, 2, 1]
    outcome = search.get_outcome()
    assert (outcome.max_rate_per_s, outcome.is_generator_limited) == (None, True)
    assert outcome.reason == "the load generator could not send even 1 req/s"


def test_a_hold_beyond_the_generator_is_followed_by_one_below_it() -> None:
    """The ceiling sinks from 100 to 80/s when holds begin."""
    search = RateSearch(start_per_s=10, repeats=3)
    while (probe := search.next_probe()) is not None:
        ceiling_per_s = 80 if probe.kind == "step" else 100
        if probe.rate_per_s > ceiling_per_s:
            search.record_unsendable_rate(probe)
        else:
            search.record_result(probe, True)
    outcome = search.get_outcome()
    assert outcome.max_rate_per_s is not None
    assert 70 < outcome.max_rate_per_s <= 80


@pytest.mark.parametrize("seed", first_in_unit_tier(range(200), 50))
def test_no_rate_is_reported_that_failed_a_hold_or_held_too_seldom(seed: int) -> None:
    """Targets that answer by a coin whose odds fall with the rate, from sharp to hardly at all."""
    rng = np.random.default_rng(seed)
    knee, steepness = 10 ** rng.uniform(-1, 5), 10 ** rng.uniform(-0.5, 2)
    repeats = int(rng.integers(1, 5))
    search = RateSearch(start_per_s=10 ** rng.uniform(0, 3), repeats=repeats)
    tried = run(search, lambda rate: bool(rng.random() < 1 / (1 + (rate / knee) ** steepness)))
    outcome = search.get_outcome()
    assert len(tried) == outcome.probe_count <= 25
    if outcome.max_rate_per_s is None:
        assert outcome.reason
        return
    at_the_answer = [(probe.kind, held) for probe, held in tried if probe.rate_per_s == outcome.max_rate_per_s]
    assert all(held for _, held in at_the_answer)
    assert at_the_answer.count(("step", True)) == repeats
    assert outcome.bracket[1] is None or outcome.bracket[1] > outcome.max_rate_per_s


@pytest.mark.parametrize("passes_at_the_end", [True, False])
def test_a_search_returns_to_its_first_rate_at_the_end_and_keeps_its_outcome(passes_at_the_end: bool) -> None:
    search, rates = RateSearch(10.0, repeats=2), []
    outcome = search.get_outcome()
    while (probe := search.next_probe()) is not None:
        is_return = search.get_outcome().max_rate_per_s is not None and probe.rate_per_s == 10.0
        outcome = search.get_outcome() if is_return else outcome
        rates.append(probe.rate_per_s)
        search.record_result(probe, probe.rate_per_s <= 87.0 and (passes_at_the_end or not is_return))
    assert (rates[0], rates[-1], rates.count(10.0)) == (10.0, 10.0, 2)
    assert search.get_outcome() == msgspec.structs.replace(outcome, probe_count=outcome.probe_count + 1)


def test_a_search_without_a_probe_left_does_not_return() -> None:
    search, count = RateSearch(10.0, repeats=2, max_probes=4), 0
    while (probe := search.next_probe()) is not None:
        search.record_result(probe, True)
        count += 1
    assert search.get_outcome().max_rate_per_s is not None
    assert count == 4
