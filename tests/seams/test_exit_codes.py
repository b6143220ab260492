"""Every way a run can end, on real sockets: error class, exit code and message."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.storage.run_directory import StoredRun
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from tests.fakes.processes import free_port
from tests.fakes.program import Sizewise, SizewiseInProcess, wait_until, write_profile

pytestmark = pytest.mark.process

WriteProfile = Callable[..., str]


@pytest.fixture(scope="module")
def successful_run(calibrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory and the terminal output of a run that ended with 0, in a folder with packages named like ours."""
    folder = tmp_path_factory.mktemp("good")
    for name in ("app", "loadgen", "reports"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('a foreign package was imported')\n")
    with ScriptedServer(Script(delay_s=0.005)) as server:
        # a load worker that wakes seldom seldom waits for a core, so that the run need not be repeated
        path = write_profile(folder, server.url, rate="100/s", extra='gates: ["latency_ms.p95 < 1 | warn"]')
        completed = Sizewise(calibrated_home, folder, draws=False, may_fork=False).measured(path, out=folder / "run")
    assert completed.returncode == 0, completed.stderr
    return folder / "run", completed.stdout


def test_successful_run_exits_with_0_and_has_result_and_report(successful_run: tuple[Path, str]) -> None:
    directory, output = successful_run
    result = json.loads((directory / "result.json").read_text())
    (stage,) = result["stages"]
    assert stage["completed"] == 100
    rows = StoredRun(directory).requests().to_pandas()
    latency_ms = (rows["end_ns"] - rows["scheduled_ns"]) / 1e6
    p50_ms = stage["metrics"]["latency_ms"]["p50"]["value"]
    assert 4 < p50_ms == pytest.approx(np.quantile(latency_ms, 0.5, method="inverted_cdf"))
    assert result["exit"] == {"code": 0, "causes": []}
    assert str(directory / "report.html") in output


def test_warning_gate_does_not_fail_run(successful_run: tuple[Path, str]) -> None:
    (gate,) = json.loads((successful_run[0] / "result.json").read_text())["gates"]
    assert gate["outcome"] == "FAIL"


@pytest.mark.parametrize(
    ("reply", "hint"),
    [
        (Reply(status=422), "workload.expect.status: 422"),
        (Reply(status=400), "workload.expect.status: 400"),
        (Reply(mode="cut-body"), "before the response was complete"),
        (Reply(mode="drop"), "without a response"),
        (Reply(mode="hang"), "target.timeouts.total"),
    ],
    ids=["422", "400", "truncated", "dropped", "timeout"],
)
def test_refused_first_request_exits_with_3_before_load(
    reply: Reply, hint: str, sizewise_in_process: SizewiseInProcess, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.yaml"
    options = ("--rate", "5/s", "--save", str(saved), "--set", "target.timeouts={total: 500ms, idle: 500ms}")
    with ScriptedServer(Script(reply=reply)) as server:
        done = sizewise_in_process("run", server.url, "-d", "{}", *options)
        assert len(server.received_ns) == 1
    assert done.returncode == 3, done.stderr
    assert hint in done.stderr
    assert not saved.exists()


def test_closed_port_exits_with_3(sizewise_in_process: SizewiseInProcess, profile: WriteProfile) -> None:
    done = sizewise_in_process("run", profile(f"http://127.0.0.1:{free_port()}"))
    assert done.returncode == 3
    assert "hint: Check that the server is running" in done.stderr


def test_unknown_host_exits_with_3(sizewise_in_process: SizewiseInProcess, profile: WriteProfile) -> None:
    done = sizewise_in_process("run", profile("http://no-such-host.invalid:8000/"))
    assert done.returncode == 3
    assert "no-such-host.invalid" in done.stderr


@pytest.mark.parametrize("status", [401, 403, 404])
def test_forbidden_or_missing_target_exits_with_3(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile, status: int
) -> None:
    with ScriptedServer(Script(reply=Reply(status=status))) as server:
        done = sizewise_in_process("run", profile(server.url))
    assert done.returncode == 3
    assert str(status) in done.stderr


@pytest.mark.parametrize(
    ("target", "requests"),
    [
        ("{{protocol: openai-chat, url: {url}/v1, model: m}}\nworkload: {{prompts: {{input_tokens: 8}}}}", 1),
        ("{{protocol: oip, url: {url}, model: m}}", 1),
        ("{{protocol: torchserve, url: {url}, model: m}}\nworkload: {{body: [1]}}", 2),
    ],
)
def test_wrong_protocol_exits_with_3_before_load(
    sizewise_in_process: SizewiseInProcess, tmp_path: Path, target: str, requests: int
) -> None:
    path = tmp_path / "profile.yaml"
    with ScriptedServer(Script(reply=Reply(body=b"<html>hello</html>"))) as server:
        load = "load: {warmup: 1s, stages: [{rate: 5/s, duration: 1s}]}"
        path.write_text(f"sizewise: 1\nname: wrong\ntarget: {target.format(url=server.url.rstrip('/'))}\n{load}\n")
        done = sizewise_in_process("run", str(path))
        assert len(server.requests) == requests
    assert done.returncode == 3, done.stderr
    assert "cannot be measured" in done.stderr
    assert "target.protocol" in done.stderr
    assert "calibrate:" not in done.stderr


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(status=500), "http-5xx"),
        (Reply(status=429), "http-4xx"),
    ],
)
def test_target_without_successful_response_exits_with_10(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile, tmp_path: Path, reply: Reply, error: str
) -> None:
    with ScriptedServer(Script(reply=reply)) as server:
        done = sizewise_in_process.measured(profile(server.url), out=tmp_path / "run")
    assert done.returncode == 10, done.stderr
    (stage,) = sizewise_in_process.result(tmp_path / "run")["stages"]
    assert stage["errors"] == {error: 200}
    assert stage["completed"] == 0
    assert "no request to the target succeeded" in done.stderr


