from __future__ import annotations

import shutil
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.errors import ExitCode, UsageError
from app.records.control import AddNote, ControlCommand, Extend, SetRate, StopRun
from app.records.events import NoteAdded, RateChanged, StageExtended, StageFinished
from app.session.spec import LimitSpec, RunSpec, StageSpec
from app.storage.control import CONTROL, send_command
from loadgen.records import ClosedArrivals, OpenArrivals, PreflightDone, Progress, StageLoad, TraceArrivals
from tests.fakes.bench import SEARCH, SPEC, Bench, poisson
from tests.fakes.load import ScriptedLoad


class CommandSender:
    """Sends its commands at the first progress of a stage and records the replies."""

    def __init__(self, directory: Path, *commands: ControlCommand) -> None:
        self._directory, self._commands = directory, list(commands)
        self.replies: list[str] = []

    def __call__(self, _: Progress | None = None) -> None:
        while self._commands:
            try:
                self.replies.append(send_command(self._directory, self._commands.pop(0)))
            except UsageError as error:
                self.replies.append(f"refused: {error}")


def test_user_note_is_an_event_and_in_the_result(bench: Bench) -> None:
    sender = CommandSender(bench.directory, AddNote("a fan\n\x1b[31m came on"))
    outcome = bench.run(SPEC, ScriptedLoad(bench.clock, on_progress=sender))
    assert sender.replies == ["noted"]
    assert [event.text for event in bench.reported(NoteAdded)] == ["a fan [31m came on"]
    assert outcome.result.notes == ("User note: a fan [31m came on",)


def test_number_of_user_notes_is_limited(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = CommandSender(bench.directory, *[AddNote(f"{n}") for n in range(3)])
    monkeypatch.setattr("app.session.control._MAX_NOTES", 2)
    outcome = bench.run(SPEC, ScriptedLoad(bench.clock, on_progress=sender))
    assert sender.replies[2].startswith("refused: the run already has the maximum of 2 notes")
    assert len(outcome.result.notes) == 2


def test_stop_commands_first_drain_then_cancel_and_never_exit_at_once(bench: Bench) -> None:
    sender = CommandSender(bench.directory, StopRun(), StopRun(), StopRun())
    load = ScriptedLoad(bench.clock, on_progress=sender)
    outcome = bench.run(SPEC, load)
    assert load.stops == [True, False]
    assert sender.replies[0] == "the run is stopping: in-flight requests may finish"
    assert sender.replies[1] == "the run is stopping: in-flight requests are canceled"
    assert outcome.result.exit.code == ExitCode.INTERRUPTED
    assert outcome.result.exit.causes[0].id == "interrupted"


def test_set_rate_command_changes_an_open_stage_and_is_reported(bench: Bench) -> None:
    sender = CommandSender(bench.directory, SetRate(150.0))
    outcome = bench.run(SPEC, ScriptedLoad(bench.clock, on_progress=sender))
    assert sender.replies == ["stage steady now runs at 150 req/s"]
    assert [(event.index, event.rate_per_s) for event in bench.reported(RateChanged)] == [(0, 150.0)]
    assert outcome.result.stages[0].kind == "varying"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            msgspec.structs.replace(SPEC, stages=(StageSpec("c", "closed", StageLoad(ClosedArrivals(2), 3.0)),)),
            "c, cannot be changed",
        ),
        (SEARCH, "cannot be changed"),
        (msgspec.structs.replace(SPEC, warmup_s=3.0), "warm-up, cannot be changed"),
        (
            msgspec.structs.replace(SPEC, stages=(StageSpec("s", "steady", StageLoad(poisson(1.0), 3600.0)),)),
            "would exceed",
        ),
    ],
)
def test_set_rate_command_is_rejected_where_the_rate_is_not_adjustable(
    bench: Bench, spec: RunSpec, message: str
) -> None:
    sender = CommandSender(bench.directory, SetRate(100_000.0), StopRun())
    bench.run(spec, ScriptedLoad(bench.clock, on_progress=sender))
    assert sender.replies[0].startswith("refused: ")
    assert message in sender.replies[0]
    assert bench.reported(RateChanged) == []


