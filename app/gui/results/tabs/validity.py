"""Every check of the measurement, how it was made, and whether the instrument itself was proved."""

from __future__ import annotations

from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import Shown
from app.gui.results.tabs.tab import Tab, fit_height, table_of, wide_enough
from app.gui.widgets import label
from reports.model import Report

_RANK = {"INVALID": 0, "WARN": 1, "VALID": 2}


class ValidityTab(Tab):
    def __init__(self) -> None:
        super().__init__()
        headers = {"verdict": "Verdict", "check": "Check", "observed": "Observed", "limit": "Limit",
                   "hint": "What to do"}  # fmt: skip
        self.model = QuantityModel(headers)
        self.table = table_of(self.model, "Checks")
        self.selftest, self.method = label("", wrap=True), label("", wrap=True)
        self.files = label("", "muted", wrap=True)
        self.column.addWidget(self.table)
        for heading, words in (
            ("Self-test of the instrument", self.selftest),
            ("How it was measured", self.method),
            ("Files, by their SHA-256", self.files),
        ):
            self.add_heading(heading)
            self.column.addWidget(words)
        self.column.addStretch(1)

    def title(self) -> str:
        return "Validity"

    def is_for(self, shown: Shown) -> bool:
        return bool(shown.own.checks) or bool(shown.own.method)

    def show_run(self, shown: Shown) -> None:
        report = shown.report
        rows = sorted(report.checks, key=lambda row: _RANK[row.verdict])
        self.model.set_rows(frames.check_frame(rows), hints={place: row.hint or "" for place, row in enumerate(rows)})
        wide_enough(self.table)
        fit_height(self.table)
        self.selftest.setText(_selftest(report))
        self.method.setText("\n".join(f"– {sentence}" for sentence in (*report.method, *report.notes)))
        self.files.setText("\n".join(f"{one.path}  {one.sha256[:16]}…" for one in report.artifacts) or "none")


def _selftest(report: Report) -> str:
    mark = report.selftest
    if mark is None:
        return "There was none on this machine: `sizewise selftest` proves the instrument in a minute."
    outcome = "passed" if mark.passed else f"FAILED in {', '.join(mark.failed)}"
    return f"{mark.id}, {mark.at[:10]}, {outcome}"
