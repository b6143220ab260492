from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.docks.job_queue import Job, JobQueue
from app.gui.docks.job_text import compute_done_percent, format_job, format_job_time, format_phase
from app.gui.navigation import Launch
from app.gui.settings import open_settings
from app.records.events import Event, PhaseChanged, RunFinished, StageStarted
from app.storage.run_directory import EVENTS
from tests.fakes.clock import FakeClock
from tests.fakes.stored_pairs import StoredPairs
from tests.fakes.stored_runs import unfinished_run

SECOND = 1_000_000_000
GONE = 2**22 + 1


class RecordedQueue:
    """A job queue that records started launches and finished jobs. Its parent destroys it in the window's thread."""

    def __init__(self, owner: QWidget) -> None:
        self.clock = FakeClock(SECOND)
        self.queue = JobQueue(open_settings(), owner, self.clock)
        self.started: list[str] = []
        self.ended: list[Job] = []
        self.queue.launch_next.connect(self._start)
        self.queue.job_ended.connect(self.ended.append)

    def _start(self, launch: Launch) -> None:
        self.started.append(launch.name)

    def waiting(self) -> list[str]:
        return [job.launch.name for job in self.queue.waiting_jobs]


@pytest.fixture
def queues(owner: QWidget) -> RecordedQueue:
    return RecordedQueue(owner)


def make_launch(tmp_path: Path, name: str) -> Launch:
    return Launch(("run", f"{name}.yaml"), tmp_path / name, name)


def append_events(directory: Path, *events: Event) -> None:
    with (directory / EVENTS).open("ab") as file:
        for event in events:
            file.write(msgspec.json.encode(event) + b"\n")


