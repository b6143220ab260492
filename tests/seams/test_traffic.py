"""Every form of traffic by the program: the requested load is the load that a server with fixed delays received."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

import sizewise as notebook
from loadgen.reference.script import Script
from loadgen.reference.scripted import ScriptedServer
from tests.fakes.program import Sizewise

pytestmark = pytest.mark.timing

TRACE_S = sorted([*np.linspace(0, 1, 50), *np.linspace(1.2, 1.3, 100)])
PROFILE = """sizewise: 1
name: traffic
target: {protocol: http, url: "URL"}
workload: {method: POST, body: {a: 1}}
load:
  warmup: 0.6s
  stages:
    - {name: ten, concurrency: 10, duration: 2s}
    - {name: half, rate: 50% of ten, arrivals: constant, duration: 1s}
    - {name: spike, duration: 3s, arrivals: constant, spike: {base: 50/s, peak: 400/s, at: 1s, for: 1s}}
    - {name: ramp, duration: 2s, arrivals: constant, ramp: {from: 50/s, to: 150/s}, lead_in: 1s}
    - {name: replay, trace: trace.csv}
slo: ["error_rate < 10%"]
"""


class TrafficRun(msgspec.Struct, frozen=True):
    """One run with all forms of traffic: each response takes 50 ms at any concurrency."""

    result: dict[str, Any]
    rows: pd.DataFrame
    reported: str
    received_ns: npt.NDArray[np.int64]

    def stage(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = next(stage for stage in self.result["stages"] if stage["name"] == name)
        return record

    def received_s(self, name: str) -> npt.NDArray[np.float64]:
        """When requests of the stage reached the server, from the stage's start."""
        start_ns, end_ns = (self.stage(name)["window"][edge] for edge in ("start_ns", "end_ns"))
        inside = (self.received_ns >= start_ns) & (self.received_ns < end_ns + 200_000_000)
        return np.asarray((self.received_ns[inside] - start_ns) / 1e9)


@pytest.fixture(scope="module")
def traffic_run(calibrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> TrafficRun:
    folder = tmp_path_factory.mktemp("traffic")
    (folder / "trace.csv").write_text("timestamp\n" + "".join(f"{time_s}\n" for time_s in TRACE_S))
    sizewise = Sizewise(calibrated_home, folder, draws=False)
    with ScriptedServer(Script(delay_s=0.05)) as server:
        (folder / "profile.yaml").write_text(PROFILE.replace("URL", server.url))
        done = sizewise("run", "profile.yaml", "--out", "run")
        received_ns = np.array(server.received_ns)
    # a busy machine may make a measurement INVALID (4); the sent and reported load is tested anyway
    assert done.returncode in (0, 4), done.stderr
    rows = notebook.open_run(folder / "run").requests
    return TrafficRun(sizewise.result(folder / "run"), rows, done.stderr, received_ns)


def test_closed_loop_rate_is_limited_by_latency(traffic_run: TrafficRun) -> None:
    """Ten clients and 50 ms per response result in 200 req/s."""
    stage = traffic_run.stage("ten")
    assert (stage["kind"], stage["concurrency"], stage["scheduled_per_s"]) == ("closed", 10, None)
    assert stage["metrics"]["completed_per_s"]["value"]["value"] == pytest.approx(200, rel=0.15)


def test_relative_rate_is_share_of_measured_rate(traffic_run: TrafficRun) -> None:
    assert traffic_run.stage("half")["scheduled_per_s"] == pytest.approx(100, rel=0.15)
    assert "half: 50 % of the completed rate of ten is" in traffic_run.reported
    assert [evaluated["stage"] for evaluated in traffic_run.result["slo"]] == ["half"], (
        "only the steady stage is evaluated"
    )


def test_spike_sends_baseline_and_peak_rates(traffic_run: TrafficRun) -> None:
    stage = traffic_run.stage("spike")
    assert stage["kind"] == "spike"
    assert (stage["spike"]["baseline_per_s"], stage["spike"]["peak_per_s"]) == (50, 400)
    counts = np.histogram(traffic_run.received_s("spike"), bins=[0, 1, 2, 3])[0]
    assert counts == pytest.approx([50, 400, 50], abs=15)


def test_ramp_sends_lead_in_before_its_window(traffic_run: TrafficRun) -> None:
    stage = traffic_run.stage("ramp")
    assert (stage["kind"], stage["completed"]) == ("varying", pytest.approx(200, abs=3))
    index = [other_stage["name"] for other_stage in traffic_run.result["stages"]].index("ramp")
    rows = traffic_run.rows[traffic_run.rows["stage"] == index]
    assert (rows["scheduled_ns"] < stage["window"]["start_ns"]).sum() == pytest.approx(50, abs=2)


def test_trace_is_replayed_at_its_times(traffic_run: TrafficRun) -> None:
    stage = traffic_run.stage("replay")
    assert (stage["kind"], stage["completed"]) == ("varying", 150)
    index = [other_stage["name"] for other_stage in traffic_run.result["stages"]].index("replay")
    scheduled_ns = traffic_run.rows.loc[traffic_run.rows["stage"] == index, "scheduled_ns"]
    due_s = (np.sort(scheduled_ns) - stage["window"]["start_ns"]) / 1e9
    assert due_s == pytest.approx(np.array(TRACE_S), abs=1e-6)
    assert traffic_run.received_s("replay") == pytest.approx(np.array(TRACE_S), abs=0.15)


def test_closed_loop_warms_up_with_clients_of_first_stage(traffic_run: TrafficRun) -> None:
    windows = [stage for stage in traffic_run.result["stages"] if stage["kind"] == "warmup"]
    assert 3 <= len(windows) <= 6
    assert {window["concurrency"] for window in windows} == {10}


def test_streamed_responses_have_token_metrics(sizewise: Sizewise, tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"
    path.write_text(
        """sizewise: 1
name: chat
target: {protocol: openai-chat, scripted: {delay: 50ms, tokens: 100/s}}
workload: {prompts: {input_tokens: 20, output_tokens: 10}}
load: {warmup: 0s, stages: [{rate: 40/s, arrivals: constant, duration: 1s}]}
slo: ["ttft_ms.p95 < 500"]
"""
    )
    done = sizewise("run", str(path), "--out", str(tmp_path / "run"))
    assert done.returncode in (0, 4), done.stderr
    result = sizewise.result(tmp_path / "run")
    (stage,) = result["stages"]
    metrics = stage["metrics"]
    assert stage["completed"] == 40
    assert metrics["output_tokens"]["mean"]["value"] == pytest.approx(10)
    assert metrics["ttft_ms"]["p50"]["value"] == pytest.approx(50, abs=15)
    assert metrics["tpot_ms"]["p50"]["value"] == pytest.approx(10, abs=3)
    (ceiling,) = (check for check in stage["checks"] if check["id"] == "generator_capacity")
    assert 0 < ceiling["value"] < 0.5, "of what it can read as well as of what it can send"
