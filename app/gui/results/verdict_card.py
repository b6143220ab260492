"""How the run ended: one word, one sentence, why, and what to do about what is doubtful."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QWidget

from app.gui.formatting import state_of
from app.gui.results.state import Shown
from app.gui.widgets import Badge, button, clear, hbox, label, restyle, vbox
from reports import formatting
from reports.model import CheckRow, Report

_MOST_CHECKS = 4
_MOST_REASONS = 4
_SHORT = 90


class VerdictCard(QFrame):
    """`reset_wished`: as the run was measured. `validity_wished`: all checks."""

    reset_wished = Signal()
    validity_wished = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "verdict")
        self.setAccessibleName("Verdict")
        self.outcome, self.sentence = Badge(), label("", "heading", wrap=True)
        self.rest = label("", wrap=True)
        self.stamp = label("", "word", wrap=True)
        restyle(self.stamp, "warn")
        self.reset = button("As &measured", self.reset_wished.emit)
        self.reasons = label("", wrap=True)
        self.checks = QWidget()
        self._grid = QGridLayout(self.checks)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(1, 1)
        self.more = button("All &checks", self.validity_wished.emit)
        self._build()

    def show_run(self, shown: Shown) -> None:
        report = shown.report
        verdict = report.verdict
        self.stamp.setText(verdict.stamp or "")
        self.stamp.setVisible(verdict.stamp is not None)
        self.reset.setVisible(verdict.stamp is not None)
        self.outcome.say(verdict.outcome, verdict.sentence)
        first, rest = headline(verdict.finding)
        self.sentence.setText(first)
        self.rest.setText(rest)
        self.rest.setVisible(bool(rest))
        self.setAccessibleDescription(f"{verdict.outcome}. {verdict.sentence}")
        self.reasons.setText("\n".join(_reasons(shown)))
        self.reasons.setVisible(bool(self.reasons.text()))
        restyle(self, state_of(verdict.outcome))
        self._show_checks(report)

    def _show_checks(self, report: Report) -> None:
        clear(self._grid)
        doubtful = sorted((row for row in report.checks if row.verdict != "VALID"), key=_badness)
        for place, row in enumerate(doubtful[:_MOST_CHECKS]):
            self._grid.addWidget(Badge(row.verdict, row.hint or ""), place, 0, Qt.AlignmentFlag.AlignTop)
            self._grid.addWidget(label(check_sentence(row), wrap=True), place, 1)
        self.checks.setVisible(bool(doubtful))
        valid, every = len(report.checks) - len(doubtful), len(report.checks)
        left = len(doubtful) - _MOST_CHECKS
        words = f"{valid} of {every} checks are valid"
        more = f"; {left} more are doubtful" if left > 0 else ""
        self.more.setText(f"{words}{more}")
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


def headline(sentence: str) -> tuple[str, str]:
    """The first part of it, and the rest, which is to be read and not to be seen from afar."""
    ends = [place for mark in ("; ", ". ", ": at ") if (place := sentence.find(mark)) >= 0]
    if not ends or len(sentence) < _SHORT:
        return sentence, ""
    first, rest = sentence[: min(ends)], sentence[min(ends) + 1 :].lstrip()
    return f"{first}.", f"{rest[:1].upper()}{rest[1:]}"


def check_sentence(row: CheckRow) -> str:
    limit = "" if row.limit is None else f" (limit {formatting.check_limit(row)})"
    hint = f". {row.hint}" if row.hint else ""
    return f"{row.name}: {formatting.check_value(row)}{limit}{hint}"


def _reasons(shown: Shown) -> list[str]:
    """With what is missing of a run that was cut short."""
    found = [f"– {reason}" for reason in shown.report.verdict.reasons[:_MOST_REASONS]]
    recovery = shown.opened.recovery
    return [*([recovery.sentence] if recovery is not None else []), *found]


def _badness(row: CheckRow) -> int:
    return 0 if row.verdict == "INVALID" else 1