def test_missed_slo_exits_with_10(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile, tmp_path: Path
) -> None:
    with ScriptedServer(Script(delay_s=0.02)) as server:
        done = sizewise_in_process.measured(
            profile(server.url), "--set", "slo=[latency_ms.p95 < 5]", out=tmp_path / "run"
        )
    assert done.returncode == 10
    assert "p95 latency < 5 ms was not met in steady" in done.stderr


def test_overloaded_generator_exits_with_4_and_rows_are_stored(
    sizewise: Sizewise, profile: WriteProfile, tmp_path: Path
) -> None:
    with ScriptedServer(Script()) as server:
        path = profile(server.url, rate="200000/s", duration="0.1s")  # no worker sends so much
        done = sizewise("run", path, "--set", "load.workers=1", "--out", str(tmp_path / "run"))
    assert done.returncode == 4, done.stderr
    result = sizewise.result(tmp_path / "run")
    assert result["verdict"]["status"] == "INVALID"
    assert result["stages"][0]["completed"] > 0
    assert 'errors="0"' not in (tmp_path / "run" / "junit.xml").read_text()


def test_reached_request_limit_exits_with_5_and_rows_are_stored(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile, tmp_path: Path
) -> None:
    with ScriptedServer(Script()) as server:
        done = sizewise_in_process.measured(profile(server.url, extra="limits: {requests: 50}"), out=tmp_path / "run")
    assert done.returncode == 5, done.stderr
    assert sizewise_in_process.result(tmp_path / "run")["stages"][0]["completed"] == 50


def test_abort_rule_exits_with_5_and_rows_are_stored(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile, tmp_path: Path
) -> None:
    extra = 'options: {abort_when: "error_rate > 20% after 1s"}'
    with ScriptedServer(Script(reply=Reply(status=500))) as server:
        done = sizewise_in_process.measured(profile(server.url, duration="20s", extra=extra), out=tmp_path / "run")
    assert done.returncode == 5, done.stderr
    assert "exit 5: the abort rule error_rate > 20% after 1s was met in steady after 1" in done.stderr
    (stage,) = sizewise_in_process.result(tmp_path / "run")["stages"]
    assert 200 <= stage["errors"]["http-5xx"] < 1000
    assert "abort_when" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("choice", "code"), [pytest.param("pass", 0, marks=pytest.mark.soak), ("warn", 0), ("fail", 12)]
)
def test_inconclusive_gate_exits_as_configured(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile, tmp_path: Path, choice: str, code: int
) -> None:
    extra = 'gates: ["latency_ms.p99.9 < 500", "change(latency_ms.p95) < +8%"]'
    with ScriptedServer(Script()) as server:
        path = profile(server.url, extra=extra)
        done = sizewise_in_process.measured(path, "--on-inconclusive", choice, out=tmp_path / "run")
    assert done.returncode == code, done.stderr
    message = "change of p95 latency < 8 % is inconclusive: no baseline was specified"
    assert (f"warning: {message}; set a baseline with --baseline RUN" in done.stderr) is (choice == "warn")
    assert (f"also: {message}" in done.stderr) is (choice == "fail")
    assert {cause["code"] for cause in sizewise_in_process.result(tmp_path / "run")["exit"]["causes"]} == (
        {12} if code else set()
    )


