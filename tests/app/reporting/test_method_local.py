from __future__ import annotations

from app.reporting.method import describe_local_run, describe_method, read_spec
from tests.fakes.language_model_runs import language_model_run
from tests.fakes.local_runs import SPEC, local_run, run_of_failed_variants, run_of_one_variant
from tests.fakes.results import full_run


def test_local_method_describes_scenarios_accuracy_and_cold_starts() -> None:
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


def test_local_method_omits_steps_that_were_not_run() -> None:
    method = "\n".join(describe_local_run(run_of_one_variant().result, {}))
    assert method.startswith("The variant ran in a separate process")
    for part in ("server", "Outputs", "Accuracy", "cold start", "Each scenario ran"):
        assert part not in method


def test_local_method_without_calls_is_empty() -> None:
    assert describe_local_run(run_of_failed_variants().result, {}) == ()
    assert describe_local_run(full_run().result, {}) == ()


def test_local_method_of_a_language_model_describes_its_tests() -> None:
    run = language_model_run()
    method = "\n".join(describe_method(run.result, read_spec(SPEC), run.telemetry))
    for part in (
        "2 variants ran one after another",
        "54 repetitions of the tests pp512, tg16, pp512+tg16, tg16 @ d1024 were timed",
        "Decode throughput is the number of tokens after that",
        "Each test was preceded by warm-up repetitions",
        "Each test ran for at least 1s",
        "computed from the times of all steps",
    ):
        assert part in method
    for part in ("scenario", "calls", "MLPerf"):
        assert part not in method
