from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace

from app.analysis.arrival_checks import arrival_checks
from app.records.result import Check, Window
from loadgen.arrivals import offsets_ns
from loadgen.records import OpenArrivals
from tests.fakes.queues import START_NS, constant_s, poisson_s, stage_facts


def checks(sent_s: npt.NDArray[np.float64], rate: float, seconds: float, arrivals: str = "poisson") -> dict[str, Check]:
    sent_ns = START_NS + (sent_s * 1e9).astype(np.int64)
    facts = stage_facts(rate, seconds, arrivals=arrivals)  # type: ignore[arg-type]
    found = arrival_checks(sent_ns, facts, Window(START_NS, START_NS + round(seconds * 1e9)))
    return {check.id: check for check in found}


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
    low, high = str(found["arrival_dispersion"].limit).split(" to ")
    assert float(low) == pytest.approx(0.9, abs=0.05)
    assert float(high) == pytest.approx(1.1, abs=0.06)


def test_bunched_sends_are_seen() -> None:
    """Sent in bunches of 25 ms, as by a pacer that oversleeps."""
    bunched = np.ceil(poisson_s(1_000, 10, np.random.default_rng(0)) / 0.025) * 0.025
    found = checks(bunched, 1_000, 10)
    assert found["arrival_dispersion"].verdict == "WARN"
    assert found["arrival_spacing"].verdict == "WARN"


def test_even_sends_are_not_poisson() -> None:
    found = checks(constant_s(200, 10), 200, 10)
    assert found["arrival_dispersion"].verdict == "WARN"
    assert found["arrival_spacing"].value == pytest.approx(1 - np.exp(-1), abs=0.01)


def test_another_rate_than_stated_is_seen() -> None:
    assert checks(poisson_s(120, 30, np.random.default_rng(0)), 100, 30)["arrival_spacing"].verdict == "WARN"


def test_a_constant_load_is_even_and_a_poisson_one_is_not() -> None:
    jittered = constant_s(200, 10) + np.random.default_rng(0).exponential(0.0005, 2_000)
    even = checks(jittered, 200, 10, "constant")
    assert list(even) == ["arrival_dispersion"]
    assert even["arrival_dispersion"].verdict == "VALID"
    uneven = checks(poisson_s(200, 10, np.random.default_rng(0)), 200, 10, "constant")
    assert uneven["arrival_dispersion"].verdict == "WARN"


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_too_few_sends_tell_nothing(arrivals: str) -> None:
    for n in (0, 1, 99):
        found = checks(np.linspace(0, 2, n), 50, 2, arrivals)
        assert {(check.value, check.verdict) for check in found.values()} == {(None, "WARN")}


RAMP = ((0.0, 10.0), (30.0, 200.0))
SPIKE = ((0.0, 50.0), (10.0, 50.0), (10.0, 500.0), (15.0, 500.0), (15.0, 50.0), (30.0, 50.0))


def of_a_curve(
    arrivals: OpenArrivals, seed: int, stated: tuple[tuple[float, float], ...] | None = None, **changes: object
) -> dict[str, Check]:
    """30 s of what the worker would send, told to be of the rates `stated`."""
    sent_ns = START_NS + offsets_ns(arrivals, 30.0, 0.0, seed)
    facts = stage_facts(1.0, 30, arrivals=arrivals.process)
    facts = replace(facts, rate_per_s=None, rates=stated or arrivals.rates, **{"cv": arrivals.cv, **changes})
    found = arrival_checks(sent_ns, facts, Window(START_NS, START_NS + 30 * 10**9))
    return {check.id: check for check in found}


@pytest.mark.parametrize("rates", [RAMP, SPIKE])
@pytest.mark.parametrize(("process", "cv"), [("poisson", 1.0), ("gamma", 0.5), ("gamma", 3.0), ("constant", 1.0)])
def test_arrivals_along_any_curve_pass(rates: tuple[tuple[float, float], ...], process: str, cv: float) -> None:
    """The time-rescaling theorem: along the area under its rate curve a process is one of rate 1."""
    arrivals = OpenArrivals(process, rates, cv)  # type: ignore[arg-type]
    verdicts = [check.verdict for seed in range(20) for check in of_a_curve(arrivals, seed).values()]
    assert verdicts.count("VALID") >= len(verdicts) - 1


def test_another_curve_than_stated_is_seen() -> None:
    level = ((0.0, 105.0),)
    assert of_a_curve(OpenArrivals("poisson", RAMP), 0, stated=level)["arrival_dispersion"].verdict == "WARN"
    double = ((0.0, 20.0), (30.0, 400.0))
    assert of_a_curve(OpenArrivals("poisson", RAMP), 0, stated=double)["arrival_spacing"].verdict == "WARN"


def test_another_burstiness_than_stated_is_seen() -> None:
    """Counts of a renewal process vary by cv² times their mean (Cox, Renewal Theory, 1962)."""
    sent = OpenArrivals("gamma", ((0.0, 1_000.0),), 3.0)
    index = of_a_curve(sent, 1)["arrival_dispersion"].value
    assert index == pytest.approx(9.0, rel=0.2)
    poisson = replace(sent, cv=1.0)  # gamma gaps of cv 1 are exponential
    assert {check.verdict for check in of_a_curve(poisson, 1, cv=3.0).values()} == {"WARN"}


def test_a_lead_in_is_in_no_check() -> None:
    sent_s = np.concatenate([np.linspace(-5, -0.001, 4_000), poisson_s(200, 30, np.random.default_rng(3))])
    assert {check.verdict for check in checks(sent_s, 200, 30).values()} == {"VALID"}


@pytest.mark.parametrize("arrivals", ["trace", "closed", "locust"])
def test_what_no_curve_made_is_held_against_none(arrivals: str) -> None:
    assert checks(constant_s(200, 10), 200, 10, arrivals) == {}


def test_later_turns_of_sessions_follow_answers_and_no_curve() -> None:
    assert of_a_curve(OpenArrivals("poisson", ((0.0, 50.0),)), 0, sessions=True) == {}
