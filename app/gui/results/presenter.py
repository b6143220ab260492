"""Presenter of the Results page: opens a run in the background, and re-evaluates the run on
request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.background import Latest, submit
from app.gui.results.state import EvaluationRequest, ShownRun

if TYPE_CHECKING:
    from app.records.bundle import Labels

_DECIMALS = 2


class ResultsPresenter(QObject):
    """Opens and re-evaluates a run.

    `opened` is emitted when another run has been opened, `reevaluated` when the same run has been
    evaluated with a different SLO or time range, and `refused` with the error of a rejected
    request.
    """

    opening = Signal(object)
    opened = Signal(object)
    reevaluated = Signal(object)
    failed = Signal(object, object)
    refused = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.shown: ShownRun | None = None
        self._path: Path | None = None
        self._requested = EvaluationRequest()
        self._rescore: Latest[ShownRun] = Latest(self, self._on_rescored, self._on_refused)

    @property
    def is_busy(self) -> bool:
        return self._rescore.is_busy

    def open_run(self, path: Path) -> None:
        """Open a run. If several runs are opened in quick succession, only the last run is
        shown."""
        self._path, self.shown = path, None
        self._rescore.cancel()
        self.opening.emit(path)
        submit(self, lambda: _opened(path), self._opened, lambda error: self._on_failed(path, error))

    def request_slo(self, slo: tuple[str, ...] | None) -> None:
        if self.shown is not None:
            is_own = slo is None or slo == self.shown.own_slo
            self._request(msgspec.structs.replace(self._requested, slo=None if is_own else slo))

    def request_window(self, window_s: tuple[float, float] | None) -> None:
        """Select a time range, rounded to hundredths of a second as on the command line. None
        selects the whole run."""
        rounded = None if window_s is None else (round(max(0.0, window_s[0]), _DECIMALS), round(window_s[1], _DECIMALS))
        self._request(msgspec.structs.replace(self._requested, window_s=rounded))

    def reset(self) -> None:
        self._request(EvaluationRequest())

    def set_labels(self, labels: Labels) -> None:
        """Set the labels of the displayed run, which are also part of its report."""
        if self.shown is not None:
            self.shown = with_new_labels(self.shown, labels)

    def _request(self, request: EvaluationRequest) -> None:
        shown = self.shown
        if shown is None or request == self._requested:
            return
        self._requested = request
        self._rescore.request(lambda: _rescore(shown, request))

    def _opened(self, shown: ShownRun) -> None:
        if shown.directory == self._path:
            self.shown, self._requested = shown, EvaluationRequest()
            self.opened.emit(shown)

    def _on_failed(self, path: Path, error: Exception) -> None:
        if path == self._path:
            self.failed.emit(path, error)

    def _on_rescored(self, shown: ShownRun) -> None:
        if self.shown is not None and shown.opened is self.shown.opened:
            self.shown = with_new_labels(shown, self.shown.labels)
            self.reevaluated.emit(self.shown)

    def _on_refused(self, error: Exception) -> None:
        if self.shown is not None:
            self._requested = self.shown.request
            self.refused.emit(error)


def with_new_labels(shown: ShownRun, labels: Labels) -> ShownRun:
    from app.reporting.report import apply_labels

    if shown.labels == labels:
        return shown
    unverified = shown.opened.unverified
    own = apply_labels(shown.own_report, shown.opened.result, labels, unverified)
    report = own if shown.report is shown.own_report else apply_labels(shown.report, shown.result, labels, unverified)
    return msgspec.structs.replace(shown, own_report=own, report=report, labels=labels)


def _opened(path: Path) -> ShownRun:
    from app.reporting.opened import load_run
    from app.storage.labels import read_labels
    from app.storage.run_directory import StoredRun

    run = load_run(StoredRun(path), recover=True)
    report = run.report()
    return ShownRun(run, report, report, run.result, read_labels(path))


def _rescore(shown: ShownRun, request: EvaluationRequest) -> ShownRun:
    run = shown.opened
    if request.is_as_measured:
        return msgspec.structs.replace(shown, report=shown.own_report, result=run.result, request=request)
    result = run.rescore(request.slo, request.window_s)
    return msgspec.structs.replace(shown, report=run.report(result), result=result, request=request)
