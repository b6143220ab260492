"""One run at a time on this machine, since two would disturb each other: further ones wait their turn."""

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
_KEY = "jobs/waiting"
_LOOK_MS = 500
_MOST_FINISHED = 20
_PATIENCE_S = 60.0
"""An engine that has written nothing by then is not coming."""


class Job(msgspec.Struct, frozen=True):
    """`status` and `message` are of its end: VALID, WARN or INVALID, an exit code's name, or "lost". `usual_s` is what
    the last run of its name took."""

    number: int
    launch: Launch
    state: JobState = "waiting"
    began_ns: int = 0
    progress: RunProgress | None = None
    usual_s: float | None = None
    status: str = ""
    message: str = ""
    lasted_s: float = 0.0

    @property
    def measured(self) -> Path:
        """The directory of the run that measures: of pairs the one whose turn it is, once that is known."""
        turn = None if self.progress is None else self.progress.turn
        return self.launch.directory if turn is None else Path(turn.directory)

    @property
    def eta_s(self) -> float | None:
        """None where nobody can say. A run that takes longer than the last one has none either."""
        if self.state != "running" or self.progress is None:
            return None
        planned = self.progress.eta_s(self.progress.at_ns or 0)
        if planned is not None:
            return planned
        left = None if self.usual_s is None else self.usual_s - self.progress.elapsed_s
        return left if left is not None and left > 0 else None


class _Kept(msgspec.Struct, frozen=True):
    """A launch that waits, between two windows."""

    arguments: tuple[str, ...]
    directory: str
    name: str
    kind: LaunchKind = "run"


