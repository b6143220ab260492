from __future__ import annotations

import msgspec
import pytest

from app.errors import ExitCode, UnavailableError
from app.records.events import PhaseChanged, TargetReady
from app.session.spec import RunSpec, StageSpec, StartSpec
from app.session.target import find_unreachable_hint, require_reachable_target
from loadgen.records import PreflightDone, Progress, StageLoad, StagePlan
from loadgen.workloads import FixedLength, OpenAiWorkload, SyntheticPrompts
from tests.fakes.bench import SPEC, Bench, check_of, poisson
from tests.fakes.load import OK, ScriptedLoad
from tests.fakes.session_dependencies import FakeServer

URL = "http://127.0.0.1:8000/"


@pytest.mark.parametrize(
    ("error", "status", "hint"),
    [
        ("dns", None, "host name"),
        ("connect", None, "port in target.url, or target.socket."),
        ("tls", None, "ca_file"),
        ("http-4xx", 401, "credential"),
        ("http-4xx", 403, "lacks permission"),
        ("http-4xx", 404, "path"),
        ("http-4xx", 405, "does not accept GET at this path. Set workload.method"),
        ("http-4xx", 415, "does not accept requests without a content type. Set Content-Type"),
        ("http-5xx", 501, "does not accept GET"),
        ("bad-payload", 200, "target.protocol"),
        ("http-4xx", 400, "workload.expect.status: 400"),
        ("http-4xx", 422, "workload.expect.status: 422"),
        ("send", None, "without a response"),
        ("truncated", 200, "before the response was complete"),
        ("timeout", None, "target.timeouts.total"),
    ],
)
def test_preflight_failure_without_a_usable_response_is_unavailable(error: str, status: int | None, hint: str) -> None:
    with pytest.raises(UnavailableError, match="cannot be measured: it said so") as raised:
        require_reachable_target(PreflightDone(error, status, "it said so", None), URL, SPEC.workload)
    assert hint in str(raised.value.hint)


def test_endpoint_with_an_empty_response_is_unavailable() -> None:
    with pytest.raises(UnavailableError) as raised:
        require_reachable_target(PreflightDone("bad-output", 200, "no body", None, is_empty=True), URL, SPEC.workload)
    assert raised.value.hint is not None


@pytest.mark.parametrize("status", [404, 405, 501])
def test_missing_api_of_a_language_model_server_is_named_in_the_hint(status: int) -> None:
    workload = OpenAiWorkload("chat", "llama", SyntheticPrompts(FixedLength(5), FixedLength(5)))
    hint = find_unreachable_hint(PreflightDone("http-4xx", status, "it said so", None), workload)
    assert hint is not None
    assert hint.startswith("The server may lack the chat API, or the model 'llama'.")


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, 200), (None, 404), ("http-4xx", 408), ("http-4xx", 429), ("http-5xx", 500), ("bad-output", 200)],
)
def test_target_response_to_the_workload_passes_the_preflight_check(error: str | None, status: int | None) -> None:
    require_reachable_target(PreflightDone(error, status, "it said so", None), URL, SPEC.workload)


def test_target_without_required_metadata_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="cannot be measured: it said so") as raised:
        require_reachable_target(PreflightDone("http-5xx", 500, "it said so", None, can_send=False), URL, SPEC.workload)
    assert "target.model" in str(raised.value.hint)


START = StartSpec(("serve-it", "--port", "1"), "http://127.0.0.1:1/ready", 30.0, ".")
STARTS: RunSpec = msgspec.structs.replace(SPEC, start=START, warmup_s=6.0)
WAKES: RunSpec = msgspec.structs.replace(SPEC, may_be_scaled_to_zero=True)
NOT_YET = PreflightDone("connect", None, "connection refused", None)
LOADING = PreflightDone("http-5xx", 503, "answered 503", 1.0)


def test_started_server_has_times_to_ready_first_response_and_steady_state(bench: Bench) -> None:
    server = FakeServer(bench.clock, ready_after_s=0.5)
    load = ScriptedLoad(bench.clock, preflights=(LOADING, LOADING, OK))
    outcome = bench.run(STARTS, load, start_server=lambda _: server)
    cold = outcome.result.cold_start
    assert cold is not None
    assert cold.ready_ms.value == pytest.approx(500, abs=20)
    assert cold.first_response_ms.value == pytest.approx(540, abs=20), "requested again twice, 20 ms apart"
    assert cold.steady_ms.value == cold.first_response_ms.value, "the first three windows agreed"
    assert cold.ready_ms.n == 1
    assert bench.reported(TargetReady)[0].first_response_ms == cold.first_response_ms.value
    assert bench.telemetry.watched["endpoint"] == server.pid
    assert server.is_stopped
    assert outcome.result.exit.code == 0


def test_preflight_phase_follows_the_start_phase_directly(bench: Bench) -> None:
    bench.run(STARTS, start_server=lambda _: FakeServer(bench.clock))
    phases = [event.phase for event in bench.reported(PhaseChanged)]
    assert phases == ["doctor", "start", "preflight", "warmup", "stages", "report"]


