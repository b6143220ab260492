import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, perf_counter_ns

import numpy as np
import pytest
from scipy import stats

from loadgen.child import is_suspended, start_module
from loadgen.frames import encode_message_frame, read_report
from loadgen.process import LoadError, LoadProcess
from loadgen.protocols.open_inference_pb2 import ModelMetadataResponse
from loadgen.records import (
    BATCH_ROWS,
    ClosedArrivals,
    Configure,
    Endpoint,
    Failed,
    Gather,
    Joining,
    Progress,
    Ready,
    RunStage,
    StageStarted,
    StartStage,
    Timeouts,
    Tls,
)
from loadgen.reference.scripted import Reply, Script, ScriptedServer, Stream
from loadgen.workloads import HttpWorkload, OipWorkload
from tests.fakes.endless_grpc import endless_grpc_server
from tests.fakes.processes import children_of, is_running
from tests.fakes.program import wait_until
from tests.fakes.stage_run import StageRun, plan
from tests.fakes.stream_server import stream_server

pytestmark = pytest.mark.process

METADATA = b'{"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}'
RESPONSE = b'{"outputs": [{"name": "o", "datatype": "FP32", "shape": [1, 2], "data": [0, 1]}]}'
OIP_PATHS: dict[str, Reply | Stream] = {
    "/v2/models/m": Reply(body=METADATA),
    "/v2/models/m/infer": Reply(body=RESPONSE),
}
NOWHERE = Endpoint(("http://127.0.0.1:1",))
FREEZE = Script(delay_s=0.05, freeze_after_s=2, freeze_s=1)


def make_timeouts(error: str) -> Timeouts:
    """Return short timeouts only if a timeout is expected, so that a busy machine causes no other one."""
    return Timeouts(idle_s=0.3) if error == "timeout" else Timeouts()


@pytest.fixture(scope="module")
def load() -> Iterator[LoadProcess]:
    with LoadProcess() as process:
        yield process


@pytest.mark.timing
def test_stage_sends_every_arrival_and_reports_rows_and_counts(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload("POST", bodies=(b"a", b"b")))
        requests_before = len(server.requests)
        stage_run = StageRun(load, plan(rate=1_000))
        bodies = [request[-1:] for request in server.requests[requests_before:]]
        connections = server.connection_count
    rows, ended = stage_run.rows, stage_run.ended
    (started,) = stage_run.started
    assert sorted(rows["index"]) == list(range(1_000))
    assert rows["error"].isna().all()
    assert set(rows["status"]) == {200}
    assert rows["correct_rows"].isna().all()
    assert (rows["scheduled_ns"] == started.start_ns + rows["index"] * 1_000_000).all()
    assert (rows["sent_ns"] >= rows["scheduled_ns"]).all()
    assert (bodies.count(b"a"), bodies.count(b"b")) == (500, 500)
    assert max(batch.num_rows for batch in stage_run.batches) <= BATCH_ROWS
    assert (ended.index, ended.scheduled, ended.never_started, ended.stopped_early) == (3, 1_000, 0, False)
    # a connection may be opened for an arrival after another one became free
    assert (~rows["reused"]).sum() <= ended.connections_opened == connections
    assert ended.start_ns == started.start_ns
    assert 0 < ended.cpu_s < 5
    assert 2 <= len(stage_run.progress) <= 6
    last_progress = stage_run.progress[-1]
    assert last_progress.in_flight is not None
    assert (
        last_progress.sent
        == last_progress.completed + last_progress.failed + last_progress.in_flight
        <= last_progress.due
    )


