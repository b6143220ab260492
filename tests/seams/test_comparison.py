"""A run compared with a baseline, and two profiles measured in A/B pairs, as processes."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from app.errors import ExitCode
from app.records.comparison import Comparison
from app.records.events import PairRunFinished, PairRunStarted
from app.storage.run_directory import StoredRun
from loadgen.reference.scripted import Script, ScriptedServer
from tests.fakes.processes import free_port
from tests.fakes.program import SizewiseInProcess, wait_until, write_profile

pytestmark = pytest.mark.process


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return tmp_path / "a", tmp_path / "b"


def test_regression_exits_with_11_in_result_text_and_html(
    sizewise_in_process: SizewiseInProcess, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    with ScriptedServer(Script(delay_s=0.01)) as fast, ScriptedServer(Script(delay_s=0.1)) as slow:
        before = sizewise_in_process.measured(write_profile(folders[0], fast.url), out=tmp_path / "before")
        assert before.returncode == 0, before.stderr
        baseline = str(tmp_path / "before" / "result.json")
        profile = write_profile(folders[1], slow.url)
        now = sizewise_in_process.measured(profile, "--baseline", baseline, out=tmp_path / "now")
    assert now.returncode == ExitCode.REGRESSION, now.stderr
    assert "exit 11: p50 latency in steady regressed" in now.stderr
    assert "Comparison REGRESSION" in now.stdout
    assert '<section id="comparison">' in (tmp_path / "now" / "report.html").read_text()
    compared = sizewise_in_process("compare", str(tmp_path / "before"), str(tmp_path / "now"), "--json")
    assert compared.returncode == ExitCode.REGRESSION
    assert json.loads(compared.stdout) == sizewise_in_process.result(tmp_path / "now")["comparison"]


def test_compare_measures_two_profiles_in_new_processes_and_stores_runs(
    sizewise_in_process: SizewiseInProcess, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    with ScriptedServer(Script(delay_s=0.01)) as fast, ScriptedServer(Script(delay_s=0.1)) as slow:
        # at a low rate, since a load worker that wakes seldom seldom waits for a core: an invalid run is repeated
        profiles = write_profile(folders[0], fast.url, rate="50/s"), write_profile(folders[1], slow.url, rate="50/s")
        record = tmp_path / "record"
        done = sizewise_in_process("compare", "--measure", *profiles, "--pairs", "1", "--json", "--record", str(record))
    assert done.returncode in (ExitCode.REGRESSION, ExitCode.INVALID), done.stderr
    if done.returncode == ExitCode.REGRESSION:  # a machine too busy to measure on says so
        comparison = msgspec.json.decode(done.stdout, type=Comparison)
        runs = {path.name for path in (sizewise_in_process.home / "runs").iterdir()}
        assert {*comparison.baseline, *comparison.candidate} <= runs
        assert json.loads((record / "comparison.json").read_text()) == json.loads(done.stdout)
        pair_events = [event for event in StoredRun(record).events() if isinstance(event, PairRunFinished)]
        assert [(pair_event.pair, pair_event.side) for pair_event in pair_events if pair_event.status != "INVALID"] == [
            (1, "baseline"),
            (1, "candidate"),
        ]
        assert {Path(pair_event.directory).name for pair_event in pair_events} <= runs
    finished = StoredRun(record).finished_event
    assert finished is not None
    assert finished.exit_code == done.returncode
    assert done.stderr.index("pair 1 of 1: baseline") < done.stderr.index("pair 1 of 1: candidate")


def test_stopped_comparison_exits_with_130_and_its_run_is_stored(
    sizewise_in_process: SizewiseInProcess, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    record = tmp_path / "record"
    with ScriptedServer(Script(delay_s=0.01)) as server:
        profile = write_profile(folders[0], server.url, rate="20/s", duration="60s")
        process = sizewise_in_process.start("compare", "--measure", profile, profile, "--record", str(record))
        try:
            wait_until(lambda: any('"snapshot"' in path.read_text() for path in events_of_runs(record)))
            assert sizewise_in_process("runs", "stop", str(record)).stdout.startswith("the run is stopping")
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == ExitCode.INTERRUPTED
    assert "the comparison was interrupted during a baseline run" in stderr
    assert sizewise_in_process("runs", "attach", str(record)).returncode == ExitCode.INTERRUPTED
    (run,) = (path.parent for path in events_of_runs(record))
    assert "the user stopped the run" in (run / "result.json").read_text()


def events_of_runs(record: Path) -> list[Path]:
    """The existing event files of the runs of a comparison."""
    if not (record / "events.jsonl").exists():
        return []
    started = (event for event in StoredRun(record).events() if isinstance(event, PairRunStarted))
    files = [Path(pair_event.directory) / "events.jsonl" for pair_event in started]
    return [path for path in files if path.exists()]


def test_unreachable_target_of_comparison_exits_with_3(
    sizewise_in_process: SizewiseInProcess, folders: tuple[Path, Path]
) -> None:
    gone = write_profile(folders[0], f"http://127.0.0.1:{free_port()}")
    done = sizewise_in_process("compare", "--measure", gone, gone)
    assert done.returncode == ExitCode.UNAVAILABLE
    assert "error: a baseline run exited with code 3" in done.stderr
    assert "Check that the server is running" in done.stderr
