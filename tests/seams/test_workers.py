"""A load of two workers on this machine: one schedule, one result, listening only on loopback, no process left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import sizewise as notebook
from loadgen.process import LoadProcess
from loadgen.records import Endpoint, OpenArrivals, StageLoad, StagePlan
from loadgen.reference.scripted import Script, ScriptedServer
from loadgen.workloads import HttpWorkload
from tests.fakes.processes import free_port, is_running
from tests.fakes.program import Sizewise, wait_until
from tests.fakes.sockets import family_of, listening_of

pytestmark = pytest.mark.process

WriteProfile = Callable[..., str]
FAKES = Path(__file__).parents[1] / "fakes"
POISSON = "load.stages.0.arrivals=poisson"
TWO_STAGES = (
    "load.stages=[{name: first, arrivals: constant, rate: 200/s, duration: 30s}, "
    "{name: second, arrivals: constant, rate: 100/s, duration: 1s}]"
)


def offsets_ns(rows: pd.DataFrame) -> dict[int, int]:
    """When each request was scheduled, relative to the first, by its index in the schedule."""
    return dict(zip(rows["index"], rows["scheduled_ns"] - rows["scheduled_ns"].min(), strict=True))


def run_single_worker(url: str) -> pd.DataFrame:
    """The rows of the profile's stage, with its seed."""
    plan = StagePlan(0, "steady", StageLoad(OpenArrivals("poisson", ((0.0, 200.0),)), 1.5), seed=7_000)
    batches: list[pa.RecordBatch] = []
    with LoadProcess() as load:
        load.configure(Endpoint((url,)), HttpWorkload())
        load.run_stage(plan, batches.append, lambda _: None, lambda _: True)
    rows: pd.DataFrame = pa.Table.from_batches(batches).to_pandas()
    return rows


def has_received(server: ScriptedServer, count: int) -> bool:
    return len(server.received_ns) > count


def workers_of(engine: subprocess.Popen[str]) -> list[int]:
    """The worker processes, without their master."""
    return [pid for pid in family_of(engine.pid) if "--join" in command_of(pid)]


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def ended_ns(run: Path, stage: int) -> int:
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return next(
        int(event["at_ns"]) for event in events if event["type"] == "stage_finished" and event["index"] == stage
    )


def check(stage: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in stage["checks"] if row["id"] == name)


@pytest.fixture(scope="module")
def wall_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that shifts the wall clock of the process that loads it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.fail("no C compiler (cc) for the wall clock: run tests/install-system-libraries")
    library = tmp_path_factory.mktemp("clock") / "wall_clock.so"
    source = FAKES / "wall_clock.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def test_two_workers_send_schedule_of_one_worker_and_listen_only_on_loopback(
    sizewise: Sizewise, profile: WriteProfile, tmp_path: Path
) -> None:
    with ScriptedServer(Script(delay_s=0.002)) as server:
        path = profile(server.url, duration="1.5s")
        rows_of_single_worker = run_single_worker(server.url)
        before = len(server.received_ns)
        run = sizewise.start("run", path, "--set", POISSON, "--workers", "2", "--out", str(tmp_path / "run"))
        wait_until(lambda: len(server.received_ns) > before + 20)
        places = listening_of(family_of(run.pid))
        stdout, stderr = run.communicate(timeout=60)
    assert run.returncode in (0, 4), stderr  # 4: the machine was busy
    assert {place.rpartition(":")[0] for place in places} == {"127.0.0.1"}
    requests = notebook.open_run(tmp_path / "run").requests
    assert offsets_ns(requests) == offsets_ns(rows_of_single_worker)
    assert np.array_equal(requests["worker"], requests["index"] % 2)
    (stage,) = sizewise.result(tmp_path / "run")["stages"]
    assert (check(stage, "workers")["value"], check(stage, "worker_clocks")["value"]) == ("2 of 2", "one clock")
    assert sum(worker["sent"] for worker in stage["workers"]) == len(requests)
    assert "1 on " in stdout
    assert "The load was sent by 2 workers on" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.soak  # tests/loadgen/master/test_main kills a worker, and asserts the same limit, every time