class JobQueue(QObject):
    """Whoever starts engines listens to `launch_next`, and calls `launch_failed` where that did not work; how the run
    goes, the queue reads from its directory."""

    changed = Signal()
    launch_next = Signal(object)
    """A Launch: its turn has come."""
    job_ended = Signal(object)
    """The Job."""

    def __init__(
        self, settings: QSettings, parent: QObject | None = None, now_ns: Callable[[], int] = perf_counter_ns
    ) -> None:
        super().__init__(parent)
        self._settings, self._now_ns = settings, now_ns
        self._number = 0
        self._jobs: list[Job] = []
        self._watch: EngineWatch | None = None
        self.is_paused = False
        self.offered = _kept(settings)
        """What waited when the last window closed: queued by `take_offered`, forgotten by `drop_offered`."""

    @property
    def running(self) -> Job | None:
        return next((job for job in self._jobs if job.state == "running"), None)

    @property
    def waiting(self) -> tuple[Job, ...]:
        return tuple(job for job in self._jobs if job.state == "waiting")

    @property
    def finished(self) -> tuple[Job, ...]:
        """The last one first."""
        return tuple(job for job in reversed(self._jobs) if job.state == "finished")

    def add(self, launch: Launch) -> None:
        """Started at once where nothing runs and the queue is not paused."""
        self._jobs.append(self._new(launch))
        self._go_on()

    def watch(self, directory: Path, name: str, kind: LaunchKind = "run") -> None:
        """A run that was started elsewhere goes on: jobs wait for it. Nothing happens where it is known, or another one
        runs here."""
        if self.running is None and not any(job.launch.directory == directory for job in self._jobs):
            self._jobs.append(self._new(Launch((), directory, name, kind)))
            self._begin(self._jobs[-1])
            self.changed.emit()

    def launch_failed(self, directory: Path, message: str) -> None:
        job = self.running
        if job is not None and job.launch.directory == directory:
            self._end(job, "not started", message)

    def pause(self, is_paused: bool) -> None:
        """What runs goes on; what waits waits."""
        self.is_paused = is_paused
        self._go_on()

    def move(self, number: int, by: int) -> None:
        """Up (-1) or down (1) among those that wait."""
        waiting = list(self.waiting)
        places = [place for place, job in enumerate(waiting) if job.number == number]
        target = places[0] + by if places else -1
        if 0 <= target < len(waiting):
            waiting.insert(target, waiting.pop(places[0]))
            self._jobs = [job for job in self._jobs if job.state != "waiting"] + waiting
            self._tell()

    def remove(self, number: int) -> Callable[[], None] | None:
        """What brings it back to its place; None where no such job waits."""
        places = [place for place, job in enumerate(self._jobs) if job.number == number and job.state == "waiting"]
        if not places:
            return None
        job = self._jobs.pop(places[0])
        self._tell()

        def bring_back() -> None:
            self._jobs.insert(places[0], job)
            self._go_on()

        return bring_back

    def take_offered(self) -> None:
        offered, self.offered = self.offered, ()
        for launch in offered:
            self._jobs.append(self._new(launch))
        self._go_on()

    def drop_offered(self) -> None:
        self.offered = ()
        self._tell()

    def _new(self, launch: Launch) -> Job:
        self._number += 1
        return Job(self._number, launch)

    def _go_on(self) -> None:
        waiting = self.waiting
        if waiting and self.running is None and not self.is_paused:
            self._begin(waiting[0])
            self._tell()
            self.launch_next.emit(waiting[0].launch)
        else:
            self._tell()

    def _begin(self, job: Job) -> None:
        from app.gui.engine.watch import EngineWatch

        self._put(replace(job, state="running", began_ns=self._now_ns()))
        watch = self._watch = EngineWatch(
            job.launch.directory,
            parent=self,
            clock=lambda: self._now_ns() / 1e9,
            patience_s=_PATIENCE_S,
            look_ms=_LOOK_MS,
            has_readings=False,
        )
        watch.received.connect(self._take)
        watch.drained.connect(self._drained)
        watch.finished.connect(self._finish)
        watch.lost.connect(self._lose)
        watch.start()
        self._ask_how_long(job.number, job.launch.name)

    def _ask_how_long(self, number: int, name: str) -> None:
        submit(self, lambda: (number, _usual_s(name)), self._take_usual, _no_matter)

    def _take_usual(self, found: tuple[int, float | None]) -> None:
        job = self.running
        if job is not None and job.number == found[0]:
            self._put(replace(job, usual_s=found[1]))
            self.changed.emit()

    def _take(self, event: Event) -> None:
        from app.analysis.run_progress import RunProgress, advanced

        job = self.running
        if job is not None:
            self._put(replace(job, progress=advanced(job.progress or RunProgress(), event)))

    def _drained(self, _: int) -> None:
        job = self.running
        if job is None:
            return
        progress = job.progress
        if progress is not None and progress.turn is not None and progress.at_ns is not None:
            # nothing is reported until the run whose turn it is has ended
            progress = replace(progress, at_ns=max(progress.at_ns, self._now_ns()))
        self._put(self._by_its_name(replace(job, progress=progress)))
        self.changed.emit()

    def _by_its_name(self, job: Job) -> Job:
        """A run that was started elsewhere says itself what it is called."""
        name = None if job.progress is None else job.progress.name
        if job.launch.arguments or name is None or name == job.launch.name:
            return job
        self._ask_how_long(job.number, name)
        return replace(job, launch=replace(job.launch, name=name))

    def _finish(self, _: int, message: str) -> None:
        job = self.running
        if job is not None and job.progress is not None and job.progress.finished is not None:
            self._end(job, job.progress.finished.status, message)

    def _lose(self) -> None:
        job = self.running
        if job is not None and job.progress is None:
            self._end(job, "not started", "Its engine has told of nothing for a minute.")
        elif job is not None:
            self._end(job, "lost", "Its engine is gone without telling of an end.")

    def _end(self, job: Job, status: str, message: str) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
            watch.deleteLater()
        told_s = 0.0 if job.progress is None else job.progress.elapsed_s
        lasted_s = told_s or (self._now_ns() - job.began_ns) / 1e9
        ended = replace(job, state="finished", status=status, message=message, lasted_s=lasted_s)
        self._jobs = [one for one in self._jobs if one.number != job.number] + [ended]
        dropped = {one.number for one in self.finished[_MOST_FINISHED:]}
        self._jobs = [one for one in self._jobs if one.number not in dropped]
        self.job_ended.emit(ended)
        self._go_on()

    def _put(self, job: Job) -> None:
        self._jobs = [job if one.number == job.number else one for one in self._jobs]

    def _tell(self) -> None:
        launches = (*self.offered, *(job.launch for job in self.waiting))
        kept = [_Kept(one.arguments, str(one.directory), one.name, one.kind) for one in launches]
        self._settings.setValue(_KEY, msgspec.json.encode(kept).decode())
        self.changed.emit()


def _kept(settings: QSettings) -> tuple[Launch, ...]:
    try:
        kept = decode_json(str(settings.value(_KEY, "[]")), list[_Kept])
    except msgspec.DecodeError:  # of another version
        return ()
    return tuple(Launch(one.arguments, Path(one.directory), one.name, one.kind) for one in kept)


def _usual_s(name: str) -> float | None:
    from app.storage.endings import last_lasted_s

    return last_lasted_s(name)


def _no_matter(_: Exception) -> None:
    """Without it there is no estimate."""
