from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from scipy import stats

from app.errors import ExitCode, MeasurementError, UnavailableError, UsageError
from app.inference.job import VariantJob
from app.records.events import PhaseChanged, Snapshot, StageFinished
from app.records.result import Check
from app.records.selftest import build_finding, build_selftest
from app.reporting.verdict import build_verdict
from app.serving.settings import EndpointReady
from app.session.rate_search import compute_step_duration_s
from app.session.spec import LimitSpec, RunSpec, StageSpec, StandaloneModelSpec
from app.storage.run_directory import StoredRun
from loadgen.process import LoadError
from loadgen.records import ClosedArrivals, OpenArrivals, PreflightDone, StageEnded, StageLoad, StagePlan
from tests.fakes.bench import SEARCH, SERVICE_S, SPEC, Bench, poisson
from tests.fakes.load import OK, ScriptedLoad
from tests.fakes.session_dependencies import SteadyTelemetry


def test_stage_is_measured_stored_and_evaluated(bench: Bench) -> None:
    outcome = bench.run(SPEC)
    assert outcome.result.verdict.status == "VALID", outcome.result.verdict
    assert outcome.result.exit.code == 0
    (stage,) = outcome.result.stages
    assert stage.completed == len(bench.rows())
    assert StoredRun(bench.directory).result == outcome.result
    assert outcome.result.slo[0].outcome == "PASS"
    assert outcome.result.slo[1].outcome == "INCONCLUSIVE", "1,000 responses cannot show an error rate below 0.1 %"


def test_events_report_the_phases_snapshots_and_stages_of_a_run(bench: Bench) -> None:
    bench.run(SPEC)
    phases = {event.phase: event for event in bench.events if isinstance(event, PhaseChanged)}
    assert list(phases) == ["doctor", "preflight", "stages", "report"]
    assert (phases["stages"].stages, phases["stages"].stages_s) == (1, 10.0)
    assert sum(isinstance(event, Snapshot) for event in bench.events) == 40
    assert sum(isinstance(event, StageFinished) for event in bench.events) == 1


def test_latest_self_test_of_this_machine_is_in_the_result(bench: Bench, tmp_path: Path) -> None:
    findings = (build_finding("clock", "backward steps", 1.0, high=0.0, unit=None),)
    selftest = build_selftest(findings, at="2026-01-01T00:00:00+00:00", tool="1", fingerprint="f", duration_s=1.0)
    outcome = bench.run(SPEC, load_selftest={"f": selftest}.get)
    assert outcome.result.selftest == selftest.summarize()
    assert StoredRun(bench.directory).result == outcome.result
    assert Bench(tmp_path / "other").run(SPEC, load_selftest={"g": selftest}.get).result.selftest is None


def test_telemetry_starts_before_the_machine_is_inspected(bench: Bench) -> None:
    event_counts: list[int] = []

    class Noting(SteadyTelemetry):
        def start(self, sink: Callable[[pa.RecordBatch], None]) -> None:
            event_counts.append(len(bench.events))
            super().start(sink)

    bench.telemetry = Noting(bench.clock)
    bench.run(SPEC)
    assert event_counts == [0], "telemetry is available from the first event on"


def test_load_generator_and_telemetry_are_closed_after_the_run(bench: Bench) -> None:
    bench.run(SPEC)
    assert bench.load.is_closed
    assert bench.telemetry.is_closed
    assert bench.telemetry.watched == {"engine": os.getpid(), "generator": bench.load.pid}


def test_max_rate_of_a_simulated_md1_server_matches_queueing_theory(bench: Bench) -> None:
    result = bench.run(SEARCH).result
    assert result.max_rate is not None
    max_rate = result.max_rate.per_s.value
    assert max_rate is not None
    # M/D/1, P(W > t) ~ rho exp(-2 (mu - lambda) t): the p95 latency exceeds 50 ms above 218.6 req/s
    assert max_rate == pytest.approx(218.6, rel=0.05)
    steps = [stage for stage in result.stages if stage.kind == "step" and stage.offered_per_s.value]
    assert len([stage for stage in steps if stage.meets_slo]) >= 3
    assert any(stage.meets_slo is False for stage in result.stages), "failed probes remain on the curve"
    assert "p95 latency" in result.max_rate.limited_by