def test_server_that_never_becomes_ready_is_unavailable_with_its_last_output(bench: Bench) -> None:
    server = FakeServer(bench.clock, ready_after_s=None, said=("loading", "out of memory"))
    with pytest.raises(UnavailableError, match="serve-it was not ready within 30 s") as raised:
        bench.run(STARTS, start_server=lambda _: server)
    assert "out of memory" in str(raised.value.hint)
    assert server.is_stopped
    assert bench.load.is_closed


def test_start_command_that_exits_at_once_is_unavailable_with_its_exit_code(bench: Bench) -> None:
    server = FakeServer(bench.clock, ready_after_s=None)
    server.end("exited with code 1")
    with pytest.raises(UnavailableError, match="serve-it exited with code 1 before it was ready") as raised:
        bench.run(STARTS, start_server=lambda _: server)
    assert raised.value.hint == "The server printed no output."


def test_server_that_exits_before_its_first_response_is_unavailable(bench: Bench) -> None:
    server = FakeServer(bench.clock, ready_after_s=0.0)

    class Leaving(ScriptedLoad):
        def preflight(self) -> PreflightDone:
            server.end("was killed by SIGKILL")
            return NOT_YET

    with pytest.raises(UnavailableError, match="was killed by SIGKILL before its first response"):
        bench.run(STARTS, Leaving(bench.clock), start_server=lambda _: server)


def test_server_that_exits_during_the_measurement_invalidates_the_run_with_its_rows(
    bench: Bench,
) -> None:
    server = FakeServer(bench.clock, ready_after_s=0.0, said=("segmentation fault",))

    def leave(progress: Progress) -> None:
        if progress.due > 300:
            server.end("was killed by SIGSEGV")

    stages = (*SPEC.stages, StageSpec("never", "steady", StageLoad(poisson(10.0), 5.0)))
    spec = msgspec.structs.replace(STARTS, stages=stages, warmup_s=0.0)
    outcome = bench.run(spec, ScriptedLoad(bench.clock, on_progress=leave), start_server=lambda _: server)
    assert [stage.name for stage in outcome.result.stages] == ["steady"]
    assert outcome.result.stages[0].completed >= 300
    assert outcome.result.exit.code == ExitCode.INVALID
    assert "target.start: the server was killed by SIGSEGV" in outcome.result.exit.texts[0]
    check = check_of(outcome, "target_process")
    assert check is not None
    assert "segmentation fault" in str(check.hint)


def test_interrupted_start_stops_the_server_without_any_stage(bench: Bench) -> None:
    server = FakeServer(bench.clock, ready_after_s=None)
    started_plans: list[StagePlan] = []

    def start(_: StartSpec) -> FakeServer:
        bench.interruption.request_stop(ExitCode.INTERRUPTED)
        return server

    outcome = bench.run(STARTS, ScriptedLoad(bench.clock, on_stage=started_plans.append), start_server=start)
    assert outcome.result.exit.code == ExitCode.INTERRUPTED
    assert server.is_stopped
    assert started_plans == []


def test_preflight_request_is_repeated_until_an_endpoint_scaled_to_zero_responds(bench: Bench) -> None:
    load = ScriptedLoad(bench.clock, preflights=(*[NOT_YET] * 50, LOADING, OK))
    outcome = bench.run(WAKES, load)
    cold = outcome.result.cold_start
    assert cold is not None
    assert cold.first_response_ms.value == pytest.approx(51 * 20)
    assert cold.ready_ms.value is None
    assert "readiness cannot be separated" in str(cold.ready_ms.reason)
    assert cold.steady_ms.reason == "load.warmup is 0s"


def test_endpoint_that_never_scales_up_is_unavailable(bench: Bench) -> None:
    with pytest.raises(UnavailableError, match="connection refused"):
        bench.run(WAKES, ScriptedLoad(bench.clock, preflights=(NOT_YET,)))
    assert bench.clock.now_ns > 600e9


@pytest.mark.parametrize("status", [401, 404])
def test_client_error_of_an_endpoint_scaled_to_zero_is_reported_at_once(bench: Bench, status: int) -> None:
    refused = PreflightDone("http-4xx", status, f"answered {status}", 1.0)
    with pytest.raises(UnavailableError, match=str(status)):
        bench.run(WAKES, ScriptedLoad(bench.clock, preflights=(refused,)))
    assert bench.load.preflight_count == 1


def test_rejected_workload_ends_the_run_without_waiting(bench: Bench) -> None:
    refused = PreflightDone("http-4xx", 422, "answered 422", 1.0)
    with pytest.raises(UnavailableError, match="answered 422"):
        bench.run(WAKES, ScriptedLoad(bench.clock, preflights=(refused,)))
    assert bench.load.preflight_count == 1
    assert bench.load.plans == []


def test_run_without_a_started_server_has_no_cold_start(bench: Bench) -> None:
    assert bench.run(SPEC).result.cold_start is None
