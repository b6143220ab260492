"""Tabs with details of a run: environment, profile, errors by class, and validity checks."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QFont, QFontDatabase, QGuiApplication
from PySide6.QtWidgets import QPlainTextEdit

from app.gui.formatting import format_count
from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.section_tables import show_section
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab, create_table, fit_columns, fit_height
from app.gui.widgets import button, hbox, label
from reports.model import Report
from reports.sections.errors import ERRORS

_MAX_CHARACTERS = 200_000


class EnvironmentTab(Tab):
    title = "Environment"

    def __init__(self) -> None:
        super().__init__()
        self.model = QuantityModel({"label": "Property", "value": "Value"})
        self.table = create_table(self.model, "Environment")
        self.column.addWidget(self.table)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return bool(displayed_run.own_report.environment)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        self.model.set_rows(frames.environment_frame(displayed_run.own_report.environment))
        fit_columns(self.table)
        fit_height(self.table, 40)


class ProfileTab(Tab):
    title = "Profile"

    repeat_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._spec_text = ""
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        font = QFont()  # without a size, so that the text size of the window applies
        font.setFamilies(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).families())
        self.text.setFont(font)
        self.text.setAccessibleName("Profile")
        self.text.setTabChangesFocus(True)
        self.text.setMinimumHeight(320)
        self.description_label = label("", "muted", wrap=True)
        button_row = hbox(
            button("Cop&y", self._copy),
            button("Run ag&ain", self.repeat_requested.emit, primary=True),
            (self.description_label, 1),
        )
        self.column.addLayout(button_row)
        self.column.addWidget(self.text, 1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return bool(displayed_run.opened_run.spec_text)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        self._spec_text = displayed_run.opened_run.spec_text
        self.text.setPlainText(self._spec_text[:_MAX_CHARACTERS])
        parts = ["This is the full profile, including defaults. Secrets are shown as references."]
        if len(self._spec_text) > _MAX_CHARACTERS:
            counts = f"{format_count(_MAX_CHARACTERS)} of {format_count(len(self._spec_text))}"
            parts.append(f"Only the first {counts} characters are shown. Copy copies all of them.")
        if displayed_run.own_report.reproduce.seed is not None:
            parts.append(f"The seed is {displayed_run.own_report.reproduce.seed}.")
        self.description_label.setText(" ".join(parts))

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._spec_text)


class ErrorsTab(Tab):
    title = "Errors"

    def __init__(self) -> None:
        super().__init__()
        self.description_label = label("", wrap=True)
        self.model = QuantityModel()
        self.table = create_table(self.model, "Errors by class")
        self.column.addWidget(self.description_label)
        self.column.addWidget(self.table)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return displayed_run.own_report.load is not None

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        rows = report.errors
        self.table.setVisible(bool(rows))
        if not rows:
            self.description_label.setText("No errors occurred.")
            return
        failed_count_text = format_count(sum(row.count for row in rows))
        template = (
            "{count} requests failed or were not sent (including warm-up and failed probes). "
            "Latency covers successful requests only."
        )
        self.description_label.setText(template.format(count=failed_count_text))
        show_section(self.table, self.model, ERRORS, report)


_VERDICT_RANKS = {"INVALID": 0, "WARN": 1, "VALID": 2}


class ValidityTab(Tab):
    title = "Validity"

    def __init__(self) -> None:
        super().__init__()
        headers = {"verdict": "Verdict", "check": "Check", "observed": "Observed", "limit": "Limit",
                   "hint": "Recommended action"}  # fmt: skip
        self.model = QuantityModel(headers)
        self.table = create_table(self.model, "Checks")
        self.selftest_label, self.method_label = label("", wrap=True), label("", wrap=True)
        self.files_label = label("", "muted", wrap=True)
        self.column.addWidget(self.table)
        for heading, text_label in (
            ("Self-test", self.selftest_label),
            ("Method", self.method_label),
            ("Files (SHA-256)", self.files_label),
        ):
            self.add_heading(heading)
            self.column.addWidget(text_label)
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return bool(displayed_run.own_report.checks) or bool(displayed_run.own_report.method)

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        rows = sorted(report.checks, key=lambda row: _VERDICT_RANKS[row.verdict])
        self.model.set_rows(
            frames.check_frame(rows), hints={row_index: row.hint or "" for row_index, row in enumerate(rows)}
        )
        fit_columns(self.table)
        fit_height(self.table)
        self.selftest_label.setText(_format_selftest(report))
        self.method_label.setText("\n".join(f"– {sentence}" for sentence in (*report.method, *report.notes)))
        self.files_label.setText(
            "\n".join(f"{artifact.path}  {artifact.sha256[:16]}…" for artifact in report.artifacts) or "none"
        )


def _format_selftest(report: Report) -> str:
    selftest = report.selftest
    if selftest is None:
        return "The self-test has not run on this machine. Run `sizewise selftest` (1 min)."
    outcome = "passed" if selftest.passed else f"FAILED: {', '.join(selftest.failed)}"
    return f"{selftest.id}, {selftest.at[:10]}, {outcome}"