def test_search_with_too_little_time_for_a_stage_exits_with_10(bench: Bench) -> None:
    assert SEARCH.search is not None
    search = msgspec.structs.replace(SEARCH.search, start_per_s=0.1, max_duration_s=30.0)
    result = bench.run(msgspec.structs.replace(SEARCH, search=search)).result
    assert [stage for stage in result.stages if stage.kind != "warmup"] == []
    assert result.exit.code == ExitCode.GATE_FAILED
    assert result.exit.texts == ("the run ended before its first stage",)
    assert build_verdict(result).headline.startswith("No rate was decided within SLO")


def test_idle_latency_above_the_slo_ends_the_search_within_seconds(bench: Bench) -> None:
    start_ns = bench.clock.now_ns
    result = bench.run(msgspec.structs.replace(SEARCH, warmup_s=3.0), ScriptedLoad(bench.clock, service_s=0.2)).result
    assert [(plan.load.arrivals, plan.load.max_requests) for plan in bench.load.plans] == [(ClosedArrivals(1), 11)] * 2
    assert (bench.clock.now_ns - start_ns) / 1e9 < 6
    assert result.max_rate is None
    assert [cause.id for cause in result.exit.causes] == ["slo_below_idle_latency"]
    assert result.exit.code == ExitCode.GATE_FAILED
    assert [(objective.outcome, objective.observed.n) for objective in result.slo] == [
        ("FAIL", 10),
        ("INCONCLUSIVE", None),
    ]
    verdict = build_verdict(result)
    assert (verdict.outcome, verdict.reasons) == ("FAIL", ())
    assert "200 ms" in verdict.headline


def test_target_with_many_errors_without_load_is_not_searched(bench: Bench) -> None:
    load = ScriptedLoad(bench.clock, error="http-4xx", error_share=0.4)
    result = bench.run(SEARCH, load).result
    pace = OpenArrivals("constant", ((0.0, 1.0), (10.0, 1.0)))
    assert [plan.load.arrivals for plan in load.plans] == [ClosedArrivals(1), pace]
    assert [cause.id for cause in result.exit.causes] == ["errors_without_load"]
    assert result.exit.code == ExitCode.GATE_FAILED
    assert "FAIL" in [objective.outcome for objective in result.slo if objective.objective.metric == "error_rate"]
    assert build_verdict(result).outcome == "FAIL"


def test_target_with_slow_first_requests_is_searched(bench: Bench) -> None:
    load = ScriptedLoad(bench.clock, service_s=0.2)

    def speed_up(plan: StagePlan) -> None:
        load.service_s = 0.2 if plan.index == 0 else SERVICE_S

    load.on_plan = speed_up
    result = bench.run(SEARCH, load).result
    assert [plan.name for plan in load.plans[:3]] == ["idle latency", "idle latency", "probe 20 req/s"]
    assert result.max_rate is not None
    assert result.max_rate.per_s.value == pytest.approx(218.6, rel=0.05)


def test_target_that_fails_every_idle_request_is_not_searched(bench: Bench) -> None:
    result = bench.run(SEARCH, ScriptedLoad(bench.clock, error="http-4xx")).result
    assert [plan.name for plan in bench.load.plans] == ["idle latency"]
    assert [cause.id for cause in result.exit.causes] == ["target_failed"]
    assert result.exit.code == ExitCode.GATE_FAILED


def test_stages_before_a_search_run_even_if_the_idle_latency_exceeds_the_slo(bench: Bench) -> None:
    spec = msgspec.structs.replace(SEARCH, stages=(StageSpec("steady", "steady", StageLoad(poisson(2.0), 10.0)),))
    result = bench.run(spec, ScriptedLoad(bench.clock, service_s=0.2)).result
    assert [plan.name for plan in bench.load.plans] == ["idle latency", "idle latency", "steady"]
    assert "slo_below_idle_latency" in [cause.id for cause in result.exit.causes]


def test_steps_are_long_enough_for_the_percentiles_of_the_slo() -> None:
    assert compute_step_duration_s(3.0, 1000.0, SPEC.slo) == 3.0
    expected_responses = compute_step_duration_s(3.0, 10.0, SPEC.slo) * 10.0
    assert stats.poisson.cdf(71, expected_responses) < 0.001, "p95 needs 72 responses"


