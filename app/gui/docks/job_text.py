"""One-line texts about a job: its name and outcome, its phase and its time. All functions are
pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.gui.docks.job_queue import Job
from app.gui.formatting import format_elapsed, shorten

if TYPE_CHECKING:
    from app.records.events import PairRunStarted


def format_job(job: Job) -> str:
    """Format a job as one line of a list."""
    name = shorten(job.launch.name)
    if job.state != "finished":
        return name
    text = f"{name}: {job.status}, {format_elapsed(job.duration_s)}"
    return f"{text}. {shorten(job.message)}" if job.message else text


def format_phase(job: Job) -> str:
    """Format the current phase of a running job as one line."""
    progress = job.progress
    if progress is None:
        return "Starting benchmark…"
    if progress.pair_run is not None:
        return format_pair_run(progress.pair_run)
    activity = progress.stage.name if progress.stage is not None else progress.message or progress.phase
    if progress.variant is not None:
        activity = progress.variant.variant.label
    if progress.total:
        position = min(progress.completed + 1, progress.total)
        return f"{shorten(activity)}, {position} of {progress.total}"
    return shorten(activity)


def format_pair_run(pair_run: PairRunStarted) -> str:
    return f"Pair {pair_run.pair} of {pair_run.pairs}: measuring {pair_run.side}"


def format_job_time(job: Job) -> str:
    """Format the elapsed time and the estimated remaining time of a job as one line."""
    elapsed_s = 0.0 if job.progress is None else job.progress.elapsed_s
    remaining_s = job.eta_s
    if remaining_s is None:
        return f"{format_elapsed(elapsed_s)} elapsed"
    return f"{format_elapsed(elapsed_s)} elapsed, about {format_elapsed(remaining_s)} left"


def compute_done_percent(job: Job) -> int | None:
    """Return the progress of a job in percent, or None if the remaining time is unknown."""
    from app.analysis.run_progress import compute_done_share

    share = None if job.progress is None else compute_done_share(job.progress.elapsed_s, job.eta_s)
    return None if share is None else round(100 * share)