@pytest.mark.timing
def test_sent_requests_follow_scheduled_poisson_process(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        load.preflight()  # opens the first connection
        rows = StageRun(load, plan(200, 3, "poisson")).rows
    gaps_s = np.diff(np.sort(rows["sent_ns"])) / 1e9
    # a busy machine sends some requests together; evenly spaced ones would be at 0.63, closed-loop ones at 0.4
    assert stats.kstest(gaps_s, "expon", args=(0, 1 / 200)).statistic < 0.25


@pytest.mark.timing
def test_latency_of_open_arrivals_includes_server_freeze(load: LoadProcess) -> None:
    """200 of 1,200 arrivals wait a uniform 0 to 1 s, and all take 50 ms: p95 is 0.75 s and p99 0.99 s."""
    with ScriptedServer(FREEZE) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        stage_run = StageRun(load, plan(rate=200, duration=6))
    p95, p99 = np.percentile(stage_run.latency_ms("scheduled_ns"), [95, 99])
    assert p95 == pytest.approx(750, rel=0.05)
    assert p99 == pytest.approx(990, rel=0.05)
    # no send was delayed, so the service time has the same percentile
    assert np.percentile(stage_run.latency_ms("sent_ns"), 99) == pytest.approx(p99, rel=0.05)


@pytest.mark.timing
def test_delayed_sends_hide_server_freeze_in_service_time_but_not_in_latency(
    load: LoadProcess,
) -> None:
    """Five connections sustain 100 req/s at 50 ms, like five closed-loop users: five of 585 sends meet the freeze."""
    with ScriptedServer(Script(delay_s=0.05, freeze_after_s=1, freeze_s=1)) as server:
        load.configure(Endpoint((server.url,), max_connections=5), HttpWorkload())
        stage_run = StageRun(load, plan(rate=90, duration=6.5))
    naive_p50, naive_p99 = np.percentile(stage_run.latency_ms("sent_ns"), [50, 99])
    true_p95, true_p99 = np.percentile(stage_run.latency_ms("scheduled_ns"), [95, 99])
    assert naive_p50 == pytest.approx(50, abs=10)
    assert naive_p99 < 400
    assert true_p95 > 900
    assert true_p99 > 900


@pytest.mark.timing
def test_delay_of_suspended_load_worker_is_included_in_latency(load: LoadProcess) -> None:
    """The worker itself is frozen for 1 s: sends are late, the service stays 50 ms, and the wait is in the latency."""
    with ScriptedServer(Script(delay_s=0.05)) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        load.preflight()
        frozen_ms: list[float] = []

        def freeze() -> None:
            os.kill(load.pid, signal.SIGSTOP)
            since_s = perf_counter()
            threading.Event().wait(1.0)
            os.kill(load.pid, signal.SIGCONT)
            frozen_ms.append((perf_counter() - since_s) * 1e3)

        stage_run = StageRun(load, plan(rate=100, duration=3), on_started=threading.Timer(1.0, freeze).start)
    lag_ms = (stage_run.rows["sent_ns"] - stage_run.rows["scheduled_ns"]) / 1e6
    assert frozen_ms[0] - 50 < lag_ms.max() < frozen_ms[0] + 500
    late = lag_ms > 200
    assert (
        (frozen_ms[0] - 200) / 10 - 5 < late.sum() < frozen_ms[0] / 10 + 50
    )  # a busy machine takes a while to catch up
    assert (stage_run.latency_ms("scheduled_ns") - stage_run.latency_ms("sent_ns"))[late].to_numpy() == pytest.approx(
        lag_ms[late].to_numpy()
    )


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(404), "http-4xx"),
        (Reply(500), "http-5xx"),
        (Reply(302), "bad-payload"),
        (Reply(body=b""), "bad-output"),
        (Reply(mode="cut-body"), "truncated"),
        (Reply(mode="drop"), "send"),
        (Reply(mode="hang"), "timeout"),
    ],
)
def test_failures_have_same_error_class_in_rows_and_preflight(load: LoadProcess, reply: Reply, error: str) -> None:
    headers = (("Authorization", "Bearer canary"),)
    with ScriptedServer(Script(reply)) as server:
        load.configure(Endpoint((server.url,), headers, timeouts=make_timeouts(error)), HttpWorkload())
        preflight = load.preflight()
        rows = StageRun(load, plan(rate=20, duration=0.5)).rows
    assert preflight.error == error
    assert preflight.status == (None if error in ("send", "timeout") else reply.status)
    assert "canary" not in preflight.detail
    assert set(rows["error"]) == {error}
    assert len(rows) == 10