def test_run_in_which_every_request_fails_exits_with_10(bench: Bench) -> None:
    result = bench.run(SPEC, ScriptedLoad(bench.clock, error="http-5xx")).result
    assert result.exit.code == ExitCode.GATE_FAILED
    assert "target_failed" in [cause.id for cause in result.exit.causes]


@pytest.mark.parametrize(
    "report",
    [
        PreflightDone("connect", None, "connection refused", None),
        PreflightDone("tls", None, "self-signed certificate", None),
        PreflightDone("http-4xx", 404, "answered 404", 1.0),
        PreflightDone("bad-payload", 200, "another protocol", 1.0),
        PreflightDone("http-5xx", 500, "no metadata", None, can_send=False),
    ],
)
def test_unreachable_target_raises_unavailable_error(bench: Bench, report: PreflightDone) -> None:
    with pytest.raises(UnavailableError, match=report.detail):
        bench.run(SPEC, ScriptedLoad(bench.clock, preflights=(report,)))
    assert bench.load.plans == []
    assert bench.load.is_closed


def test_target_with_http_500_preflight_response_is_measured(bench: Bench) -> None:
    failed = PreflightDone("http-5xx", 500, "answered 500", 1.0)
    result = bench.run(SPEC, ScriptedLoad(bench.clock, preflights=(failed,))).result
    assert len(bench.load.plans) == 1
    assert "the preflight request failed: answered 500" in [phase.message for phase in bench.reported(PhaseChanged)]
    assert result.notes == ("The preflight request failed: answered 500.",)


def test_interrupted_run_retains_its_measured_stages(bench: Bench) -> None:
    def interrupt(plan: StagePlan) -> None:
        if plan.index == 1:
            bench.interruption.request_stop(ExitCode.INTERRUPTED)

    stages = tuple(msgspec.structs.replace(SPEC.stages[0], name=f"s{i}") for i in range(3))
    load = ScriptedLoad(bench.clock, on_stage=interrupt)
    result = bench.run(msgspec.structs.replace(SPEC, stages=stages), load).result
    assert load.stops == [True]
    assert [stage.name for stage in result.stages] == ["s0", "s1"]
    assert result.exit.code == ExitCode.INTERRUPTED


def test_duration_limit_ends_the_run(bench: Bench) -> None:
    result = bench.run(msgspec.structs.replace(SPEC, limits=LimitSpec(duration_s=4.0))).result
    assert result.exit.code == ExitCode.LIMIT
    assert 300 <= result.stages[0].completed <= 500


def test_requests_in_flight_at_a_limit_are_drained(bench: Bench) -> None:
    load = ScriptedLoad(bench.clock, service_s=0.009)
    result = bench.run(msgspec.structs.replace(SPEC, limits=LimitSpec(duration_s=4.0)), load).result
    assert load.stops == [True]
    assert result.stages[0].errors == {}


def test_slo_without_an_error_rate_has_a_default_limit_of_one_percent(bench: Bench) -> None:
    spec = msgspec.structs.replace(SPEC, slo=SPEC.slo[:1])
    result = bench.run(spec, ScriptedLoad(bench.clock, error="http-5xx", error_share=0.5)).result
    assert [evaluated.outcome for evaluated in result.slo] == ["PASS", "FAIL"]
    assert result.exit.code == ExitCode.GATE_FAILED


def test_successful_warm_up_requests_do_not_make_a_failing_run_pass(bench: Bench) -> None:
    load = ScriptedLoad(bench.clock, error="http-5xx", error_after=3)
    result = bench.run(msgspec.structs.replace(SPEC, warmup_s=6.0, slo=()), load).result
    assert [stage.kind for stage in result.stages][-1] == "steady"
    assert result.stages[0].completed > 0
    assert result.exit.code == ExitCode.GATE_FAILED


