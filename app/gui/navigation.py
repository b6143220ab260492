"""Signals between the pages and the window, so that no page depends on any other page."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.formatting import sentence

PageKey = Literal["home", "run", "live", "results", "compare", "plan", "library"]
LaunchKind = Literal["run", "pairs", "resume"]
"""Kind of launch. `run`: a single run. `pairs`: A/B pairs of two profiles, measured by
`compare --measure`. `resume`: continuation of an interrupted run."""
Severity = Literal["news", "warning", "error"]


class Notice(msgspec.Struct, frozen=True):
    """Notice to the user: what happened, why, and what to do next, in one sentence each. `details`
    is text to copy, such as a traceback. `page` is the page that the notice points to: the notice
    is not shown on that page."""

    severity: Severity
    summary: str
    reason: str | None = None
    next_step: str | None = None
    details: str | None = None
    page: PageKey | None = None


class Launch(msgspec.Struct, frozen=True):
    """Load generator process to start.

    `arguments` are the arguments of `sizewise`. They lack `--out` (or `--record` for pairs), which
    is set to `directory` when the process starts. A resumed run needs neither option.
    """

    arguments: tuple[str, ...]
    directory: Path
    name: str
    kind: LaunchKind = "run"


class Navigation(QObject):
    """Signals that pages emit as requests. Each request is handled by the window or by another
    page."""

    page_requested = Signal(str)
    """Request to show the page with this `PageKey`."""
    new_profile_requested = Signal(str)
    """Request for a new profile of kind "local" or "endpoint" on the Run page. The signal is
    emitted after `page_requested`, so that the Run page exists."""
    launch_requested = Signal(object)
    """Request to start and watch the load generator of this `Launch`."""
    watch_run_requested = Signal(object)
    """Request to show the run in progress in this directory (`Path`) on the Live page."""
    open_run_requested = Signal(object)
    """Request to show the finished or interrupted run in this directory (`Path`) on the Results
    page."""
    watch_pairs_requested = Signal(object)
    """Request to show the progress and the runs of the A/B pairs in this directory (`Path`) on the
    Compare page. The A/B pairs may be in progress or finished."""
    show_time_requested = Signal(float)
    """Request to show this time, in seconds from the start of the run, on the Results page."""
    comparison_requested = Signal(object)
    """Request to compare the runs in these directories (tuple of `Path`). The first run is the
    baseline."""
    plan_requested = Signal(object)
    """Request for a plan from these sources (tuple of `Path`), as accepted by `sizewise plan`."""
    plan_inputs_requested = Signal(object)
    """Request for a plan with the sources and settings of this `PlanRequest`."""
    open_profile_requested = Signal(object)
    """Request to edit this profile (`Path`) on the Run page."""
    repeat_profile_requested = Signal(object)
    """Request to open this profile of a run (`Path`) on the Run page, and to start it."""
    open_model_requested = Signal(object)
    """Request for a new local profile for this .onnx file (`Path`) on the Run page."""
    open_prices_requested = Signal(object)
    """Request to add this price list (`Path`) to the catalog of the Plan page."""
    library_changed = Signal()
    """Signal that is emitted when runs were added, deleted or labeled."""
    validity_changed = Signal(str, str, str)
    """Signal that is emitted with the validity of the run that a page shows: verdict (VALID, WARN
    or INVALID), reason, and `PageKey` of the page that explains the verdict."""
    notice_emitted = Signal(object)
    """Signal that is emitted with a `Notice` to show in the window."""

    def notify(
        self,
        severity: Severity,
        summary: str,
        reason: str | None = None,
        next_step: str | None = None,
        page: PageKey | None = None,
    ) -> None:
        self.notice_emitted.emit(Notice(severity, summary, reason, next_step, page=page))

    def notify_error(self, error: Exception) -> None:
        """Show an error with its hint, as the command line does. An unexpected exception is
        reported as a bug, with its traceback to copy."""
        self.notice_emitted.emit(build_error_notice(error))


def build_error_notice(error: Exception) -> Notice:
    import traceback

    from app.errors import SizewiseError

    if isinstance(error, SizewiseError):
        return Notice("error", sentence(str(error)), None, error.hint)
    details = "".join(traceback.format_exception(error))
    return Notice(
        "error",
        f"{type(error).__name__}: {error}",
        "This is a bug in Sizewise.",
        "Copy the details into a bug report.",
        details,
    )
