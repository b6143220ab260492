"""Job queue that measures only one run at a time on this machine, because concurrent runs would
disturb each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace
from PySide6.QtCore import QObject, QSettings, Signal

from app.gui.background import submit
from app.gui.navigation import Launch, LaunchKind
from loadgen.decoding import decode_json

if TYPE_CHECKING:
    from app.analysis.run_progress import RunProgress
    from app.gui.engine.watch import EngineWatch
    from app.records.events import Event

JobState = Literal["waiting", "running", "finished"]
_WAITING_KEY = "jobs/waiting"
_POLL_MS = 500
_MAX_FINISHED_JOBS = 20
_START_TIMEOUT_S = 60.0
"""Time, in seconds, after which a load generator that has not written any event is considered
failed."""


class Job(msgspec.Struct, frozen=True):
    """A queued, running or finished job.

    `status` and `message` describe how the job ended; `status` is VALID, WARN, INVALID, the name of
    an exit code, "lost" or "not started". `last_duration_s` is the duration of the last run with
    the same name, in seconds.
    """

    number: int
    launch: Launch
    state: JobState = "waiting"
    start_ns: int = 0
    progress: RunProgress | None = None
    last_duration_s: float | None = None
    status: str = ""
    message: str = ""
    duration_s: float = 0.0

    @property
    def is_started_elsewhere(self) -> bool:
        """Whether the run was started by another window or in a terminal, and is only tracked
        here."""
        return not self.launch.arguments

    @property
    def measured_directory(self) -> Path:
        """Directory of the run that is being measured. For A/B pairs, this is the directory of the
        current run as soon as the pairs have reported the run, and the directory of the pairs until
        then."""
        pair_run = None if self.progress is None else self.progress.pair_run
        return self.launch.directory if pair_run is None else Path(pair_run.directory)

    @property
    def eta_s(self) -> float | None:
        """Estimated remaining time in seconds. None if the remaining time is unknown, for example
        because the run already takes longer than the last run of the same name."""
        from app.analysis.run_progress import estimate_remaining_s

        if self.state != "running" or self.progress is None:
            return None
        return estimate_remaining_s(self.progress, self.progress.at_ns or 0, self.last_duration_s)


class JobQueue(QObject):
    """Queue of jobs, which are measured one at a time.

    The owner of the load generator processes starts a process when `launch_next` is emitted, and
    calls `report_launch_failure` if the start fails. The queue reads the progress of each run from
    the directory of the run.
    """

    changed = Signal()
    launch_next = Signal(object)
    """Signal that is emitted with the `Launch` to start immediately."""
    job_ended = Signal(object)
    """Signal that is emitted with the `Job` that has ended."""

    def __init__(
        self, settings: QSettings, parent: QObject | None = None, now_ns: Callable[[], int] = perf_counter_ns
    ) -> None:
        super().__init__(parent)
        self._settings, self._now_ns = settings, now_ns
        self._last_job_number = 0
        self._jobs: list[Job] = []
        self._watch: EngineWatch | None = None
        self.is_paused = False
        self.offered_launches = _load_waiting_launches(settings)
        """Launches that were waiting when the previous window closed. `queue_offered_launches` adds
        them to the queue; `discard_offered_launches` discards them."""

    @property
    def running_job(self) -> Job | None:
        return next((job for job in self._jobs if job.state == "running"), None)

    @property
    def waiting_jobs(self) -> tuple[Job, ...]:
        return tuple(job for job in self._jobs if job.state == "waiting")

    @property
    def finished_jobs(self) -> tuple[Job, ...]:
        """Finished jobs, most recent first."""
        return tuple(job for job in reversed(self._jobs) if job.state == "finished")

    def add(self, launch: Launch) -> None:
        """Queue a launch. The launch starts immediately if no job is running and the queue is not
        paused."""
        self._jobs.append(self._create_job(launch))
        self._launch_next_waiting()

    def watch(self, directory: Path, name: str, kind: LaunchKind = "run") -> None:
        """Track a run that was started elsewhere. Waiting jobs start only after the run has ended.

        The call has no effect if the run is already running or waiting in the queue. If another job
        is running, the run is tracked after that job, unless it has ended.
        """
        from app.storage.run_states import find_run_state

        active_jobs = [job for job in self._jobs if job.state != "finished"]
        if any(directory in (job.launch.directory, job.measured_directory) for job in active_jobs):
            return
        if self.running_job is None or find_run_state(directory) == "running":
            self._jobs.append(self._create_job(Launch((), directory, name, kind)))
            self._launch_next_waiting()

    def report_launch_failure(self, directory: Path, message: str) -> None:
        job = self.running_job
        if job is not None and job.launch.directory == directory:
            self._end(job, "not started", message)

    def set_paused(self, is_paused: bool) -> None:
        """Pause or resume the launching of waiting jobs. The running job is not affected."""
        self.is_paused = is_paused
        self._launch_next_waiting()

    def move(self, number: int, offset: int) -> None:
        """Move a waiting job by `offset` positions: -1 is up, 1 is down."""
        waiting_jobs = list(self.waiting_jobs)
        indices = [index for index, job in enumerate(waiting_jobs) if job.number == number]
        target = indices[0] + offset if indices else -1
        if 0 <= target < len(waiting_jobs):
            waiting_jobs.insert(target, waiting_jobs.pop(indices[0]))
            self._jobs = [job for job in self._jobs if job.state != "waiting"] + waiting_jobs
            self._store_waiting_launches()

    def remove(self, number: int) -> Callable[[], None] | None:
        """Remove a waiting job, and return a function that restores the job at its previous
        position. Return None if no such job is waiting."""
        indices = [index for index, job in enumerate(self._jobs) if job.number == number and job.state == "waiting"]
        if not indices:
            return None
        job = self._jobs.pop(indices[0])
        self._store_waiting_launches()

        def restore() -> None:
            self._jobs.insert(indices[0], job)
            self._launch_next_waiting()

        return restore

    def queue_offered_launches(self) -> None:
        offered_launches, self.offered_launches = self.offered_launches, ()
        for launch in offered_launches:
            self._jobs.append(self._create_job(launch))
        self._launch_next_waiting()

    def discard_offered_launches(self) -> None:
        self.offered_launches = ()
        self._store_waiting_launches()

    def _create_job(self, launch: Launch) -> Job:
        self._last_job_number += 1
        return Job(self._last_job_number, launch)

    def _launch_next_waiting(self) -> None:
        """Begin the next waiting job if no job is running. A run that was started elsewhere comes
        first, even if the queue is paused, because it is being measured already."""
        jobs = () if self.running_job is not None else self.waiting_jobs
        next_job = next((job for job in jobs if job.is_started_elsewhere or not self.is_paused), None)
        next_job = next((job for job in jobs if job.is_started_elsewhere), next_job)
        if next_job is not None:
            self._begin(next_job)
        self._store_waiting_launches()
        if next_job is not None and not next_job.is_started_elsewhere:
            self.launch_next.emit(next_job.launch)

    def _begin(self, job: Job) -> None:
        from app.gui.engine.watch import EngineWatch

        self._replace_job(replace(job, state="running", start_ns=self._now_ns()))
        watch = self._watch = EngineWatch(
            job.launch.directory,
            parent=self,
            clock=lambda: self._now_ns() / 1e9,
            startup_timeout_s=_START_TIMEOUT_S,
            poll_ms=_POLL_MS,
            has_telemetry=False,
        )
        watch.received.connect(self._on_event)
        watch.slice_finished.connect(self._on_slice_finished)
        watch.finished.connect(self._on_finished)
        watch.process_lost.connect(self._on_lost)
        watch.start()
        self._read_last_duration(job.number, job.launch.name)

    def _read_last_duration(self, number: int, name: str) -> None:
        submit(self, lambda: (number, _last_duration_s(name)), self._set_last_duration, _ignore_error)

    def _set_last_duration(self, result: tuple[int, float | None]) -> None:
        job = self.running_job
        if job is not None and job.number == result[0]:
            self._replace_job(replace(job, last_duration_s=result[1]))
            self.changed.emit()

    def _on_event(self, event: Event) -> None:
        from app.analysis.run_progress import RunProgress, advance_progress

        job = self.running_job
        if job is not None:
            self._replace_job(replace(job, progress=advance_progress(job.progress or RunProgress(), event)))

    def _on_slice_finished(self, _: int) -> None:
        job = self.running_job
        if job is None:
            return
        progress = job.progress
        if progress is not None and progress.pair_run is not None and progress.at_ns is not None:
            # A/B pairs report no events while one of their runs is measured
            progress = replace(progress, at_ns=max(progress.at_ns, self._now_ns()))
        self._replace_job(self._with_reported_name(replace(job, progress=progress)))
        self.changed.emit()

    def _with_reported_name(self, job: Job) -> Job:
        """Rename a job that was started elsewhere to the name that the run reports."""
        name = None if job.progress is None else job.progress.name
        if not job.is_started_elsewhere or name is None or name == job.launch.name:
            return job
        self._read_last_duration(job.number, name)
        return replace(job, launch=replace(job.launch, name=name))

    def _on_finished(self, _: int, message: str) -> None:
        job = self.running_job
        if job is not None and job.progress is not None and job.progress.finished is not None:
            self._end(job, job.progress.finished.status, message)

    def _on_lost(self) -> None:
        job = self.running_job
        if job is not None and job.progress is None:
            self._end(job, "not started", "The benchmark process did not report any progress for one minute.")
        elif job is not None:
            self._end(job, "lost", "The benchmark process ended unexpectedly.")

    def _end(self, job: Job, status: str, message: str) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
            watch.deleteLater()
        reported_duration_s = 0.0 if job.progress is None else job.progress.elapsed_s
        duration_s = reported_duration_s or (self._now_ns() - job.start_ns) / 1e9
        ended_job = replace(job, state="finished", status=status, message=message, duration_s=duration_s)
        self._jobs = [other_job for other_job in self._jobs if other_job.number != job.number] + [ended_job]
        dropped_numbers = {other_job.number for other_job in self.finished_jobs[_MAX_FINISHED_JOBS:]}
        self._jobs = [other_job for other_job in self._jobs if other_job.number not in dropped_numbers]
        self.job_ended.emit(ended_job)
        self._launch_next_waiting()

    def _replace_job(self, job: Job) -> None:
        self._jobs = [job if queued_job.number == job.number else queued_job for queued_job in self._jobs]

    def _store_waiting_launches(self) -> None:
        own_jobs = [job for job in self.waiting_jobs if not job.is_started_elsewhere]
        launches = (*self.offered_launches, *(job.launch for job in own_jobs))
        self._settings.setValue(_WAITING_KEY, msgspec.json.encode(launches, enc_hook=str).decode())
        self.changed.emit()


def _load_waiting_launches(settings: QSettings) -> tuple[Launch, ...]:
    try:
        launches = decode_json(str(settings.value(_WAITING_KEY, "[]")))
        return msgspec.convert(launches, tuple[Launch, ...], dec_hook=lambda value_type, value: value_type(value))
    except msgspec.DecodeError:  # written by a different version of Sizewise
        return ()


def _last_duration_s(name: str) -> float | None:
    from app.storage.run_states import find_last_duration_s

    return find_last_duration_s(name)


def _ignore_error(_: Exception) -> None:
    """Ignore a failure to read the duration of the last run, which only improves the estimate of
    the remaining time."""