def test_worker_that_fails_to_start_makes_the_run_invalid(bench: Bench) -> None:
    def fail() -> ScriptedLoad:
        raise LoadError("the load worker exited with code 1")

    result = bench.run(SPEC, start_load_generator=fail).result
    assert result.exit.code == ExitCode.INVALID
    assert result.stages == ()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LoadError("rows.npz lacks image", is_workload_invalid=True), UsageError),
        (LoadError("connection refused", error="connect"), UnavailableError),
    ],
)
def test_worker_errors_about_the_profile_or_the_target_are_raised_with_their_type(
    bench: Bench, error: LoadError, expected: type[Exception]
) -> None:
    def fail(_: StagePlan) -> None:
        raise error

    with pytest.raises(expected, match=error.message):
        bench.run(SPEC, ScriptedLoad(bench.clock, on_stage=fail))


def test_target_error_before_any_stage_fails_the_run(bench: Bench) -> None:
    def fail(_: StagePlan) -> None:
        raise LoadError("the model's metadata answered 500", error="http-5xx")

    result = bench.run(SPEC, ScriptedLoad(bench.clock, on_stage=fail)).result
    assert result.exit.code == ExitCode.GATE_FAILED
    assert result.exit.texts == ("the model's metadata answered 500",)


def test_telemetry_failure_is_a_warning(bench: Bench) -> None:
    def fail() -> None:
        raise RuntimeError("the driver went away")

    bench.telemetry.close = fail  # type: ignore[method-assign]
    result = bench.run(SPEC).result
    assert result.stages[0].completed > 900
    assert any(check.id == "telemetry" and check.verdict == "WARN" for check in result.validity)


def test_failed_standalone_measurement_is_a_warning(bench: Bench) -> None:
    def fail(_: VariantJob) -> None:
        raise MeasurementError("the model did not finish within 60 s and was stopped")

    standalone_spec = StandaloneModelSpec(VariantJob(model="m.onnx", provider="cpu", batch=1), "m", (1,), 0.1)
    result = bench.run(msgspec.structs.replace(SPEC, standalone_model=standalone_spec), start_alone=fail).result
    assert result.stages[0].completed > 900
    assert any(check.id == "standalone_model" and check.verdict == "WARN" for check in result.validity)


def test_run_interrupted_before_its_start_sends_no_request(bench: Bench) -> None:
    bench.interruption.request_stop(ExitCode.INTERRUPTED)
    result = bench.run(SPEC).result
    assert bench.load.plans == []
    assert result.exit.code == ExitCode.INTERRUPTED
    assert [phase.phase for phase in bench.reported(PhaseChanged)] == ["doctor", "report"]


def test_interruption_during_the_preflight_request_does_not_make_the_run_invalid(bench: Bench) -> None:
    class Hanging(ScriptedLoad):
        def preflight(self) -> PreflightDone:
            bench.interruption.request_stop(ExitCode.INTERRUPTED)
            raise LoadError("the run was interrupted while waiting for the target's first response")

    result = bench.run(SPEC, Hanging(bench.clock)).result
    assert [(cause.id, cause.code) for cause in result.exit.causes] == [("interrupted", ExitCode.INTERRUPTED)]
    assert all(check.id != "load_worker" for check in result.validity)
    assert "stages" not in [phase.phase for phase in bench.reported(PhaseChanged)]


def test_lost_worker_makes_the_run_invalid_and_earlier_stages_are_retained(bench: Bench) -> None:
    def die(plan: StagePlan) -> None:
        if plan.index == 1:
            raise LoadError("the load worker was killed by signal 9")

    stages = tuple(msgspec.structs.replace(SPEC.stages[0], name=f"s{i}") for i in range(2))
    result = bench.run(msgspec.structs.replace(SPEC, stages=stages), ScriptedLoad(bench.clock, on_stage=die)).result
    assert result.exit.code == ExitCode.INVALID
    assert [stage.name for stage in result.stages] == ["s0"]


def test_requests_sent_before_a_worker_was_lost_are_an_invalid_stage(bench: Bench) -> None:
    class Dying(ScriptedLoad):
        def run_stage(self, *reported: Any) -> StageEnded:
            super().run_stage(*reported)
            raise LoadError("the load worker was killed by signal 9")

    result = bench.run(SPEC, Dying(bench.clock)).result
    assert result.exit.code == ExitCode.INVALID
    (stage,) = result.stages
    assert (stage.completed > 900, stage.verdict.status) == (True, "INVALID")
    checks = {check.id: check for check in stage.checks}
    assert "was disconnected" in str(checks["workers"].hint)
    assert checks["generator_cpu"].value is None, "the lost worker reported none"
    assert [worker.sent for worker in stage.workers] == [len(bench.rows())]


