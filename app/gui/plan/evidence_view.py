"""Evidence of a plan of a language model: published points near to its servers, and all measured loads of the model,
to which the user adds own measurements, and apart from them the results of MLPerf."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QItemSelection, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QFileDialog, QMenu, QMessageBox, QWidget

from app.gui.background import submit
from app.gui.formatting import sentence
from app.gui.navigation import Notice
from app.gui.plan.evidence_dialog import EvidenceDialog
from app.gui.plan.state import PlanState
from app.gui.results.frames import SectionFrame
from app.gui.results.section_tables import SectionTable
from app.gui.theme import GAP
from app.gui.widgets import button, hbox, label, scroll_area, tool_button, tool_tip_text, vbox
from app.records.evidence import OWN_SOURCE
from app.storage.run_directory import runs_home
from app.wiring.evidence import AddedEvidence, remove_own_evidence

_RESULT_FILTER = "Results and load curves (*.json *.csv *.yaml *.yml);;All files (*)"

_SAMPLED_ROWS = 40
"""Number of rows that the columns are fitted to: hundreds take too long."""


class EvidenceView(QWidget):
    """Tables of the evidence of a plan. A table is filled when it is visible, and again only if its rows have changed.

    `evidence_changed` is emitted with a Notice when the user's own evidence has changed, and `failed` with the error of
    a change.
    """

    evidence_changed = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Evidence of the plan")
        self._state = PlanState()
        self._shown_frames: dict[SectionTable, SectionFrame] = {}
        self.dialog: EvidenceDialog | None = None
        """The dialog that was opened last."""
        menu = QMenu(self)
        menu.addAction("From a result &file…", self._choose_file)
        menu.addAction("From a &folder or run…", self._choose_folder)
        self.add_button = tool_button(
            "Add &measurements", tip="Add your own measurements of a server, by which plans are calibrated", menu=menu
        )
        self.remove_button = button("Remo&ve measurements", self._request_removal)
        self.nearest, self.points, self.mlperf = SectionTable(), SectionTable(), SectionTable()
        for table in (self.points, self.mlperf):
            table.table.horizontalHeader().setResizeContentsPrecision(_SAMPLED_ROWS)
        self.empty_label = label("", "muted", wrap=True)
        self.damage_label = label("", wrap=True)
        self.attributions = label("", "muted", wrap=True)
        content = QWidget()
        vbox(
            self.nearest,
            self.points,
            self.empty_label,
            self.mlperf,
            self.damage_label,
            self.attributions,
            1,
            within=content,
            spacing=GAP,
        )
        vbox(hbox(self.add_button, self.remove_button, 1), (scroll_area(content), 1), within=self)
        self.points.table.selectionModel().selectionChanged.connect(self._on_selection)
        self.points.model.modelReset.connect(self._update_buttons)
        self._update_buttons()

    def show_state(self, state: PlanState) -> None:
        self._state = state
        if self.isVisible():
            self._show_evidence()
        errors = () if state.loaded_sources is None else state.loaded_sources.damaged_evidence
        self.damage_label.setText("\n".join(f"{sentence(str(error))} {error.hint}" for error in errors))
        self.damage_label.setVisible(bool(errors))

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._show_evidence()

    def _show_evidence(self) -> None:
        evidence = self._state.evidence
        if evidence is None:
            return
        self._show_frame(self.nearest, evidence.nearest)
        self._show_frame(self.points, evidence.points)
        self._show_frame(self.mlperf, evidence.mlperf)
        self.empty_label.setText(f"There are no measured loads of {evidence.model.model}.")
        self.empty_label.setVisible(evidence.points is None)
        self.attributions.setText("\n".join(evidence.attributions))

    def _show_frame(self, table: SectionTable, section_frame: SectionFrame | None) -> None:
        if section_frame is None:
            table.hide()
        elif self._shown_frames.get(table) is not section_frame:
            self._shown_frames[table] = section_frame
            table.show_frame(section_frame)

    def _choose_file(self) -> None:
        file_name, _ = QFileDialog.getOpenFileName(self, "Add measurements", "", _RESULT_FILTER)
        if file_name:
            self.open_form(Path(file_name))

    def _choose_folder(self) -> None:
        path_text = QFileDialog.getExistingDirectory(self, "Add measurements", str(runs_home()))
        if path_text:
            self.open_form(Path(path_text))

    def open_form(self, source: Path) -> None:
        """Open the form for measurements of a result file, or of the folder of results or of a run."""
        evidence, plan_inputs = self._state.evidence, self._state.inputs
        if evidence is not None and plan_inputs is not None:
            self.dialog = EvidenceDialog(self, source, evidence.server, plan_inputs.catalog.accelerators)
            self.dialog.added.connect(self._on_added)
            self.dialog.open()

    def _on_added(self, added: AddedEvidence) -> None:
        plan_inputs = self._state.inputs
        model = None if plan_inputs is None else plan_inputs.assumed_model
        is_of_plan = model is not None and added.evidence.shape == model.model
        reasons = [
            *added.evidence.notes,
            *([] if is_of_plan else ["this plan is of another model, and does not use them"]),
        ]
        self.evidence_changed.emit(Notice("news", f"{added.summary}.", " ".join(map(sentence, reasons)) or None))

    def _find_selected_evidence(self) -> str | None:
        """Return the ID of the own evidence whose point is selected; `None` if no own point is selected."""
        rows = self.points.table.selectionModel().selectedRows()
        if not rows:
            return None
        point = self.points.model.frame.iloc[self.points.model.frame_row(rows[0].row())]
        return str(point["id"]).partition(".")[0] if point["source"] == OWN_SOURCE else None

    def _request_removal(self) -> None:
        evidence_id = self._find_selected_evidence()
        if evidence_id is None:
            return
        question = f"Remove all points of {evidence_id} from your own measurements? The file is deleted."
        answer = QMessageBox.question(self, "Remove measurements", tool_tip_text(question))
        if answer == QMessageBox.StandardButton.Yes:
            submit(self, partial(remove_own_evidence, evidence_id), self._on_removed, self.failed.emit)

    def _on_removed(self, summary: str) -> None:
        self.evidence_changed.emit(Notice("news", f"{summary}."))

    def _on_selection(self, _: QItemSelection, __: QItemSelection) -> None:
        self._update_buttons()

    def _update_buttons(self) -> None:
        self.remove_button.setEnabled(self._find_selected_evidence() is not None)
