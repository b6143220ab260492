from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from app.analysis.arrival_checks import arrival_checks
from app.records.result import Check, Window
from tests.fakes.queues import START_NS, constant_s, poisson_s, stage_facts


def checks(sent_s: npt.NDArray[np.float64], rate: float, seconds: float, arrivals: str = "poisson") -> dict[str, Check]:
    sent_ns = START_NS + (sent_s * 1e9).astype(np.int64)
    facts = stage_facts(rate, seconds, arrivals=arrivals)  # type: ignore[arg-type]
    found = arrival_checks(sent_ns, facts, Window(START_NS, START_NS + round(seconds * 1e9)))
    return {check.check: check for check in found}


@pytest.mark.parametrize(("rate", "seconds"), [(100, 3), (200, 30), (2_000, 10)])
def test_a_poisson_load_passes_at_any_length(rate: float, seconds: float) -> None:
    """At 99.9 % a check, 40 checks of 20 seeds may fail once at most."""
    verdicts = [
        check.verdict
        for seed in range(20)
        for check in checks(poisson_s(rate, seconds, np.random.default_rng(seed)), rate, seconds).values()
    ]
    assert verdicts.count("VALID") >= 39


def test_long_stages_are_held_to_the_plain_limits() -> None:
    found = checks(poisson_s(2_000, 60, np.random.default_rng(0)), 2_000, 60)
    low, high = str(found["arrival dispersion"].limit).split(" to ")
    assert float(low) == pytest.approx(0.9, abs=0.05)
    assert float(high) == pytest.approx(1.1, abs=0.06)


def test_bunched_sends_are_seen() -> None:
    """Sent in bunches of 25 ms, as by a pacer that oversleeps."""
    bunched = np.ceil(poisson_s(1_000, 10, np.random.default_rng(0)) / 0.025) * 0.025
    found = checks(bunched, 1_000, 10)
    assert found["arrival dispersion"].verdict == "WARN"
    assert found["arrival spacing"].verdict == "WARN"


def test_even_sends_are_not_poisson() -> None:
    found = checks(constant_s(200, 10), 200, 10)
    assert found["arrival dispersion"].verdict == "WARN"
    assert found["arrival spacing"].value == pytest.approx(1 - np.exp(-1), abs=0.01)


def test_another_rate_than_stated_is_seen() -> None:
    assert checks(poisson_s(120, 30, np.random.default_rng(0)), 100, 30)["arrival spacing"].verdict == "WARN"


def test_a_constant_load_is_even_and_a_poisson_one_is_not() -> None:
    jittered = constant_s(200, 10) + np.random.default_rng(0).exponential(0.0005, 2_000)
    even = checks(jittered, 200, 10, "constant")
    assert list(even) == ["arrival dispersion"]
    assert even["arrival dispersion"].verdict == "VALID"
    uneven = checks(poisson_s(200, 10, np.random.default_rng(0)), 200, 10, "constant")
    assert uneven["arrival dispersion"].verdict == "WARN"


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_too_few_sends_tell_nothing(arrivals: str) -> None:
    for n in (0, 1, 99):
        found = checks(np.linspace(0, 2, n), 50, 2, arrivals)
        assert {(check.value, check.verdict) for check in found.values()} == {(None, "WARN")}