def test_set_rate_command_is_rejected_between_stages(bench: Bench) -> None:
    sender = CommandSender(bench.directory, SetRate(10.0))

    class Asking(ScriptedLoad):
        def preflight(self) -> PreflightDone:
            sender()
            return super().preflight()

    bench.run(SPEC, Asking(bench.clock))
    assert sender.replies == ["refused: no stage is running"]


def test_finished_run_leaves_no_control_files_or_thread(bench: Bench) -> None:
    bench.run(SPEC)
    assert not (bench.directory / CONTROL).exists()
    assert [thread.name for thread in threading.enumerate() if thread.name == "control"] == []


def test_extend_command_prolongs_steady_and_closed_stages_and_is_reported(bench: Bench) -> None:
    for arrivals, kind in ((poisson(100.0), "steady"), (ClosedArrivals(2), "closed")):
        bench.events.clear()
        sender = CommandSender(bench.directory, Extend(5.0), Extend(2.5))
        load = ScriptedLoad(bench.clock, on_progress=sender)
        stage = StageSpec("s", kind, StageLoad(arrivals, 10.0))  # type: ignore[arg-type]
        outcome = bench.run(msgspec.structs.replace(SPEC, stages=(stage,)), load)
        assert sender.replies == ["stage s was extended by 5 s to 15 s", "stage s was extended by 2.5 s to 17.5 s"]
        assert load.extended == [15.0, 17.5]
        extensions = [(event.index, event.by_s, event.duration_s) for event in bench.reported(StageExtended)]
        assert extensions == [(0, 5.0, 15.0), (0, 2.5, 17.5)]
        (finished,) = bench.reported(StageFinished)
        assert (finished.data.duration_s, finished.data.extended_s) == (17.5, 7.5)
        notes = [note for note in outcome.result.notes if "extended" in note]
        assert notes[0].startswith("The user changed the run ")
        assert notes[0].endswith(" s after the start: stage s was extended by 5 s to 15 s.")
        shutil.rmtree(bench.directory)


def test_duration_limit_applies_to_an_extended_stage(bench: Bench) -> None:
    sender = CommandSender(bench.directory, Extend(60.0))
    spec = msgspec.structs.replace(SPEC, limits=LimitSpec(duration_s=30.0))
    bench.run(spec, ScriptedLoad(bench.clock, on_progress=sender))
    assert sender.replies == ["stage steady was extended by 60 s to 70 s, but limits.duration ends the run earlier"]


CURVE = OpenArrivals("poisson", ((0.0, 50.0), (5.0, 100.0)))
TRACE = TraceArrivals(np.arange(0, 10**9, 10**7, dtype="<i8").tobytes())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SEARCH, "is set by the search"),
        (msgspec.structs.replace(SPEC, warmup_s=3.0), "is set by load.warmup"),
        (
            msgspec.structs.replace(SPEC, stages=(StageSpec("r", "varying", StageLoad(CURVE, 5.0)),)),
            "r, cannot be extended: it follows a rate curve",
        ),
        (
            msgspec.structs.replace(SPEC, stages=(StageSpec("t", "varying", StageLoad(TRACE, 5.0)),)),
            "t, cannot be extended: it replays a trace",
        ),
        (
            msgspec.structs.replace(SPEC, stages=(StageSpec("s", "steady", StageLoad(poisson(100.0), 0.75)),)),
            "is about to end",
        ),
        (
            msgspec.structs.replace(SPEC, stages=(StageSpec("s", "steady", StageLoad(poisson(600.0), 3.0)),)),
            "50,000,000 requests",
        ),
    ],
)
def test_extend_command_is_rejected_for_stages_with_a_fixed_end(bench: Bench, spec: RunSpec, message: str) -> None:
    sender = CommandSender(bench.directory, Extend(86_400.0), StopRun())
    load = ScriptedLoad(bench.clock, on_progress=sender)
    bench.run(spec, load)
    assert sender.replies[0].startswith("refused: ")
    assert message in sender.replies[0]
    assert load.extended == []
    assert bench.reported(StageExtended) == []


def test_extend_command_is_rejected_while_the_run_is_stopping(bench: Bench) -> None:
    sender = CommandSender(bench.directory, StopRun(), Extend(5.0))
    bench.run(SPEC, ScriptedLoad(bench.clock, on_progress=sender))
    assert sender.replies[1] == "refused: the current stage, steady, cannot be extended: it is about to end"
