from __future__ import annotations

import pytest

from app.analysis.limit_belief import LimitBelief

BRACKET = [(40.0, True), (80.0, False)]


def test_between_a_rate_that_held_and_one_that_failed_all_limits_are_alike_likely() -> None:
    """On a log scale: the middle is √(40 × 80)."""
    belief = LimitBelief(BRACKET)
    assert belief.quantile(0.5) == pytest.approx(3200**0.5, rel=0.01)
    assert belief.quantile(0.25) == pytest.approx(40 * 2**0.25, rel=0.02)


def test_evidence_narrows_it_and_one_chance_failure_does_not_rule() -> None:
    tried = [*BRACKET, (50.0, True), (52.0, True), (60.0, False), (56.0, False)]
    assert 52 < LimitBelief(tried).quantile(0.5) < 56
    unlucky = LimitBelief([*tried, (45.0, False)])
    assert 45 < unlucky.quantile(0.5) < 54


def test_more_repeats_are_less_likely_and_a_lower_rate_is_likelier() -> None:
    belief = LimitBelief([*BRACKET, (55.0, True), (58.0, False)])
    assert belief.chance(54, 1) > belief.chance(54, 3) > belief.chance(56, 3)
    rate = belief.highest_likely(3, 0.5)
    assert belief.chance(rate, 3) == pytest.approx(0.5, abs=0.02)
    assert belief.highest_likely(3, 0.8) < rate < belief.highest_likely(1, 0.5)


def test_a_limit_above_all_that_was_tried_is_thought_of_where_a_rate_failed_and_held() -> None:
    belief = LimitBelief([(40.0, True), (40.0, False), (40.0, True)])
    assert belief.quantile(0.9) > 42
