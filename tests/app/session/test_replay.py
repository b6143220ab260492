"""A killed and resumed run is a single run: it has each stage once, and earlier measurements are unchanged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from app.errors import DamagedFileError, UsageError
from app.records.events import RunFinished, StageFinished
from app.records.result import Result
from app.session.interruption import Interruption
from app.session.run import run
from app.session.spec import LimitSpec, RunSpec
from app.storage.resuming import read_interrupted_run, reopen_run
from app.storage.run_directory import EVENTS, REQUESTS, RESULT, SPEC, TELEMETRY, StoredRun
from app.storage.streams import find_stage_spans
from loadgen.records import REQUEST_SCHEMA
from tests.fakes.bench import SERVICE_S
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad
from tests.fakes.session_dependencies import fake_dependencies
from tests.fakes.stored_runs import SEARCHED, STAGES, rewrite_journal, stored_run, truncate_run
from tests.tiers import first_in_unit_tier

WARMED = msgspec.structs.replace(STAGES, warmup_s=3.0)


def resume(stored: StoredRun, spec: RunSpec = STAGES) -> Result:
    """Resume the run in a new session on the same machine, a minute after its last event."""
    clock = FakeClock(stored.events()[-1].at_ns + 60_000_000_000)
    interrupted = read_interrupted_run(stored)
    with reopen_run(stored, interrupted) as store:
        load = ScriptedLoad(clock, service_s=SERVICE_S)
        result = run(
            spec, fake_dependencies(clock, load, store), store.append_event, Interruption(), interrupted
        ).result
        store.append_event(RunFinished(clock.now_ns, result.verdict.status, result.exit.code))
    return result


@pytest.fixture(scope="module")
def uncut_run(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    return stored_run(tmp_path_factory.mktemp("uncut") / "run")


@pytest.fixture(scope="module")
def uncut(uncut_run: StoredRun) -> Result:
    return uncut_run.complete_result


@pytest.fixture
def stored(uncut_run: StoredRun, tmp_path: Path) -> StoredRun:
    """Return a copy of the uncut run, to be cut."""
    return StoredRun(shutil.copytree(uncut_run.directory, tmp_path / "run"))


@pytest.mark.parametrize(("complete_stages", "torn_bytes"), [(1, 0), (1, 5), (2, 0), (2, 4_000)])
def test_killed_run_resumes_after_its_last_complete_stage(
    uncut: Result, stored: StoredRun, tmp_path: Path, complete_stages: int, torn_bytes: int
) -> None:
    truncate_run(stored, complete_stages)
    rows, events = tmp_path / "run" / REQUESTS, tmp_path / "run" / EVENTS
    spans, _ = find_stage_spans(rows, REQUEST_SCHEMA)
    rows.write_bytes(rows.read_bytes()[: spans[complete_stages][1] - torn_bytes])
    events.write_bytes(events.read_bytes()[: -torn_bytes or None])
    rewrite_journal(tmp_path / "run")
    before = rows.read_bytes()[: spans[complete_stages - 1][1]]
    result = resume(stored)
    assert rows.read_bytes().startswith(before)
    table = stored.requests().to_pandas()
    assert not table.duplicated(["stage", "index"]).any()
    assert [event.index for event in stored.events() if isinstance(event, StageFinished)] == [0, 1, 2]
    assert result.stages[:complete_stages] == uncut.stages[:complete_stages]
    assert [(stage.name, stage.completed) for stage in result.stages] == [
        (stage.name, stage.completed) for stage in uncut.stages
    ]
    assert result.max_rate is not None
    assert uncut.max_rate is not None
    assert result.max_rate.per_s == uncut.max_rate.per_s
    (check,) = [check for check in result.validity if check.id == "resumed_run"]
    assert str(check.value).startswith(f"after {complete_stages} stage")
    assert any("was interrupted and resumed" in note for note in result.notes)
    assert result.clock.monotonic_start_ns == uncut.clock.monotonic_start_ns
    assert result.clock.duration_s > uncut.clock.duration_s
    assert stored.is_complete


@pytest.mark.parametrize("complete_stages", first_in_unit_tier([5, 2]))
def test_killed_rate_search_resumes_with_the_same_stages_and_max_rate(tmp_path: Path, complete_stages: int) -> None:
    stored = stored_run(tmp_path / "run", SEARCHED)
    uncut = stored.complete_result
    result = resume(truncate_run(stored, complete_stages), SEARCHED)
    assert [stage.name for stage in result.stages] == [stage.name for stage in uncut.stages]
    assert result.max_rate == uncut.max_rate


def test_run_can_be_resumed_twice_and_warms_up_each_time(tmp_path: Path) -> None:
    stored = stored_run(tmp_path / "run", WARMED)
    names = [stage.name for stage in stored.complete_result.stages]
    assert names == ["warm-up"] * 3 + ["low", "middle", "high"]
    resume(truncate_run(stored, 4), WARMED)
    result = resume(truncate_run(stored, 8), WARMED)
    assert [stage.name for stage in result.stages] == [
        *["warm-up"] * 3, "low", *["warm-up"] * 3, "middle", *["warm-up"] * 3, "high",
    ]  # fmt: skip


def test_duration_limit_includes_the_time_before_the_interruption_but_not_the_gap(stored: StoredRun) -> None:
    limited = msgspec.structs.replace(STAGES, limits=LimitSpec(duration_s=50.0))
    result = resume(truncate_run(stored, 1), limited)
    high = result.stages[-1]
    assert high.name == "high"
    assert high.window.end_ns - high.window.start_ns < 15e9
    assert result.exit.code == 5


def test_stage_stopped_by_a_signal_is_measured_again_on_resume(stored: StoredRun, tmp_path: Path) -> None:
    lines = (tmp_path / "run" / EVENTS).read_bytes().splitlines()
    finished = msgspec.json.decode(lines[-1], type=RunFinished)
    high = next(event for event in reversed(stored.events()) if isinstance(event, StageFinished))
    stopped = msgspec.structs.replace(high, data=msgspec.structs.replace(high.data, stopped_early=True))
    ended = msgspec.structs.replace(finished, exit_code=130)
    cut = [msgspec.json.encode(stopped) if b'"stage_finished"' in line and b'"index":2' in line else line
           for line in lines[:-1]]  # fmt: skip
    (tmp_path / "run" / EVENTS).write_bytes(b"\n".join([*cut, msgspec.json.encode(ended), b""]))
    result = resume(stored)
    assert [stage.name for stage in result.stages] == ["low", "middle", "high"]
    assert "2 stages" in str(next(check.value for check in result.validity if check.id == "resumed_run"))


def test_damage_after_the_last_complete_stage_is_discarded_on_resume(
    uncut: Result, stored: StoredRun, tmp_path: Path
) -> None:
    """Simulates a loss of power: data on the disk at the end of the stage remain."""
    truncate_run(stored, 1)
    content = bytearray((tmp_path / "run" / REQUESTS).read_bytes())
    content[-100] ^= 1
    (tmp_path / "run" / REQUESTS).write_bytes(content)
    assert [(sample.path, sample.problem) for sample in stored.damage] == [(REQUESTS, "changed")]
    result = resume(stored)
    assert result.stages[0] == uncut.stages[0]
    assert [(sample.name, sample.completed) for sample in result.stages] == [
        (sample.name, sample.completed) for sample in uncut.stages
    ]
    assert stored.damage == ()
    assert stored.unverified_files == ()


@pytest.mark.parametrize("name", [REQUESTS, TELEMETRY, SPEC, EVENTS])
def test_run_with_damaged_measurements_is_not_resumed(stored: StoredRun, tmp_path: Path, name: str) -> None:
    truncate_run(stored, 1)
    content = bytearray((tmp_path / "run" / name).read_bytes())
    content[len(content) // 10] ^= 1
    (tmp_path / "run" / name).write_bytes(content)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(DamagedFileError, match=f"is DAMAGED: {name} was changed"):
        read_interrupted_run(stored)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before


def test_run_that_cannot_be_resumed_is_rejected_with_the_reason(stored: StoredRun, tmp_path: Path) -> None:
    early = StoredRun(shutil.copytree(stored.directory, tmp_path / "early"))
    with pytest.raises(UsageError, match="is complete"):
        read_interrupted_run(stored)
    (tmp_path / "run" / RESULT).rename(tmp_path / "aside")
    with pytest.raises(UsageError, match=r"ended, so there is nothing to resume, but its result\.json is missing"):
        read_interrupted_run(stored)
    (tmp_path / "aside").rename(tmp_path / "run" / RESULT)
    other = msgspec.structs.replace(STAGES, stages=STAGES.stages[1:])
    with pytest.raises(UsageError, match="stage low does not match stage middle of the profile"):
        resume(truncate_run(stored, 1), other)
    assert not (tmp_path / "run" / RESULT).exists()
    os.utime(tmp_path / "run" / EVENTS, (1.0, 1.0))
    with pytest.raises(UsageError, match="the machine and its monotonic clock were restarted"):
        read_interrupted_run(stored)
    with pytest.raises(UsageError, match="was interrupted before a stage was complete"):
        read_interrupted_run(truncate_run(early, 0))