def test_preflight_reports_times_and_redacts_secret_headers(load: LoadProcess) -> None:
    reply = Reply(headers=(("Set-Cookie", "canary"), ("Server", "scripted"), ("X-Odd", "canary")))
    with ScriptedServer(Script(reply, delay_s=0.02)) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        preflight = load.preflight()
    assert preflight.first_byte_ms is not None
    assert preflight.service_ms is not None
    assert 20 <= preflight.first_byte_ms <= preflight.service_ms
    assert preflight.first_token_ms is None
    assert ("Server", "scripted") in preflight.headers
    assert "canary" not in str(preflight)
    assert [value for name, value in preflight.headers if name in ("Set-Cookie", "X-Odd")] == ["<redacted>"] * 2


@pytest.mark.parametrize("drain", [True, False])
def test_preflight_without_response_is_interrupted_by_stop(drain: bool) -> None:
    with ScriptedServer(Script(Reply(mode="hang"))) as server, LoadProcess() as load:
        load.configure(Endpoint((server.url,)), HttpWorkload())

        def stop() -> None:
            wait_until(lambda: server.requests)
            load.stop(drain)

        stopping = threading.Thread(target=stop)
        stopping.start()
        with pytest.raises(LoadError, match="interrupted while waiting") as failed:
            load.preflight()
        stopping.join()
    assert (failed.value.error, failed.value.is_workload_invalid) == (None, False)


