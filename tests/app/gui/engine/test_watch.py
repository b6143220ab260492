from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from pytestqt.qtbot import QtBot

from app.gui.engine.watch import MAX_EVENTS_PER_SLICE, EngineWatch
from app.records.events import Event, NoteAdded
from app.storage.control import CONTROL
from app.storage.run_directory import EVENTS
from tests.fakes.live_runs import (
    ENDED_PID,
    run_finished,
    run_started,
    second_of_host,
    whole_run,
    write_events,
    write_telemetry,
)


class WatchedSignals:
    def __init__(self, watch: EngineWatch) -> None:
        self.events: list[Event] = []
        self.slices: list[int] = []
        self.batches = 0
        self.reported: list[object] = []
        watch.received.connect(self.events.append)
        watch.slice_finished.connect(self.slices.append)
        watch.telemetry_received.connect(self._count)
        watch.damage_detected.connect(lambda: self.reported.append("damaged"))
        watch.finished.connect(lambda code, message: self.reported.append((code, message, len(self.events))))
        watch.process_lost.connect(lambda: self.reported.append("lost"))
        watch.failed.connect(self.reported.append)

    def _count(self, _: object) -> None:
        self.batches += 1


def test_engine_watch_emits_many_events_in_order_in_bounded_slices(tmp_path: Path, qtbot: QtBot) -> None:
    notes = [NoteAdded(number, "x") for number in range(50_000)]
    write_events(tmp_path, [run_started(pid=os.getpid()), *notes, run_finished(1, 4, "because")])
    watch = EngineWatch(tmp_path, clock=lambda: 0.0)
    signals = WatchedSignals(watch)
    with qtbot.waitSignal(watch.finished):
        watch.start()
    assert len(signals.events) == 50_002
    assert [event.at_ns for event in signals.events[1:-1]] == list(range(50_000)), "in their order"
    assert max(signals.slices) == MAX_EVENTS_PER_SLICE
    assert len(signals.slices) >= 50_002 / MAX_EVENTS_PER_SLICE
    assert signals.reported == [(4, "because", 50_002)], "the end is reported last"
    assert not watch.is_watching


def test_engine_watch_slice_ends_at_its_time_limit(tmp_path: Path, qtbot: QtBot) -> None:
    """Each reading of the clock of the test advances it by 1 ms."""
    write_events(
        tmp_path, [run_started(pid=os.getpid()), *[NoteAdded(number, "x") for number in range(60)], run_finished(1)]
    )
    ticks = iter(range(10**9))
    watch = EngineWatch(tmp_path, clock=lambda: next(ticks) / 1000)
    signals = WatchedSignals(watch)
    with qtbot.waitSignal(watch.finished):
        watch.start()
    assert len(signals.events) == 62
    assert max(signals.slices) <= 4


def test_every_engine_watch_slice_includes_telemetry(tmp_path: Path, qtbot: QtBot) -> None:
    """Each reading of the clock of the test advances it by 1 ms."""
    write_events(
        tmp_path, [run_started(pid=os.getpid()), *[NoteAdded(number, "x") for number in range(60)], run_finished(1)]
    )
    write_telemetry(tmp_path, map(second_of_host, range(20)))
    ticks = iter(range(10**9))
    watch = EngineWatch(tmp_path, clock=lambda: next(ticks) / 1000)
    signals, batches = WatchedSignals(watch), []
    watch.slice_finished.connect(lambda _: batches.append(signals.batches))
    with qtbot.waitSignal(watch.finished):
        watch.start()
    assert (len(signals.events), signals.batches) == (62, 20)
    assert batches[:20] == list(range(1, 21)), "one batch per slice whose time limit the events used up"


def test_partial_event_line_is_completed_before_it_is_emitted(tmp_path: Path, qtbot: QtBot) -> None:
    (tmp_path / CONTROL).mkdir()
    write_events(tmp_path, [run_started(pid=os.getpid())])
    watch = EngineWatch(tmp_path)
    signals = WatchedSignals(watch)
    watch.start()
    qtbot.waitUntil(lambda: len(signals.events) == 1)
    line = msgspec.json.encode(NoteAdded(7, "whole")) + b"\n"
    with (tmp_path / EVENTS).open("ab", buffering=0) as file:
        file.write(line[:9])
        with qtbot.waitSignal(watch.slice_finished):
            pass
        assert len(signals.events) == 1
        file.write(line[9:])
    qtbot.waitUntil(lambda: len(signals.events) == 2)
    watch.stop()
    assert signals.reported == []


def test_damaged_event_line_is_reported_once_and_later_events_are_emitted(tmp_path: Path, qtbot: QtBot) -> None:
    write_events(tmp_path, [run_started()])
    with (tmp_path / EVENTS).open("ab") as file:
        file.write(b"{}\nnothing\n")
    write_events(tmp_path, [run_finished(1)])
    watch = EngineWatch(tmp_path)
    signals = WatchedSignals(watch)
    with qtbot.waitSignal(watch.finished):
        watch.start()
    assert signals.reported == ["damaged", (0, "", 2)]


@pytest.mark.parametrize("has_control", [True, False])
def test_lost_process_is_reported_after_its_events(tmp_path: Path, qtbot: QtBot, has_control: bool) -> None:
    if has_control:
        (tmp_path / CONTROL).mkdir()
    write_events(tmp_path, [run_started(pid=ENDED_PID if has_control else os.getpid()), NoteAdded(1, "x")])
    watch = EngineWatch(tmp_path)
    signals = WatchedSignals(watch)
    with qtbot.waitSignal(watch.process_lost):
        watch.start()
    assert (len(signals.events), signals.reported, watch.is_watching) == (2, ["lost"], False)


def test_process_whose_control_directory_appears_is_not_lost(tmp_path: Path, qtbot: QtBot) -> None:
    write_events(tmp_path, [run_started(pid=os.getpid())])
    watch = EngineWatch(tmp_path, clock=lambda: 0.0, poll_ms=1)
    signals = WatchedSignals(watch)
    watch.slice_finished.connect(lambda _: (tmp_path / CONTROL).mkdir() if len(signals.slices) == 2 else None)
    watch.start()
    qtbot.waitUntil(lambda: len(signals.slices) >= 4 or signals.reported != [])
    watch.stop()
    assert signals.reported == []


def test_all_telemetry_is_emitted_before_the_finished_signal(tmp_path: Path, qtbot: QtBot) -> None:
    write_events(tmp_path, whole_run())
    write_telemetry(tmp_path, map(second_of_host, range(30)))
    watch = EngineWatch(tmp_path)
    signals = WatchedSignals(watch)
    with qtbot.waitSignal(watch.finished):
        watch.start()
    assert signals.batches == 30


def test_stopped_engine_watch_emits_no_further_events(tmp_path: Path, qtbot: QtBot) -> None:
    write_events(tmp_path, [run_started(), *[NoteAdded(number, "x") for number in range(100)], run_finished(1)])
    watch = EngineWatch(tmp_path)
    signals = WatchedSignals(watch)
    watch.received.connect(watch.stop)
    with qtbot.waitSignal(watch.slice_finished):
        watch.start()
    assert len(signals.events) == 1
    assert not watch.is_watching
