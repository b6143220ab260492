"""Evidence of a plan of a language model: published points near to its servers, and all measured loads of the model."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from app.gui.plan.evidence_tables import PlanEvidence
from app.gui.plan.state import PlanState
from app.gui.results.frames import SectionFrame
from app.gui.results.section_tables import SectionTable
from app.gui.theme import GAP
from app.gui.widgets import label, scroll_area, vbox


class EvidenceView(QWidget):
    """Tables of the evidence of a plan. A table is filled again only if its rows have changed."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Evidence of the plan")
        self._shown_frames: dict[SectionTable, SectionFrame] = {}
        self.nearest, self.points = SectionTable(), SectionTable()
        self.empty_label = label("", "muted", wrap=True)
        self.attributions = label("", "muted", wrap=True)
        content = QWidget()
        vbox(self.nearest, self.points, self.empty_label, self.attributions, 1, within=content, spacing=GAP)
        vbox((scroll_area(content), 1), within=self)

    def show_state(self, state: PlanState) -> None:
        if state.evidence is not None:
            self._show_evidence(state.evidence)

    def _show_evidence(self, evidence: PlanEvidence) -> None:
        self._show_frame(self.nearest, evidence.nearest)
        self._show_frame(self.points, evidence.points)
        self.empty_label.setText(f"There are no measured loads of {evidence.model.model}.")
        self.empty_label.setVisible(evidence.points is None)
        self.attributions.setText("\n".join(evidence.attributions))

    def _show_frame(self, table: SectionTable, section_frame: SectionFrame | None) -> None:
        if section_frame is None:
            table.hide()
        elif self._shown_frames.get(table) is not section_frame:
            self._shown_frames[table] = section_frame
            table.show_frame(section_frame)
