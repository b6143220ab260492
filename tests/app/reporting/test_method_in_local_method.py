from __future__ import annotations

from app.reporting.method import describe_local_run, describe_method, read_spec
from tests.fakes.local_runs import SPEC, local_run, one_variant, only_failed
from tests.fakes.results import full_run


def test_sentences_are_made_from_the_run_and_its_profile() -> None:
    run = local_run()
    method = "\n".join(describe_method(run.result, read_spec(SPEC), run.telemetry))
    for part in (
        "5 variants ran one after another, each in a separate process",
        "4,200 calls were timed in MLPerf scenarios (single-stream: one call at a time",
        "server: open-loop Poisson arrivals",
        "latency starts at the scheduled arrival",
        "medians of three consecutive windows agreed within 10\u202f%, or for at most 10s",
        "Each scenario ran for at least 1s, until the half-width of the 95\u202f% CI of the mean time was at most 2% "
        "of the mean",
        "64 rows per variant) were compared with those of the fp32 model",
        "Accuracy was evaluated on 450 labeled rows",
        "4 cold starts were measured",
        "computed from the times of all calls",
    ):
        assert part in method
    assert "open loop" not in method
    assert "multi-stream" not in method


def test_what_was_not_done_is_not_reported() -> None:
    method = "\n".join(describe_local_run(one_variant().result, {}))
    assert method.startswith("The variant ran in a separate process")
    for part in ("server", "Outputs", "Accuracy", "cold start", "Each scenario ran"):
        assert part not in method


def test_without_a_call_there_is_nothing_to_report() -> None:
    assert describe_local_run(only_failed().result, {}) == ()
    assert describe_local_run(full_run().result, {}) == ()
