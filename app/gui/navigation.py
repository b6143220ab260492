"""Signals between the pages and the window, so that no page depends on another."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.formatting import sentence

PageKey = Literal["home", "run", "live", "results", "compare", "plan", "library"]
LaunchKind = Literal["run", "pairs", "resume"]
"""Kind of launch: `run` is one run, `pairs` two profiles measured alternately by `compare --measure`, and `resume`
continues an interrupted run."""
Severity = Literal["news", "warning", "error"]


class Notice(msgspec.Struct, frozen=True):
    """A message: what happened, why, and what to do next, in one sentence each. `details` is text to copy, such as a
    traceback."""

    severity: Severity
    summary: str
    reason: str | None = None
    next_step: str | None = None
    details: str | None = None


class Launch(msgspec.Struct, frozen=True):
    """An engine process to start.

    `arguments` are those of `sizewise` without `--out` (`--record` for pairs), which is set to `directory`; a resumed
    run needs neither.
    """

    arguments: tuple[str, ...]
    directory: Path
    name: str
    kind: LaunchKind = "run"


class Navigation(QObject):
    """Requests of the pages as signals. The window or the page concerned handles each of them."""

    page_requested = Signal(str)
    """Requests that the page with this `PageKey` is shown."""
    new_profile_requested = Signal(str)
    """Requests a new profile of the kind "local" or "endpoint" on the Run page. Emitted after `page_requested`, so that
    the Run page exists."""
    launch_requested = Signal(object)
    """Requests that the engine of this `Launch` is started and watched."""
    watch_run_requested = Signal(object)
    """Requests that the Live page shows the running run in this directory (`Path`)."""
    open_run_requested = Signal(object)
    """Requests that the Results page shows the finished or interrupted run in this directory (`Path`)."""
    watch_pairs_requested = Signal(object)
    """Requests that the Compare page shows the progress and the runs of the A/B pairs in this directory (`Path`),
    running or finished."""
    show_time_requested = Signal(float)
    """Requests that the Results page shows this time, in seconds from the start of its run."""
    comparison_requested = Signal(object)
    """Requests a comparison of these run directories (tuple of `Path`), the baseline first."""
    plan_requested = Signal(object)
    """Requests a plan from these sources (tuple of `Path`), the same as the arguments of `sizewise plan`."""
    open_profile_requested = Signal(object)
    """Requests that the Run page edits this profile (`Path`)."""
    open_model_requested = Signal(object)
    """Requests a new local profile for this .onnx file (`Path`) on the Run page."""
    open_prices_requested = Signal(object)
    """Requests that the Plan page loads this price list (`Path`) over its catalog."""
    library_changed = Signal()
    """Emitted when runs were added, deleted or labeled."""
    validity_changed = Signal(str, str, str)
    """Validity of the run that a page shows: verdict (VALID, WARN or INVALID), reason, and `PageKey` of the page that
    explains it."""
    notice_emitted = Signal(object)
    """Emits a `Notice` to show in the window."""

    def notify(self, severity: Severity, summary: str, reason: str | None = None, next_step: str | None = None) -> None:
        self.notice_emitted.emit(Notice(severity, summary, reason, next_step))

    def notify_error(self, error: Exception) -> None:
        """Show an error as two lines, as the command line does. An unexpected exception is shown as a bug, with its
        traceback to copy."""
        self.notice_emitted.emit(error_notice(error))


def error_notice(error: Exception) -> Notice:
    import traceback

    from app.errors import SizewiseError

    if isinstance(error, SizewiseError):
        return Notice("error", sentence(str(error)), None, error.hint)
    details = "".join(traceback.format_exception(error))
    return Notice("error", f"{type(error).__name__}: {error}", "This is a bug in Sizewise.", "Report it.", details)
