"""What pages ask of the window and tell it, so that no page knows another."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.formatting import sentence

PageKey = Literal["home", "run", "live", "results", "compare", "plan", "library"]
LaunchKind = Literal["run", "pairs", "resume"]
"""`pairs`: two profiles measured in turns, by `compare --measure`. `resume`: a run that was cut short is continued."""
Severity = Literal["news", "warning", "error"]


class Notice(msgspec.Struct, frozen=True):
    """One sentence of what happened, one of why, one of what to do next; `details` are to be copied."""

    severity: Severity
    what: str
    why: str | None = None
    next_step: str | None = None
    details: str | None = None


class Launch(msgspec.Struct, frozen=True):
    """An engine to start: `arguments` of `sizewise` but for --out, which is `directory`; of pairs it is
    --record, and a run that is resumed needs none."""

    arguments: tuple[str, ...]
    directory: Path
    name: str
    kind: LaunchKind = "run"


class Navigation(QObject):
    """Each signal is a wish; the window, or the page that it concerns, fulfils it."""

    page_wanted = Signal(str)
    """A PageKey."""
    kind_wanted = Signal(str)
    """"local" or "endpoint": Run begins a profile of that kind. Told after `page_wanted`, so that Run is there."""
    launch_wanted = Signal(object)
    """A Launch: start its engine, and watch it."""
    run_watched = Signal(object)
    """The Path of a run that goes on: Live shows it."""
    run_opened = Signal(object)
    """The Path of a run that has ended, whole or cut short: Results shows it."""
    pairs_watched = Signal(object)
    """The Path of pairs that are measured, or were: Compare shows how they go, and their runs."""
    moment_wanted = Signal(float)
    """Seconds from the start of the run that Results shows."""
    comparison_wanted = Signal(object)
    """A tuple of Paths of runs, the baseline first."""
    plan_wanted = Signal(object)
    """A tuple of sources of a plan, as `sizewise plan` takes them: Paths."""
    profile_opened = Signal(object)
    """The Path of a profile: Run edits it."""
    model_opened = Signal(object)
    """The Path of an .onnx file: Run makes a local run of it."""
    prices_opened = Signal(object)
    """The Path of a price list: Plan takes it over its catalogue."""
    library_changed = Signal()
    """Runs came, went, or were labelled."""
    trust_shown = Signal(str, str, str)
    """Of the run that a page shows now: VALID, WARN or INVALID, why, and the PageKey where it is explained."""
    told = Signal(object)
    """A Notice."""

    def tell(self, severity: Severity, what: str, why: str | None = None, next_step: str | None = None) -> None:
        self.told.emit(Notice(severity, what, why, next_step))

    def tell_error(self, error: Exception) -> None:
        """In two lines, as the command line does; what is a bug of ours has its traceback to copy."""
        self.told.emit(notice_of(error))


def notice_of(error: Exception) -> Notice:
    import traceback

    from app.errors import SizewiseError

    if isinstance(error, SizewiseError):
        return Notice("error", sentence(str(error)), None, error.hint)
    details = "".join(traceback.format_exception(error))
    return Notice("error", f"{type(error).__name__}: {error}", "This is a bug in Sizewise.", "Report it.", details)