def test_ctrl_c_exits_with_130_and_rows_are_stored(sizewise: Sizewise, profile: WriteProfile, tmp_path: Path) -> None:
    with ScriptedServer(Script()) as server:
        process = sizewise.start("run", profile(server.url, duration="60s"), "--out", str(tmp_path / "run"))
        wait_until(lambda: len(server.received_ns) > 102)  # with the preflight's request, and the look for metrics
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    result = sizewise.result(tmp_path / "run")
    assert result["stages"][0]["completed"] >= 100
    assert result["exit"]["causes"][0]["text"] == "the user stopped the run"


def test_sigterm_exits_with_143(sizewise: Sizewise, profile: WriteProfile) -> None:
    with ScriptedServer(Script()) as server:
        process = sizewise.start("run", profile(server.url, duration="60s"))
        wait_until(lambda: len(server.received_ns) > 10)
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 143


@pytest.mark.parametrize(
    ("line", "replaced_by", "reported"),
    [
        ("warmup: 0s", "warmpu: 0s", ("profile.yaml:9", "warmup")),
        ("rate: 200/s", "rate: 200", ("profile.yaml:10", "Use a value such as 200/s")),
        ("latency_ms.p95 < 500", "latencyms.p95 < 500", ("profile.yaml:11", "latency_ms")),
    ],
)
def test_typo_in_profile_exits_with_2_and_names_line_and_valid_name(
    sizewise_in_process: SizewiseInProcess,
    profile: WriteProfile,
    line: str,
    replaced_by: str,
    reported: tuple[str, str],
) -> None:
    path = Path(profile("http://127.0.0.1:1"))
    path.write_text(path.read_text().replace(line, replaced_by))
    done = sizewise_in_process("run", str(path))
    assert done.returncode == 2
    assert reported[0] in done.stderr
    assert reported[1] in done.stderr


def test_host_outside_private_networks_needs_permission(
    sizewise_in_process: SizewiseInProcess, profile: WriteProfile
) -> None:
    done = sizewise_in_process("run", profile("http://192.0.2.1:9/"))
    assert done.returncode == 2
    assert "target.permitted" in done.stderr


def test_run_on_unknown_hardware_succeeds_and_its_plan_exits_with_2(
    sizewise_with_gpu: Sizewise,
    sizewise_in_process: SizewiseInProcess,
    profile: WriteProfile,
    tmp_path: Path,
    simulated_nvml: Path,
) -> None:
    """On a machine with a GPU, a loopback target could be on either processor."""
    library = {"LD_LIBRARY_PATH": str(simulated_nvml)}
    with ScriptedServer(Script()) as server:
        done = sizewise_with_gpu.measured(profile(server.url, rate="20/s"), out=tmp_path / "run", **library)
    assert done.returncode == 0, done.stderr
    planned = sizewise_in_process("plan", str(tmp_path / "run"), "--set", "traffic.peak=900/s")
    assert planned.returncode == 2
    assert "target.hardware" in planned.stderr


def test_events_option_writes_only_events_to_stdout(sizewise: Sizewise, profile: WriteProfile) -> None:
    with ScriptedServer(Script()) as server:
        done = sizewise("run", profile(server.url), "--events", "-")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["type"] == "run_started"
    assert events[-1]["type"] == "run_finished"
    assert {"snapshot", "stage_finished"} <= {event["type"] for event in events}


def test_closed_events_pipe_does_not_end_run(sizewise: Sizewise, profile: WriteProfile, tmp_path: Path) -> None:
    with ScriptedServer(Script()) as server:
        process = sizewise.start("run", profile(server.url), "--events", "-", "--out", str(tmp_path / "run"))
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.wait(60)
        assert process.stderr is not None
        process.stderr.close()
    assert process.returncode in (0, 4)  # 4: the machine was busy
    assert sizewise.result(tmp_path / "run")["stages"][0]["completed"] == 200