def test_only_one_job_runs_at_a_time(queues: RecordedQueue, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        queues.queue.add(make_launch(tmp_path, name))
    assert queues.started == ["a"]
    assert queues.waiting() == ["b", "c"]


def test_next_queued_job_starts_when_the_running_job_has_finished(
    qtbot: QtBot, queues: RecordedQueue, tmp_path: Path
) -> None:
    queues.queue.add(make_launch(tmp_path, "a"))
    queues.queue.add(make_launch(tmp_path, "b"))
    unfinished_run(tmp_path / "a", os.getpid(), "a")
    append_events(tmp_path / "a", RunFinished(6 * SECOND, "WARN", 0, ("noisy",)))
    qtbot.waitUntil(lambda: queues.started == ["a", "b"])
    (job,) = queues.ended
    assert (job.status, job.message, job.duration_s) == ("WARN", "noisy", 5.0)
    assert format_job(job) == "a: WARN, 0:05. noisy"


def test_job_whose_process_has_ended_is_lost_and_the_next_job_starts(
    qtbot: QtBot, queues: RecordedQueue, tmp_path: Path
) -> None:
    queues.queue.add(make_launch(tmp_path, "a"))
    queues.queue.add(make_launch(tmp_path, "b"))
    unfinished_run(tmp_path / "a", GONE, "a")
    qtbot.waitUntil(lambda: queues.started == ["a", "b"])
    assert queues.ended[0].status == "lost"


def test_job_that_does_not_start_does_not_block_the_queue(qtbot: QtBot, queues: RecordedQueue, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        queues.queue.add(make_launch(tmp_path, name))
    queues.queue.report_launch_failure(tmp_path / "a", "no such program")
    assert queues.started == ["a", "b"]
    queues.clock.advance(61.0)
    qtbot.waitUntil(lambda: queues.started == ["a", "b", "c"])
    assert [job.status for job in queues.ended] == ["not started", "not started"]


def test_paused_queue_starts_no_job_until_it_is_resumed(queues: RecordedQueue, tmp_path: Path) -> None:
    queues.queue.set_paused(True)
    queues.queue.add(make_launch(tmp_path, "a"))
    assert queues.started == []
    queues.queue.set_paused(False)
    assert queues.started == ["a"]


def test_queued_jobs_are_reordered_removed_and_restored(queues: RecordedQueue, tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        queues.queue.add(make_launch(tmp_path, name))
    last_number = queues.queue.waiting_jobs[-1].number
    queues.queue.move(last_number, -1)
    assert queues.waiting() == ["b", "d", "c"]
    queues.queue.move(queues.queue.waiting_jobs[0].number, -1)
    assert queues.waiting() == ["b", "d", "c"]
    restore = queues.queue.remove(last_number)
    assert queues.waiting() == ["b", "c"]
    assert restore is not None
    restore()
    assert queues.waiting() == ["b", "d", "c"]
    running = queues.queue.running_job
    assert running is not None
    assert queues.queue.remove(running.number) is None


def test_queued_jobs_are_offered_to_the_next_window_and_not_started(
    owner: QWidget, queues: RecordedQueue, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        queues.queue.add(make_launch(tmp_path, name))
    next_window = RecordedQueue(owner)
    assert [offered_launch.name for offered_launch in next_window.queue.offered_launches] == ["b", "c"]
    assert next_window.started == []
    next_window.queue.queue_offered_launches()
    assert (next_window.started, next_window.waiting()) == (["b"], ["c"])
    assert next_window.queue.running_job is not None
    assert next_window.queue.running_job.launch == make_launch(tmp_path, "b")
    third_window = RecordedQueue(owner)
    third_window.queue.discard_offered_launches()
    assert RecordedQueue(owner).queue.offered_launches == ()


def test_unreadable_settings_offer_no_jobs(owner: QWidget) -> None:
    open_settings().setValue("jobs/waiting", "{nonsense")
    assert RecordedQueue(owner).queue.offered_launches == ()


def test_queued_job_starts_after_the_watched_run_has_finished(
    qtbot: QtBot, queues: RecordedQueue, tmp_path: Path
) -> None:
    unfinished_run(tmp_path / "elsewhere", os.getpid(), "elsewhere")
    queues.queue.watch(tmp_path / "elsewhere", "20261127-elsewhere")
    queues.queue.add(make_launch(tmp_path, "a"))
    qtbot.waitUntil(lambda: (job := queues.queue.running_job) is not None and job.launch.name == "elsewhere")
    assert queues.started == []
    append_events(tmp_path / "elsewhere", RunFinished(6 * SECOND, "VALID", 0))
    qtbot.waitUntil(lambda: queues.started == ["a"])


def test_job_progress_comes_from_its_events_and_the_last_run_of_the_same_name(
    qtbot: QtBot, queues: RecordedQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    last_run = unfinished_run(tmp_path / "runs" / "last", GONE, "a")
    append_events(last_run, RunFinished(41 * SECOND, "VALID", 0))
    queues.queue.add(make_launch(tmp_path, "a"))
    job = queues.queue.running_job
    assert job is not None
    assert format_phase(job) == "Starting benchmark…"
    unfinished_run(tmp_path / "a", os.getpid(), "a", [PhaseChanged(2 * SECOND, "search", "searching")])
    stage = StageStarted(11 * SECOND, 0, "probe 80 req/s", "probe", 1, 80.0, 1.0, 11 * SECOND)
    append_events(tmp_path / "a", stage)

    def has_progress() -> bool:
        job = queues.queue.running_job
        return job is not None and job.progress is not None and job.last_duration_s is not None

    qtbot.waitUntil(has_progress)
    job = queues.queue.running_job
    assert job is not None
    assert (format_phase(job), format_job_time(job)) == ("probe 80 req/s", "0:10 elapsed, about 0:30 left")
    assert compute_done_percent(job) == 25


def test_ab_pairs_are_one_job_with_progress_and_measured_directory(
    qtbot: QtBot, queues: RecordedQueue, tmp_path: Path
) -> None:
    written = StoredPairs()
    queues.queue.watch(written.directory, written.directory.name, "pairs")
    queues.queue.add(make_launch(tmp_path, "next"))
    written.start_run(1, "baseline", tmp_path / "first")
    queues.clock.now_ns = 31 * SECOND  # no event between two runs

    def job() -> Job:
        assert queues.queue.running_job is not None
        return queues.queue.running_job

    qtbot.waitUntil(lambda: job().measured_directory == tmp_path / "first")
    assert job().launch.name == "pairs of scoring"
    assert (format_phase(job()), format_job_time(job())) == ("Pair 1 of 2: measuring baseline", "0:30 elapsed")
    written.finish_run(1, "baseline", tmp_path / "first")
    written.start_run(1, "candidate", tmp_path / "second")
    qtbot.waitUntil(lambda: job().measured_directory == tmp_path / "second")
    assert format_job_time(job()) == "0:30 elapsed, about 0:50 left"
    written.end(11, "REGRESSION")
    qtbot.waitUntil(lambda: queues.started == ["next"])
    assert [(ended_job.launch.kind, ended_job.status) for ended_job in queues.ended] == [("pairs", "REGRESSION")]


def test_queued_ab_pairs_have_the_same_kind_in_the_next_window(
    owner: QWidget, queues: RecordedQueue, tmp_path: Path
) -> None:
    queues.queue.set_paused(True)
    waiting = Launch(("compare", "a", "b", "--measure"), tmp_path / "pairs", "pairs of a", "pairs")
    queues.queue.add(waiting)
    assert RecordedQueue(owner).queue.offered_launches == (waiting,)


def test_job_longer_than_the_last_run_has_no_estimate() -> None:
    from app.analysis.run_progress import RunProgress

    progress = RunProgress(started_ns=SECOND, at_ns=60 * SECOND, phase="search", message="searching")
    job = Job(1, Launch((), Path("a"), "a"), "running", progress=progress, last_duration_s=30.0)
    assert (job.eta_s, compute_done_percent(job), format_job_time(job)) == (None, None, "0:59 elapsed")