def test_closed_port_is_connect_error_in_preflight_and_rows(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        closed_url = server.url
    load.configure(Endpoint((closed_url,)), HttpWorkload())
    assert load.preflight().error == "connect"
    rows = StageRun(load, plan(rate=20, duration=0.5)).rows
    assert set(rows["error"]) == {"connect"}
    assert rows["sent_ns"].notna().all()


def test_unresolvable_host_is_dns_error_in_preflight(load: LoadProcess) -> None:
    load.configure(Endpoint(("http://nowhere.invalid",)), HttpWorkload())
    preflight = load.preflight()
    assert (preflight.error, preflight.status, preflight.service_ms) == ("dns", None, None)


@pytest.mark.timing
def test_requests_in_flight_and_queued_time_out_at_end_of_drain(load: LoadProcess) -> None:
    with ScriptedServer(Script(Reply(mode="hang"))) as server:
        load.configure(Endpoint((server.url,), max_connections=4), HttpWorkload())
        stage_run = StageRun(load, plan(rate=100, duration=0.2, drain_s=0.3))
    assert set(stage_run.rows["error"]) == {"timeout"}
    assert len(stage_run.rows) == 20
    assert stage_run.rows["sent_ns"].isna().sum() == stage_run.ended.never_started == 16
    assert (stage_run.ended.end_ns - stage_run.ended.start_ns) / 1e9 == pytest.approx(0.49, abs=0.2)


@pytest.mark.timing
def test_stage_is_stopped_when_progress_callback_returns_false(load: LoadProcess) -> None:
    with ScriptedServer(Script(delay_s=0.05)) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        start_s = perf_counter()
        stage_run = StageRun(load, plan(rate=100, duration=60), continues=False)
    assert perf_counter() - start_s < 3
    assert stage_run.ended.stopped_early
    assert stage_run.ended.scheduled == 6_000
    assert len(stage_run.rows) < 300


@pytest.mark.timing
def test_stop_with_drain_lets_requests_in_flight_finish(load: LoadProcess) -> None:
    with ScriptedServer(Script(delay_s=0.2)) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        stop = threading.Timer(0.5, load.stop, (True,))
        stage_run = StageRun(load, plan(rate=100, duration=60), on_started=stop.start)
    assert stage_run.ended.stopped_early
    assert stage_run.rows["error"].isna().all()
    assert 10 < len(stage_run.rows) < 200


def test_stop_works_from_a_signal_handler(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        previous_handler = signal.signal(signal.SIGALRM, lambda *_: load.stop(drain=True))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            stage_run = StageRun(load, plan(rate=100, duration=60))
        finally:
            signal.signal(signal.SIGALRM, previous_handler)
    assert stage_run.ended.stopped_early


def test_stop_between_stages_applies_to_next_stage(load: LoadProcess) -> None:
    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        load.stop(drain=True)
        assert StageRun(load, plan(duration=60)).ended.stopped_early
        assert not StageRun(load, plan(duration=0.3)).ended.stopped_early


def test_stop_before_preflight_interrupts_preflight() -> None:
    with ScriptedServer(Script(Reply(mode="hang"))) as server, LoadProcess() as load:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        load.stop(drain=True)
        with pytest.raises(LoadError, match="interrupted while waiting"):
            load.preflight()


@pytest.mark.timing
@pytest.mark.parametrize("arrivals", [None, ClosedArrivals(4)])
def test_canceled_stages_leak_no_handles_and_no_threads(load: LoadProcess, arrivals: ClosedArrivals | None) -> None:
    def count_handles_and_threads() -> tuple[int, int]:
        return len(list(Path(f"/proc/{load.pid}/fd").iterdir())), len(list(Path(f"/proc/{load.pid}/task").iterdir()))

    def cancel(_: StageStarted) -> None:
        load.stop(drain=False)

    with ScriptedServer(Script()) as server:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        counts = []
        for _ in range(50):
            ended = load.run_stage(plan(duration=60, arrivals=arrivals), lambda _: None, cancel, lambda _: True)
            assert ended.stopped_early
            counts.append(count_handles_and_threads())
    handles, threads = zip(*counts, strict=True)
    assert handles[-1] <= max(handles[:5]) + 2
    assert threads[-1] <= max(threads[:5]) + 5  # the hub's thread pool grows on demand


def test_inference_responses_are_compared_with_labels(load: LoadProcess, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.zeros((4, 2), np.float32), y=np.array([1, 1, 1, 0]))
    with ScriptedServer(Script(paths=OIP_PATHS)) as server:
        load.configure(Endpoint((server.url,)), OipWorkload("m", tensors=str(tmp_path / "t.npz"), labels="y"))
        assert load.preflight().error is None
        rows = StageRun(load, plan(rate=40, duration=0.5)).rows
    assert rows["error"].isna().all()
    assert rows["correct_rows"].sum() == 15


def test_missing_model_is_http_4xx_error_in_preflight(load: LoadProcess) -> None:
    with ScriptedServer(Script(Reply(404))) as server:
        load.configure(Endpoint((server.url,)), OipWorkload("m"))
        preflight = load.preflight()
    assert (preflight.error, preflight.status) == ("http-4xx", 404)


@pytest.mark.parametrize(("reply", "error"), [(Reply(500), "http-5xx"), (Reply(mode="hang"), "timeout")])
def test_failed_metadata_request_sets_error_class_of_preflight(load: LoadProcess, reply: Reply, error: str) -> None:
    with ScriptedServer(Script(reply)) as server:
        load.configure(Endpoint((server.url,), timeouts=make_timeouts(error)), OipWorkload("m"))
        assert load.preflight().error == error


@pytest.mark.parametrize("metadata", [b"<html>", b'{"inputs": []}'])
def test_invalid_metadata_is_bad_payload_in_preflight(load: LoadProcess, metadata: bytes) -> None:
    with ScriptedServer(Script(Reply(body=metadata))) as server:
        load.configure(Endpoint((server.url,)), OipWorkload("m"))
        preflight = load.preflight()
    assert (preflight.error, preflight.status) == ("bad-payload", 200)
    assert "metadata" in preflight.detail


@pytest.mark.parametrize("shape", [[1] * 65, [0, 10**30]])
def test_malformed_response_is_recorded_as_bad_payload_row(load: LoadProcess, shape: list[int]) -> None:
    data = [0] if shape[0] else []
    response_body = json.dumps({"outputs": [{"name": "o", "datatype": "FP32", "shape": shape, "data": data}]}).encode()
    with ScriptedServer(Script(paths={**OIP_PATHS, "/v2/models/m/infer": Reply(body=response_body)})) as server:
        load.configure(Endpoint((server.url,)), OipWorkload("m"))
        stage_run = StageRun(load, plan(rate=20, duration=0.5))
    assert set(stage_run.rows["error"]) == {"bad-payload"}
    assert len(stage_run.rows) == stage_run.ended.scheduled == 10


@pytest.mark.timing
def test_slow_metadata_may_delay_first_report(load: LoadProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.process._SILENCE_TIMEOUT_S", 1.0)
    with ScriptedServer(Script(paths=OIP_PATHS, delay_s=1.3)) as server:
        load.configure(Endpoint((server.url,)), OipWorkload("m"))
        assert StageRun(load, plan(rate=20, duration=0.5, drain_s=4)).rows["error"].isna().all()


def test_exit_reason_of_worker_is_reported_by_next_command() -> None:
    with LoadProcess() as load:
        load.configure(Endpoint(("ftp://nowhere",)), HttpWorkload())
        os.waitid(os.P_PID, load.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(LoadError, match="must start with http") as failed:
            load.preflight()
    assert failed.value.is_workload_invalid


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unusable_ca_file_is_workload_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    with LoadProcess() as load:
        load.configure(Endpoint(("https://localhost",), tls=Tls(ca_file=str(tmp_path / "ca.pem"))), HttpWorkload())
        with pytest.raises(LoadError, match=r"the CA file .*ca\.pem cannot be used: ") as failed:
            load.preflight()
    assert (failed.value.error, failed.value.is_workload_invalid) == (None, True)
    assert failed.value.hint is None, "the worker's traceback is no hint"


def test_workload_that_cannot_be_built_is_reported_with_hint() -> None:
    with ScriptedServer(Script(paths=OIP_PATHS)) as server, LoadProcess() as load:
        load.configure(Endpoint((server.url,)), OipWorkload("m", tensors="/nowhere.npz"))
        with pytest.raises(LoadError, match=r"nowhere\.npz") as failed:
            load.preflight()
    assert failed.value.hint is not None
    assert (failed.value.error, failed.value.is_workload_invalid) == (None, True)


def test_unresolvable_host_fails_stage_with_dns_error() -> None:
    with LoadProcess() as load:
        load.configure(Endpoint(("http://nowhere.invalid",)), HttpWorkload())
        with pytest.raises(LoadError) as failed:
            StageRun(load, plan())
    assert (failed.value.error, failed.value.is_workload_invalid) == ("dns", False)


def test_killed_worker_raises_load_error() -> None:
    with ScriptedServer(Script()) as server, LoadProcess() as load:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        threading.Timer(0.5, os.kill, (load.pid, signal.SIGKILL)).start()
        with pytest.raises(LoadError, match="killed by SIGKILL") as failed:
            StageRun(load, plan(duration=60))
        load.stop(drain=True)
    assert (failed.value.error, failed.value.is_workload_invalid) == (None, False)


@pytest.mark.timing
def test_suspended_worker_is_detected_within_15_s() -> None:
    stopped_ns: list[int] = []

    with ScriptedServer(Script()) as server, LoadProcess() as load:

        def stop(_: StageStarted) -> None:
            os.kill(load.pid, signal.SIGSTOP)
            stopped_ns.append(perf_counter_ns())

        load.configure(Endpoint((server.url,)), HttpWorkload())
        with pytest.raises(LoadError, match="the load worker has not responded for 3 s"):
            load.run_stage(plan(duration=60), lambda _: None, stop, lambda _: True)
        assert perf_counter_ns() - stopped_ns[0] < 15e9


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits are changed")
def test_worker_without_file_descriptors_reports_limit_and_remedy() -> None:
    with ScriptedServer(Script()) as server, LoadProcess() as load:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        assert load.preflight().error is None
        resource.prlimit(load.pid, resource.RLIMIT_NOFILE, (3, 3))
        with pytest.raises(LoadError, match="the load worker failed: Too many open files") as failed:
            StageRun(load, plan())
    assert "ulimit -n" in str(failed.value.hint)
    assert (failed.value.error, failed.value.is_workload_invalid) == (None, False)


@pytest.mark.skipif(sys.platform != "linux", reason="whether a process is stopped is read from /proc")
@pytest.mark.parametrize(
    ("child", "step"),
    [
        ("loadgen.worker", lambda load: load.configure(NOWHERE, HttpWorkload("POST", bodies=(bytes(2**20),)))),
        ("loadgen.worker", lambda load: StageRun(load, plan())),
        ("loadgen.locustfile", LoadProcess.preflight),
        ("loadgen.master", LoadProcess.preflight),
    ],
    ids=["command larger than its pipe", "before its stage", "with a Locust test", "of several workers"],
)
def test_suspended_process_fails_without_timeout_of_slow_target(
    child: str, step: Callable[[LoadProcess], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow target may take 160 s for its metadata and one request; a suspended process must fail much earlier."""
    monkeypatch.setattr("loadgen.child._MAX_SUSPENDED_S", 0.5)
    is_master = child == "loadgen.master"
    with LoadProcess(
        "loadgen.worker" if is_master else child, gather=Gather(local_workers=1) if is_master else None
    ) as load:
        load.configure(NOWHERE, HttpWorkload())
        os.kill(load.pid, signal.SIGSTOP)
        wait_until(lambda: is_suspended(load.pid))
        with pytest.raises(LoadError, match=f"process {load.pid} is suspended") as failed:
            step(load)
        assert failed.value.hint is not None
    assert not is_running(load.pid)


@pytest.mark.timing
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
def test_endless_responses_use_bounded_memory_and_fail_with_local_limit() -> None:
    with endless_server() as url:
        peak_mib = measure_peak_mib_until_local_limit(url, HttpWorkload())
    assert 256 < peak_mib < 640, "256 MiB are stored, in addition to the interpreter and socket buffers"


@pytest.mark.timing
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_endless_grpc_messages_use_bounded_memory_and_fail_with_local_limit() -> None:
    """Forty messages of 60 MiB, the size limit of a message, would be 2.4 GB."""
    metadata = ModelMetadataResponse(name="m")
    metadata.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    with endless_grpc_server(metadata) as url:
        peak_mib = measure_peak_mib_until_local_limit(url, OipWorkload("m", transport="grpc", binary=False))
    assert 512 < peak_mib < 1_100, "512 MiB are stored, in addition to the interpreter and data received between checks"


def measure_peak_mib_until_local_limit(url: str, workload: HttpWorkload | OipWorkload) -> float:
    """Return a worker's peak memory when the first request of forty clients failed with a local limit."""
    with LoadProcess() as load:
        load.configure(Endpoint((url,)), workload)
        errors: set[str] = set()

        def continue_stage(progress: Progress) -> bool:
            errors.update(first_error.error for first_error in progress.first_errors)
            return "local-limit" not in errors

        clients = plan(duration=60, arrivals=ClosedArrivals(40))
        load.run_stage(clients, lambda _: None, lambda _: None, continue_stage)
        status = Path(f"/proc/{load.pid}/status").read_text()
    assert "local-limit" in errors
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def endless_server() -> Iterator[str]:
    """Serve responses that do not end."""
    block = b"x" * 262_144

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while True:
            writer.write(block)
            await writer.drain()

    with stream_server(respond) as port:
        yield f"http://127.0.0.1:{port}/"


def test_worker_exits_when_stdin_closes_during_stage() -> None:
    child = start_module("loadgen.worker", stdout=subprocess.PIPE)
    with ScriptedServer(Script(Reply(mode="hang"))) as server, child:
        assert child.stdin is not None
        assert child.stdout is not None
        stage = plan(duration=60)
        configure = Configure(Endpoint((server.url,)), HttpWorkload())
        for command in (configure, RunStage(stage), StartStage(stage.index, perf_counter_ns())):
            child.stdin.write(encode_message_frame(command))
        child.stdin.flush()
        while not isinstance(read_report(child.stdout), Progress):
            pass
        child.stdin.close()
        assert child.wait(30) == 0


def test_worker_reports_undecodable_command_and_exits_with_1() -> None:
    child = start_module("loadgen.worker", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"\1\0\0\0M\xc1")
        child.stdin.flush()
        assert isinstance(read_report(child.stdout), Ready)
        assert isinstance(read_report(child.stdout), Failed)
        assert child.wait(30) == 1


def test_child_process_ignores_working_directory_and_has_its_own_session(tmp_path: Path) -> None:
    (tmp_path / "loadgen").mkdir()
    (tmp_path / "loadgen" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    code = "from loadgen.process import LoadProcess; p = LoadProcess(); import os; print(os.getsid(p.pid) == p.pid)"
    completed = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (completed.stdout, completed.returncode) == ("True\n", 0), completed.stderr


def snapshot_resources() -> tuple[int, int, list[int]]:
    return len(os.listdir("/proc/self/fd")), threading.active_count(), children_of(os.getpid())  # noqa: PTH208


def test_closed_workers_leak_no_process_handle_or_thread() -> None:
    resources_before = snapshot_resources()
    for _ in range(5):
        LoadProcess().close()
    assert snapshot_resources() == resources_before


# several workers


def test_two_workers_send_same_schedule_as_single_worker() -> None:
    arrivals = plan(rate=400, duration=1, process="poisson")
    workload = HttpWorkload("POST", bodies=tuple(b"body %d" % n for n in range(7)))

    def send(gather: Gather | None) -> tuple[list[tuple[int, int]], list[bytes], set[int]]:
        with ScriptedServer(Script()) as server, LoadProcess(gather=gather) as load:
            assert len(load.workers) == (0 if gather is None else gather.local_workers)
            load.configure(Endpoint((server.url,)), workload)
            stage_run = StageRun(load, arrivals)
        rows = stage_run.rows.sort_values("index")
        offsets = (rows["scheduled_ns"] - stage_run.ended.start_ns).tolist()
        bodies = sorted(request.partition(b"\r\n\r\n")[2] for request in server.requests)
        return list(zip(rows["index"], offsets, strict=True)), bodies, set(rows["worker"])

    single_worker = send(None)
    assert (len(single_worker[0]) > 300, single_worker[2]) == (True, {0})
    assert send(Gather(local_workers=2)) == (*single_worker[:2], {0, 1})


def test_exception_in_joining_callback_ends_gathering_and_master() -> None:
    resources_before, joinings = snapshot_resources(), []

    def give_up(joining: Joining) -> None:
        joinings.append(joining)
        if len(joinings) == 3:  # reported repeatedly, although no worker has joined
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LoadProcess(gather=Gather(local_workers=0, remote_workers=1), on_joining=give_up)
    assert {(joining.joined, joining.expected) for joining in joinings} == {(0, 1)}
    assert snapshot_resources() == resources_before


def test_workers_that_do_not_join_raise_load_error() -> None:
    resources_before = snapshot_resources()
    with pytest.raises(LoadError) as failed:
        LoadProcess(gather=Gather(local_workers=0, remote_workers=1, wait_s=0.5))
    assert "worker" in failed.value.message
    assert snapshot_resources() == resources_before


@pytest.mark.usefixtures("unforked")
def test_silent_master_raises_load_error_after_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.process._SILENCE_TIMEOUT_S", 0.0)
    with pytest.raises(LoadError, match=r"did not join within 0\.1 s"):
        LoadProcess(gather=Gather(local_workers=0, remote_workers=1, wait_s=0.1), on_joining=lambda _: None)
