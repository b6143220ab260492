"""Verdict of the run: outcome, finding, reasons, and the checks that need attention."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QWidget

from app.gui.formatting import state_for_verdict
from app.gui.results.state import ShownRun
from app.gui.widgets import Badge, button, clear, hbox, label, restyle, vbox
from reports import formatting
from reports.model import CheckRow, Report

_MAX_CHECKS = 4
_MAX_REASONS = 4


class VerdictCard(QFrame):
    """Verdict and checks.

    `reset_requested` requests the evaluation with the run's own SLO and time range, `validity_requested` the list of
    all checks.
    """

    reset_requested = Signal()
    validity_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "verdict")
        self.setAccessibleName("Verdict")
        self.outcome, self.sentence = Badge(), label("", "heading", wrap=True)
        self.rest = label("", wrap=True)
        self.stamp = label("", "word", wrap=True)
        restyle(self.stamp, "warn")
        self.reset = button("As &measured", self.reset_requested.emit)
        self.reasons = label("", wrap=True)
        self.checks = QWidget()
        self._grid = QGridLayout(self.checks)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(1, 1)
        self.more = button("All &checks", self.validity_requested.emit)
        self._build()

    def show_run(self, shown: ShownRun) -> None:
        report = shown.report
        verdict = report.verdict
        self.stamp.setText(verdict.stamp or "")
        self.stamp.setVisible(verdict.stamp is not None)
        self.reset.setVisible(verdict.stamp is not None)
        self.outcome.show_verdict(verdict.outcome, verdict.sentence)
        self.sentence.setText(verdict.headline or verdict.finding)
        self.rest.setText(verdict.detail)
        self.rest.setVisible(bool(verdict.detail))
        self.setAccessibleDescription(f"{verdict.outcome}. {verdict.sentence}")
        self.reasons.setText("\n".join(_reasons(shown)))
        self.reasons.setVisible(bool(self.reasons.text()))
        restyle(self, state_for_verdict(verdict.outcome))
        self._show_checks(report)

    def _show_checks(self, report: Report) -> None:
        clear(self._grid)
        warnings = sorted((row for row in report.checks if row.verdict != "VALID"), key=_severity_rank)
        for number, row in enumerate(warnings[:_MAX_CHECKS]):
            self._grid.addWidget(Badge(row.verdict, row.hint or ""), number, 0, Qt.AlignmentFlag.AlignTop)
            self._grid.addWidget(label(check_sentence(row), wrap=True), number, 1)
        self.checks.setVisible(bool(warnings))
        passed, total = len(report.checks) - len(warnings), len(report.checks)
        hidden = len(warnings) - _MAX_CHECKS
        text = f"{passed} of {total} checks passed"
        suffix = f"; {hidden} more need attention" if hidden > 0 else ""
        self.more.setText(f"{text}{suffix}")
        self.more.setVisible(bool(report.checks))

    def _build(self) -> None:
        first = hbox((self.outcome, 0, Qt.AlignmentFlag.AlignTop), (self.sentence, 1))
        stamp = hbox((self.stamp, 1), (self.reset, 0, Qt.AlignmentFlag.AlignTop))
        self.more.setFlat(True)
        vbox(
            stamp,
            first,
            self.rest,
            self.reasons,
            self.checks,
            (self.more, 0, Qt.AlignmentFlag.AlignLeft),
            within=self,
            margins=(14, 10, 14, 10),
            spacing=6,
        )


def check_sentence(row: CheckRow) -> str:
    limit = "" if row.limit is None else f" (limit {formatting.check_limit(row)})"
    hint = f". {row.hint}" if row.hint else ""
    return f"{row.name}: {formatting.check_value(row)}{limit}{hint}"


def _reasons(shown: ShownRun) -> list[str]:
    """Return the reasons of the verdict, after what is missing if the run was interrupted."""
    reasons = [f"– {reason}" for reason in shown.report.verdict.reasons[:_MAX_REASONS]]
    recovery = shown.opened.recovery
    return [*([recovery.text] if recovery is not None else []), *reasons]


def _severity_rank(row: CheckRow) -> int:
    return 0 if row.verdict == "INVALID" else 1
