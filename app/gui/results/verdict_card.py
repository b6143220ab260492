"""Card with the verdict of the run: the decision or the max rate, its confidence and basis, caveats
and reasons."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame

from app.gui.caveats import Caveat, Caveats
from app.gui.formatting import state_for_verdict
from app.gui.results.state import ShownRun
from app.gui.widgets import Badge, button, hbox, label, restyle, vbox
from reports import formatting
from reports.decision import decide_plan, decide_run, leads_with_plan, list_warnings
from reports.model import CheckRow, Report

_MAX_REASONS = 4


class VerdictCard(QFrame):
    """Card with the verdict and the caveats.

    `reset_requested` is emitted to restore the SLO and the time range of the run,
    `validity_requested` to show all validity checks.
    """

    reset_requested = Signal()
    validity_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "verdict")
        self.setAccessibleName("Verdict")
        self.decision, self.decision_detail = label("", "title", wrap=True), label("", wrap=True)
        self.outcome, self.sentence = Badge(), label("", "heading", wrap=True)
        self.interval, self.based_on = label("", wrap=True), label("", "muted", wrap=True)
        self.caveats = Caveats()
        self.rest = label("", wrap=True)
        self.stamp = label("", "word", wrap=True)
        restyle(self.stamp, "warn")
        self.reset = button("As &measured", self.reset_requested.emit)
        self.reasons = label("", wrap=True)
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
        planned = decide_plan(report.plan) if report.plan is not None and leads_with_plan(report) else None
        measured = decide_run(report)
        for line, text in (
            (self.decision, planned.headline if planned else ""),
            (self.decision_detail, f"{planned.sentence} {planned.evidence}" if planned else ""),
            (self.interval, measured.sentence),
            (self.based_on, measured.evidence),
            (self.rest, " ".join(measured.details)),
            (self.reasons, "\n".join(_reasons(shown))),
        ):
            line.setText(text)
            line.setVisible(bool(text))
        self.setAccessibleDescription(f"{verdict.outcome}. {verdict.sentence}")
        restyle(self, state_for_verdict(verdict.outcome))
        self._show_checks(report)

    def _show_checks(self, report: Report) -> None:
        self.caveats.show_caveats(list_caveats(report))
        passed = sum(row.verdict == "VALID" for row in report.checks)
        self.more.setText(f"{passed} of {formatting.format_count_noun(len(report.checks), 'check')} passed")
        self.more.setVisible(bool(report.checks))

    def _build(self) -> None:
        first = hbox((self.outcome, 0, Qt.AlignmentFlag.AlignTop), (self.sentence, 1))
        stamp = hbox((self.stamp, 1), (self.reset, 0, Qt.AlignmentFlag.AlignTop))
        self.more.setFlat(True)
        vbox(
            stamp,
            self.decision,
            self.decision_detail,
            first,
            self.interval,
            self.based_on,
            self.caveats,
            self.rest,
            self.reasons,
            (self.more, 0, Qt.AlignmentFlag.AlignLeft),
            within=self,
            margins=(14, 10, 14, 10),
            spacing=6,
        )


def list_caveats(report: Report) -> list[Caveat]:
    """Return the checks of the run and its plan that are not VALID, worst first, followed by the
    notes."""
    warnings = sorted(list_warnings(report), key=_severity_rank)
    checks = [Caveat(row.name, formatting.check_finding(row), row.verdict) for row in warnings]
    return [*checks, *(Caveat("note", note) for note in report.notes)]


def _reasons(shown: ShownRun) -> list[str]:
    """Return the reasons of the verdict. If the run was interrupted, the missing data is listed
    first."""
    reasons = [f"– {reason}" for reason in shown.report.verdict.reasons[:_MAX_REASONS]]
    recovery = shown.opened.recovery
    return [*([recovery.text] if recovery is not None else []), *reasons]


def _severity_rank(row: CheckRow) -> int:
    return 0 if row.verdict == "INVALID" else 1
