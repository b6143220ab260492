"""Presenter of the Results page: opens a run in the background, and re-evaluates the run on
request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.background import LatestRunner, submit
from app.gui.engine.launch import read_reported_failure
from app.gui.formatting import shorten
from app.gui.results.state import DisplayedRun, EvaluationRequest

if TYPE_CHECKING:
    from app.records.bundle import Labels

_WINDOW_DECIMALS = 2
_MAX_FAILURE_CHARACTERS = 500


class ResultsPresenter(QObject):
    """Presenter that opens and re-evaluates a run.

    `opened` is emitted when another run has been opened, `reevaluated` when the displayed run has
    been re-evaluated with a different SLO or time range, and `rejected` with the error of a
    rejected re-evaluation.
    """

    opening = Signal(object)
    opened = Signal(object)
    reevaluated = Signal(object)
    failed = Signal(object, object)
    rejected = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.displayed_run: DisplayedRun | None = None
        self._path: Path | None = None
        self._requested_evaluation = EvaluationRequest()
        self._latest_evaluation: LatestRunner[DisplayedRun] = LatestRunner(
            self, self._on_reevaluated, self._on_rejected
        )

    @property
    def is_busy(self) -> bool:
        return self._latest_evaluation.is_busy

    def open_run(self, path: Path) -> None:
        """Open a run. If several runs are opened in quick succession, only the last run is
        shown."""
        self._path, self.displayed_run = path, None
        self._latest_evaluation.cancel()
        self.opening.emit(path)
        submit(self, lambda: _open_run(path), self._on_opened, lambda error: self._on_failed(path, error))

    def request_slo(self, slo: tuple[str, ...] | None) -> None:
        if self.displayed_run is not None:
            is_own_slo = slo is None or slo == self.displayed_run.own_slo
            self._request_evaluation(
                msgspec.structs.replace(self._requested_evaluation, slo=None if is_own_slo else slo)
            )

    def request_window(self, window_s: tuple[float, float] | None) -> None:
        """Re-evaluate the run for a time window in seconds, rounded to 0.01 s as on the command
        line. None selects the whole run."""
        rounded_window_s = (
            None
            if window_s is None
            else (round(max(0.0, window_s[0]), _WINDOW_DECIMALS), round(window_s[1], _WINDOW_DECIMALS))
        )
        self._request_evaluation(msgspec.structs.replace(self._requested_evaluation, window_s=rounded_window_s))

    def reset(self) -> None:
        self._request_evaluation(EvaluationRequest())

    def set_labels(self, labels: Labels) -> None:
        """Set the labels of the displayed run, which are also part of its report."""
        if self.displayed_run is not None:
            self.displayed_run = replace_labels(self.displayed_run, labels)

    def _request_evaluation(self, request: EvaluationRequest) -> None:
        displayed_run = self.displayed_run
        if displayed_run is None or request == self._requested_evaluation:
            return
        self._requested_evaluation = request
        self._latest_evaluation.request(lambda: _reevaluate(displayed_run, request))

    def _on_opened(self, displayed_run: DisplayedRun) -> None:
        if displayed_run.directory == self._path:
            self.displayed_run, self._requested_evaluation = displayed_run, EvaluationRequest()
            self.opened.emit(displayed_run)

    def _on_failed(self, path: Path, error: Exception) -> None:
        if path == self._path:
            self.failed.emit(path, error)

    def _on_reevaluated(self, displayed_run: DisplayedRun) -> None:
        if self.displayed_run is not None and displayed_run.opened_run is self.displayed_run.opened_run:
            self.displayed_run = replace_labels(displayed_run, self.displayed_run.labels)
            self.reevaluated.emit(self.displayed_run)

    def _on_rejected(self, error: Exception) -> None:
        if self.displayed_run is not None:
            self._requested_evaluation = self.displayed_run.request
            self.rejected.emit(error)


def replace_labels(displayed_run: DisplayedRun, labels: Labels) -> DisplayedRun:
    from app.reporting.report import apply_labels

    if displayed_run.labels == labels:
        return displayed_run
    unverified_files = displayed_run.opened_run.unverified_files
    own_report = apply_labels(displayed_run.own_report, displayed_run.opened_run.result, labels, unverified_files)
    report = (
        own_report
        if displayed_run.report is displayed_run.own_report
        else apply_labels(displayed_run.report, displayed_run.result, labels, unverified_files)
    )
    return msgspec.structs.replace(displayed_run, own_report=own_report, report=report, labels=labels)


def _open_run(path: Path) -> DisplayedRun:
    from app.reporting.opened import load_run
    from app.storage.labels import read_labels
    from app.storage.run_directory import StoredRun

    run = load_run(StoredRun(path), recover=True)
    report = run.report()
    failure = None if run.recovery is None else read_reported_failure(path)[0]
    failure_text = None if failure is None else shorten(failure.message, _MAX_FAILURE_CHARACTERS)
    return DisplayedRun(run, report, report, run.result, read_labels(path), failure=failure_text)


def _reevaluate(displayed_run: DisplayedRun, request: EvaluationRequest) -> DisplayedRun:
    run = displayed_run.opened_run
    if request.is_as_measured:
        return msgspec.structs.replace(
            displayed_run, report=displayed_run.own_report, result=run.result, request=request
        )
    result = run.reevaluate(request.slo, request.window_s)
    return msgspec.structs.replace(displayed_run, report=run.report(result), result=result, request=request)
