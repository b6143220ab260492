"""Opens a run in the background, and judges it again as it is asked to: paths and wishes in, `Shown` out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.background import Latest, submit
from app.gui.results.state import Asked, Shown

if TYPE_CHECKING:
    from app.records.bundle import Labels

_DIGITS = 2


class ResultsPresenter(QObject):
    """`opened` tells of another run, `rescored` of the same one judged otherwise; `refused` of what cannot be asked."""

    opening = Signal(object)
    opened = Signal(object)
    rescored = Signal(object)
    failed = Signal(object, object)
    refused = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.shown: Shown | None = None
        self._path: Path | None = None
        self._wanted = Asked()
        self._again: Latest[Shown] = Latest(self, self._rescored, self._refused)

    @property
    def is_busy(self) -> bool:
        return self._again.is_busy

    def open_run(self, path: Path) -> None:
        """Of several opened one after the other the last is shown."""
        self._path, self.shown = path, None
        self._again.forget()
        self.opening.emit(path)
        submit(self, lambda: _opened(path), self._opened, lambda error: self._failed(path, error))

    def ask_slo(self, slo: tuple[str, ...] | None) -> None:
        if self.shown is not None:
            own = slo is None or slo == self.shown.own_slo
            self._ask(msgspec.structs.replace(self._wanted, slo=None if own else slo))

    def ask_window(self, window_s: tuple[float, float] | None) -> None:
        """To a hundredth of a second, as the command line is given it."""
        rounded = None if window_s is None else (round(max(0.0, window_s[0]), _DIGITS), round(window_s[1], _DIGITS))
        self._ask(msgspec.structs.replace(self._wanted, window_s=rounded))

    def as_measured(self) -> None:
        self._ask(Asked())

    def put_labels(self, labels: Labels) -> None:
        """What was said of the run changed, and nothing else; a report of it says that too."""
        if self.shown is not None:
            self.shown = relabelled(self.shown, labels)

    def _ask(self, asked: Asked) -> None:
        shown = self.shown
        if shown is None or asked == self._wanted:
            return
        self._wanted = asked
        self._again.ask(lambda: _again(shown, asked))

    def _opened(self, shown: Shown) -> None:
        if shown.directory == self._path:
            self.shown, self._wanted = shown, Asked()
            self.opened.emit(shown)

    def _failed(self, path: Path, error: Exception) -> None:
        if path == self._path:
            self.failed.emit(path, error)

    def _rescored(self, shown: Shown) -> None:
        if self.shown is not None and shown.opened is self.shown.opened:
            self.shown = relabelled(shown, self.shown.labels)
            self.rescored.emit(self.shown)

    def _refused(self, error: Exception) -> None:
        if self.shown is not None:
            self._wanted = self.shown.asked
            self.refused.emit(error)


def relabelled(shown: Shown, labels: Labels) -> Shown:
    from app.reporting.report import with_labels

    if shown.labels == labels:
        return shown
    unverified = shown.opened.unverified
    own = with_labels(shown.own, shown.opened.result, labels, unverified)
    report = own if shown.report is shown.own else with_labels(shown.report, shown.result, labels, unverified)
    return msgspec.structs.replace(shown, own=own, report=report, labels=labels)


def _opened(path: Path) -> Shown:
    from app.reporting.opened import open_facts
    from app.storage.labels import read_labels
    from app.storage.run_directory import StoredRun

    run = open_facts(StoredRun(path), recover=True)
    report = run.report()
    return Shown(run, report, report, run.result, read_labels(path))


def _again(shown: Shown, asked: Asked) -> Shown:
    run = shown.opened
    if asked.is_own:
        return msgspec.structs.replace(shown, report=shown.own, result=run.result, asked=asked)
    result = run.rescored(asked.slo, asked.window_s)
    return msgspec.structs.replace(shown, report=run.report(result), result=result, asked=asked)