def test_load_near_the_generator_capacity_makes_the_run_invalid(bench: Bench) -> None:
    stages = (StageSpec("fast", "steady", StageLoad(poisson(19_000.0), 1.0)),)
    load = ScriptedLoad(bench.clock, service_s=0.00001)
    other_load = Check("other_load", 1.0, 0.3, "cores", "WARN", None)
    result = bench.run(msgspec.structs.replace(SPEC, stages=stages), load, checks=(other_load,)).result
    assert result.verdict.status == "INVALID"
    assert result.exit.code == ExitCode.INVALID
    (cause,) = result.exit.texts
    assert "generator capacity" in cause
    assert "other load" not in cause, "a warning does not make the run invalid"


class FallenBack:
    """An endpoint that fell back to another provider than the requested one."""

    pid = 99
    ready = EndpointReady(
        url="http://127.0.0.1:1",
        model="m",
        pid=99,
        provider_requested="cuda",
        provider_used="cpu",
        provider_reason="the CUDA libraries are missing",
        fallback_nodes=("Conv on CPUExecutionProvider",),
        inputs=(),
        outputs=(),
        threads=1,
        max_batch=8,
        queue_delay_s=0.0,
        queue_limit=8,
        runtime_version="1",
    )
    is_stopped = False
    end_text: str | None = None

    def end_reason(self) -> str | None:
        return self.end_text

    def stop(self) -> None:
        self.is_stopped = True


class Served(FallenBack):
    ready = msgspec.structs.replace(FallenBack.ready, provider_requested="cpu", fallback_nodes=())


@pytest.mark.parametrize("spec", [SPEC, SEARCH])
def test_killed_embedded_endpoint_makes_the_run_invalid_and_is_the_only_cause(bench: Bench, spec: RunSpec) -> None:
    endpoint = Served()

    class Refusing(ScriptedLoad):
        def run_stage(self, plan: StagePlan, *reported: Any) -> StageEnded:
            if plan.index == 0:
                endpoint.end_text = "was killed by SIGKILL"
            return super().run_stage(plan, *reported)

    result = bench.run(spec, Refusing(bench.clock, error="connect"), start_endpoint=lambda: endpoint).result
    assert [cause.code for cause in result.exit.causes] == [ExitCode.INVALID]
    assert "target process: the embedded endpoint was killed by SIGKILL" in result.exit.texts[0]
    assert sum(check.id == "target_process" for check in result.validity) == 1
    assert len(result.stages) == 1
    assert result.stages[0].verdict.status == "INVALID"
    if result.max_rate is not None:
        assert result.max_rate.per_s.value is None
        assert spec is SPEC or result.max_rate.per_s.reason == (
            "the embedded endpoint was killed by SIGKILL during the search"
        )
    assert [check.id for check in result.stages[0].checks if check.verdict == "INVALID"] == ["target_process"]


def test_provider_fallback_of_the_embedded_endpoint_is_invalid_without_any_request(bench: Bench) -> None:
    endpoint = FallenBack()
    result = bench.run(SPEC, start_endpoint=lambda: endpoint).result
    assert result.exit.code == ExitCode.INVALID
    assert result.stages == ()
    assert bench.load.plans == []
    assert endpoint.is_stopped


def test_runs_with_the_same_seed_have_the_same_arrivals(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "other")
    bench.run(SPEC)
    other.run(SPEC)
    assert bench.load.plans == other.load.plans
    assert list(bench.rows()["scheduled_ns"]) == list(other.rows()["scheduled_ns"])


def test_target_that_closes_connections_has_a_connection_per_request_and_a_note(bench: Bench) -> None:
    closes = msgspec.structs.replace(OK, reuses_connection=False)
    load = ScriptedLoad(bench.clock, preflights=(closes,))
    outcome = bench.run(SPEC, load)
    assert load.endpoints[0].reuses_connections
    assert not load.endpoints[-1].reuses_connections
    assert any("opened a new connection" in note for note in outcome.result.notes)