@pytest.mark.usefixtures("unforked")  # it finds the workers by their command lines
def test_killed_worker_invalidates_stage_and_other_worker_sends_next_stage(
    sizewise: Sizewise, profile: WriteProfile, tmp_path: Path
) -> None:
    with ScriptedServer(Script()) as server:
        path = profile(server.url)
        run = sizewise.start("run", path, "--set", TWO_STAGES, "--workers", "2", "--out", str(tmp_path / "run"))
        wait_until(lambda: len(server.received_ns) > 20)
        os.kill(workers_of(run)[0], signal.SIGKILL)
        killed_ns = time.perf_counter_ns()
        _, stderr = run.communicate(timeout=60)
    assert run.returncode == 4, stderr
    assert ended_ns(tmp_path / "run", 0) - killed_ns < 3e9
    first, second = sizewise.result(tmp_path / "run")["stages"]
    assert check(first, "workers")["verdict"] == "INVALID"
    assert "half of the load was not sent from then on" in check(first, "workers")["hint"]
    assert (check(second, "workers")["value"], second["completed"]) == ("1 of 1", 100)


@pytest.mark.timing
@pytest.mark.usefixtures("unforked")  # the process that forks children is one, too
def test_ctrl_c_ends_all_processes_of_distributed_run(
    sizewise: Sizewise, profile: WriteProfile, tmp_path: Path
) -> None:
    with ScriptedServer(Script()) as server:
        run = sizewise.start(
            "run", profile(server.url, duration="60s"), "--workers", "2", "--out", str(tmp_path / "run")
        )
        wait_until(lambda: len(server.received_ns) > 20)
        family = family_of(run.pid)
        assert len(family) >= 4, "the engine, the master and two workers"
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    assert run.returncode == 130
    wait_until(lambda: not any(map(is_running, family)), within_s=5)


@pytest.mark.timing
@pytest.mark.usefixtures("unforked")  # it finds the workers by their command lines
def test_ctrl_c_ends_run_without_workers_and_worker_without_master(
    sizewise: Sizewise, profile: WriteProfile, tmp_path: Path
) -> None:
    """Both sides have the wrong port, and stop at Ctrl+C."""
    path = profile("http://10.255.255.1:9/")
    token = {"SIZEWISE_TOKEN": "a secret of many letters"}
    bind = ("--remote-workers", "1", "--bind", f"127.0.0.1:{free_port()}")
    run = sizewise.start("run", path, *bind, "--out", str(tmp_path / "run"), **token)
    worker = sizewise.start("worker", "--master", f"127.0.0.1:{free_port()}", "--workers", "2", **token)
    assert run.stderr is not None
    for line in run.stderr:
        if "waiting for 1 worker at 127.0.0.1" in line:
            break
    wait_until(lambda: len(workers_of(worker)) == 2)
    families = family_of(run.pid) | family_of(worker.pid)
    for process in (run, worker):
        process.send_signal(signal.SIGINT)
    interrupted_s = time.monotonic()
    worker.communicate(timeout=60)
    assert time.monotonic() - interrupted_s < 2
    run.communicate(timeout=60)
    assert (run.returncode, worker.returncode) == (130, 130)
    wait_until(lambda: not any(map(is_running, families)), within_s=2)


@pytest.mark.soak  # tests/loadgen/worker/test_master_worker sets the clock of a worker every time
def test_wall_clock_step_of_one_hour_does_not_change_run(
    sizewise: Sizewise, profile: WriteProfile, tmp_path: Path, wall_clock: Path
) -> None:
    """The clock is set back before the run ends: a run whose clocks differ has a warning, since it may have paused."""
    step = tmp_path / "step"
    step.write_text("0")
    with ScriptedServer(Script(delay_s=0.002)) as server:
        run = sizewise.start(
            "run", profile(server.url, duration="2.5s"), "--workers", "2", "--out", str(tmp_path / "run"),
            LD_PRELOAD=str(wall_clock), WALL_CLOCK_STEP=str(step),
        )  # fmt: skip
        for count, seconds in ((100, "3600"), (220, "-3600"), (340, "0")):
            wait_until(partial(has_received, server, count))
            step.write_text(seconds)
        _, stderr = run.communicate(timeout=60)
    assert run.returncode in (0, 4), stderr  # 4: the machine was busy
    result = sizewise.result(tmp_path / "run")
    (stage,) = result["stages"]
    assert stage["completed"] == 500
    assert check(stage, "workers")["value"] == "2 of 2"
    requests = notebook.open_run(tmp_path / "run").requests
    assert offsets_ns(requests) == {index: index * 5_000_000 for index in range(500)}
    assert (
        next(validity_check for validity_check in result["validity"] if validity_check["id"] == "clock")["verdict"]
        == "VALID"
    )
    assert stage["metrics"]["service_ms"]["p50"]["value"] < 50
