"""Card with the verdict of the run: the headline (decision or max rate) with its interval and, when
expanded, the evidence, the reasons and the caveats."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QWidget

from app.gui.caveats import Caveat, Caveats
from app.gui.formatting import state_for_verdict
from app.gui.forms.collapsible import CollapsibleSection
from app.gui.results.state import DisplayedRun
from app.gui.theme import GAP, GAP_TIGHT, TILE_MARGINS
from app.gui.widgets import button, hbox, label, restyle, vbox
from reports import formatting
from reports.decision import build_plan_decision, build_run_decision, leads_with_plan, list_warnings
from reports.model import CheckRow, Report

_MAX_REASONS = 4


class VerdictCard(QFrame):
    """Card with the verdict and the caveats. `reset_requested` is emitted when the user restores
    the SLO and the time range of the run, `validity_requested` when the user opens the list of all
    validity checks."""

    reset_requested = Signal()
    validity_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "verdict")
        self.setAccessibleName("Verdict")
        self.decision, self.decision_detail = label("", "title", wrap=True), label("", wrap=True)
        self.sentence = label("", "heading", wrap=True)
        self.based_on = label("", "muted", wrap=True)
        self.caveats = Caveats()
        self.details = label("", wrap=True)
        self.stamp = label("", "word", wrap=True)
        restyle(self.stamp, "warn")
        self.reset_button = button("Show as &measured", self.reset_requested.emit)
        self.reasons = label("", wrap=True)
        self.checks_button = button("Show all &checks", self.validity_requested.emit)
        self.why = CollapsibleSection("Why", self._create_explanation)
        self.why.toggled.connect(self._on_why_toggled)
        self._build()

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        verdict = report.verdict
        self.stamp.setText(verdict.stamp or "")
        self.stamp.setVisible(verdict.stamp is not None)
        self.reset_button.setVisible(verdict.stamp is not None)
        self.sentence.setText(verdict.headline or verdict.finding)
        plan_decision = (
            build_plan_decision(report.plan) if report.plan is not None and leads_with_plan(report) else None
        )
        run_decision = build_run_decision(report)
        for text_label, text in (
            (self.decision, plan_decision.headline if plan_decision else ""),
            (self.decision_detail, f"{plan_decision.sentence} {plan_decision.evidence}" if plan_decision else ""),
            (self.based_on, " ".join(text for text in (run_decision.sentence, run_decision.evidence) if text)),
            (self.details, " ".join(run_decision.details)),
            (self.reasons, "\n".join(_list_reasons(displayed_run))),
        ):
            text_label.setText(text)
            text_label.setVisible(bool(text))
        self.setAccessibleDescription(f"{verdict.outcome}. {verdict.sentence}")
        restyle(self, state_for_verdict(verdict.outcome))
        self._show_checks(report)
        is_incomplete = displayed_run.opened_run.recovery is not None or displayed_run.failure is not None
        if verdict.validity == "INVALID" or is_incomplete:
            self.why.set_open()

    def _show_checks(self, report: Report) -> None:
        self.caveats.show_caveats(list_caveats(report))
        self.caveats.set_open(self.why.is_open)
        passed_count = sum(row.verdict == "VALID" for row in report.checks)
        checks_text = f"{passed_count} of {formatting.format_count_noun(len(report.checks), 'check')} passed"
        self.checks_button.setText(checks_text)
        self.checks_button.setVisible(bool(report.checks))
        caveat_count = len(self.caveats.displayed_caveats)
        summary = [
            *([formatting.format_count_noun(caveat_count, "caveat")] if caveat_count else []),
            *([checks_text] if report.checks else []),
        ]
        self.why.set_heading("Why", ", ".join(summary))

    def _on_why_toggled(self, is_open: bool) -> None:
        self.caveats.set_open(is_open)

    def _create_explanation(self) -> QWidget:
        explanation = QWidget()
        vbox(
            self.caveats,
            self.details,
            self.reasons,
            (self.checks_button, 0, Qt.AlignmentFlag.AlignLeft),
            within=explanation,
            spacing=GAP,
        )
        return explanation

    def _build(self) -> None:
        stamp_row = hbox((self.stamp, 1), (self.reset_button, 0, Qt.AlignmentFlag.AlignTop))
        self.checks_button.setFlat(True)
        vbox(
            stamp_row,
            self.decision,
            self.decision_detail,
            self.sentence,
            self.based_on,
            self.why,
            within=self,
            margins=TILE_MARGINS,
            spacing=GAP_TIGHT,
        )
        self.why.content()  # a widget that is shown before it has a parent would be a window


def list_caveats(report: Report) -> list[Caveat]:
    """Return the caveats of a report: the checks of the run and of its plan that are INVALID, then
    those that are WARN, then the notes."""
    warnings = sorted(list_warnings(report), key=_get_severity_rank)
    checks = [Caveat(row.name, formatting.format_check_finding(row), row.verdict) for row in warnings]
    return [*checks, *(Caveat("note", note) for note in report.notes)]


def _list_reasons(displayed_run: DisplayedRun) -> list[str]:
    """Return the reasons for the verdict. If the run was interrupted, a description of the missing
    data comes first."""
    reasons = [f"– {reason}" for reason in displayed_run.report.verdict.reasons[:_MAX_REASONS]]
    recovery = displayed_run.opened_run.recovery
    failure = displayed_run.failure
    return [
        *([] if recovery is None else [recovery.text]),
        *([] if failure is None else [f"The benchmark process reported: {failure}"]),
        *reasons,
    ]


def _get_severity_rank(row: CheckRow) -> int:
    return 0 if row.verdict == "INVALID" else 1
