"""Descriptions of a job in one or two lines. All functions are pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.gui.docks.job_queue import Job
from app.gui.docks.machine_format import shorten
from app.gui.formatting import elapsed

if TYPE_CHECKING:
    from app.records.events import PairRunStarted


def job_line(job: Job) -> str:
    """Format a job as one line of a list."""
    name = shorten(job.launch.name)
    if job.state != "finished":
        return name
    text = f"{name}: {job.status}, {elapsed(job.duration_s)}"
    return f"{text}. {shorten(job.message)}" if job.message else text


def phase_line(job: Job) -> str:
    """Format the current phase of a running job as one line."""
    progress = job.progress
    if progress is None:
        return "Starting benchmark…"
    if progress.pair_run is not None:
        return turn_line(progress.pair_run)
    activity = progress.stage.name if progress.stage is not None else progress.message or progress.phase
    if progress.variant is not None:
        activity = progress.variant.variant.label
    if progress.total:
        position = min(progress.completed + 1, progress.total)
        return f"{shorten(activity)}, {position} of {progress.total}"
    return shorten(activity)


def turn_line(turn: PairRunStarted) -> str:
    side = "baseline" if turn.side == "base" else "candidate"
    return f"Pair {turn.pair} of {turn.pairs}: measuring {side}"


def time_line(job: Job) -> str:
    """Format the elapsed time and the estimated remaining time of a job as one line."""
    done_s = 0.0 if job.progress is None else job.progress.elapsed_s
    left_s = job.eta_s
    if left_s is None:
        return f"{elapsed(done_s)} elapsed"
    return f"{elapsed(done_s)} elapsed, about {elapsed(left_s)} left"


def done_percent(job: Job) -> int | None:
    """Return the progress of a job in percent, or None if the remaining time is unknown."""
    left_s = job.eta_s
    if left_s is None or job.progress is None:
        return None
    done_s = job.progress.elapsed_s
    return round(100 * done_s / (done_s + left_s)) if done_s + left_s > 0 else None
