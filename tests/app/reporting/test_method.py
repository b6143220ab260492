from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from app.records.selftest import SelfTestSummary
from app.reporting.method import describe_method, read_spec
from tests.fakes.results import SPEC, Run, full_run, interrupted_run, run_without_load
from tests.fakes.traffic import clients_run, locust_run, spike_run, streaming_run


def describe_run(run_name: str) -> str:
    run = {"full": full_run, "interrupted": interrupted_run, "nothing": run_without_load}[run_name]()
    return "\n".join(describe_method(run.result, read_spec(SPEC), run.telemetry))


def test_method_describes_batches_load_search_and_telemetry() -> None:
    method = describe_run("full")
    for part in (
        "was measured with 6 batch sizes and 3,600 calls",
        "open loop (Poisson arrivals, seed 7)",
        "1 warm-up stage (3.00\u202fs in total) ran first",
        "8 probes (3 missed the SLO and are part of the curve), first doubling the rate, then bisecting. The result is "
        "based on 3 steady-state steps of 3.00\u202fs at 1 rate.",
        "sampled 580 times, every 100\u202fms (endpoint, engine, generator, host)",
        "2.10 ppm",
        "as of 2026-08-01",
    ):
        assert part in method


def test_method_without_steps_does_not_mention_steady_state() -> None:
    assert "steady-state" not in describe_run("interrupted")
    assert "4 probes" in describe_run("interrupted")


def test_method_without_load_has_only_clock_and_selftest() -> None:
    assert describe_run("nothing").splitlines() == [
        "All times use one monotonic clock; the wall clock drifted by 2.10 ppm relative to it.",
        "No self-test was run on this machine. Run `sizewise selftest` (1 min) to verify the load generator.",
    ]


@pytest.mark.parametrize(
    ("selftest", "outcome"),
    [
        (SelfTestSummary("0123456789ab", "2026-08-01T09:00:00+00:00", True), "passed on 2026-08-01"),
        (
            SelfTestSummary("0123456789ab", "2026-08-01T09:00:00+00:00", False, ("stall", "clock")),
            "FAILED on 2026-08-01: stall and clock",
        ),
    ],
)
def test_method_has_the_outcome_of_the_last_selftest(selftest: SelfTestSummary, outcome: str) -> None:
    result = replace(full_run().result, selftest=selftest)
    (sentence,) = [
        sentence
        for sentence in describe_method(result, read_spec(SPEC), full_run().telemetry)
        if selftest.id in sentence
    ]
    assert sentence.endswith(f"self-test 0123456789ab {outcome}.")


def test_spec_has_seed_and_arrivals_of_its_stages() -> None:
    spec = read_spec("load: {seed: 3, stages: [{arrivals: constant}, {arrivals: poisson}]}")
    assert (spec.seed, spec.arrivals) == (3, ("constant", "poisson"))


@pytest.mark.parametrize("text", ["[" * 5_000, "load: &a {seed: 3}\nmore: *a\n", "load: [", "a\x00b", "load: 7", ""])
def test_invalid_spec_text_has_no_seed_and_arrivals(text: str) -> None:
    spec = read_spec(text)
    assert (spec.seed, spec.arrivals) == (None, ())


@pytest.mark.parametrize(
    ("make_run", "included", "excluded"),
    [
        (streaming_run, "TTFT runs from the scheduled start", "closed loop"),
        (spike_run, "Stage burst had these arrivals: Poisson, spike 40→200→40 req/s.", "closed loop"),
        (clients_run, "In 6 stages, load was closed loop", "open loop"),
        (locust_run, "Locust does not report the scheduled start of a request", "open loop"),
    ],
)
def test_method_describes_each_kind_of_traffic(make_run: Callable[[], Run], included: str, excluded: str) -> None:
    run = make_run()
    method = "\n".join(describe_method(run.result, read_spec(SPEC), run.telemetry))
    assert included in method
    assert excluded not in method


def test_method_has_the_send_lag_if_scheduled_starts_are_known() -> None:
    streaming_method = "\n".join(describe_method(streaming_run().result, read_spec(SPEC), streaming_run().telemetry))
    lag = "0.0300\u202fms"
    assert f"Send lag after the scheduled start was {lag} (p50), {lag} (p99), {lag} (max)." in streaming_method
    locust_method = "\n".join(describe_method(locust_run().result, read_spec(SPEC), locust_run().telemetry))
    assert "Send lag" not in locust_method
