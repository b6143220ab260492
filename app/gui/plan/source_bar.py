"""Header of the Plan page: sources, state of the result, undo, redo and export."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QFileDialog, QMenu, QSizePolicy, QToolButton, QWidget

from app.gui.plan.card import show_badge
from app.gui.plan.exporting import DIRECTORY_KINDS, ExportKind
from app.gui.plan.sources import PlannableRun
from app.gui.plan.state import PlanState
from app.gui.widgets import Badge, hbox, label, tool_button, tool_tip_text


class SourceBar(QWidget):
    """Header of the Plan page. `sources_requested` is emitted with paths, `export_requested` with a
    kind and a path."""

    sources_requested = Signal(object)
    assumptions_requested = Signal()
    closed = Signal()
    export_requested = Signal(str, object)
    reset_requested = Signal()

    def __init__(self, undo_stack: QUndoStack) -> None:
        super().__init__()
        self._sources: tuple[str, ...] = ()
        self._runs: tuple[PlannableRun, ...] = ()
        self.source_button = _build_button(
            "Choose &source", "Source of the plan: runs, results of other tools, or a plan file"
        )
        self.source_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.source_menu = QMenu(self.source_button)
        self.source_menu.setToolTipsVisible(True)
        self.source_menu.aboutToShow.connect(self._fill_source_menu)
        self.source_button.setMenu(self.source_menu)
        self.sources_label, self.simulator_label = label("", "muted"), label("", "muted")
        for text_label in (self.sources_label, self.simulator_label):  # a long text must not widen the page
            text_label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.badge = Badge()
        self.undo_button, self.redo_button = _build_button("&Undo", "Undo"), _build_button("R&edo", "Redo")
        self.undo_button.clicked.connect(undo_stack.undo)
        self.redo_button.clicked.connect(undo_stack.redo)
        for action_button, availability_changed, text_changed in (
            (self.undo_button, undo_stack.canUndoChanged, undo_stack.undoTextChanged),
            (self.redo_button, undo_stack.canRedoChanged, undo_stack.redoTextChanged),
        ):
            action_button.setEnabled(False)
            availability_changed.connect(action_button.setEnabled)
            text_changed.connect(partial(_set_tool_tip, action_button))
            text_changed.connect(action_button.setAccessibleDescription)
        self.reset_button = _build_button("Rese&t", "Reset all edits")
        self.reset_button.clicked.connect(self.reset_requested)
        self.export_button = _build_button("E&xport", "Export plan, report or manifests")
        self.export_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.export_menu = QMenu(self.export_button)
        self._fill_export_menu()
        self.export_button.setMenu(self.export_menu)
        hbox(
            self.source_button,
            (self.sources_label, 1),
            (self.simulator_label, 2),
            self.badge,
            self.undo_button,
            self.redo_button,
            self.reset_button,
            self.export_button,
            within=self,
        )

    def show_runs(self, runs: tuple[PlannableRun, ...]) -> None:
        self._runs = runs

    def show_state(self, state: PlanState) -> None:
        loaded_sources = state.loaded_sources
        self._sources = () if loaded_sources is None else loaded_sources.request.sources
        self.sources_label.setText(", ".join(Path(source).name for source in self._sources))
        self.sources_label.setToolTip(tool_tip_text("\n".join(self._sources)))
        recommendation = None if state.plan is None else state.plan.recommendation
        show_badge(self.badge, state, None if recommendation is None else recommendation.fleet)
        text = "Compiling the simulator (once, about 15 s)…" if state.simulator_status == "compiling" else ""
        self.simulator_label.setText(text)
        self.simulator_label.setToolTip(tool_tip_text(text))
        self.simulator_label.setVisible(state.simulator_status == "compiling")
        self.reset_button.setEnabled(bool(state.edits.values or state.edits.slo or state.edits.price_lists))
        self.export_button.setEnabled(state.plan is not None and state.is_current)

    def _fill_source_menu(self) -> None:
        """Fill the menu with the available sources. All checked sources are used together."""
        self.source_menu.clear()
        source_paths = {Path(source) for source in self._sources}
        for run in self._runs:
            action = self.source_menu.addAction(run.label.replace("&", "&&"))
            action.setToolTip(tool_tip_text(run.label))
            action.setCheckable(True)
            action.setChecked(run.directory in source_paths)
            action.toggled.connect(partial(self._toggle_source, run.directory))
        other_paths = [path for path in source_paths if path not in {run.directory for run in self._runs}]
        for path in other_paths:
            action = self.source_menu.addAction(path.name.replace("&", "&&"))
            action.setToolTip(tool_tip_text(str(path)))
            action.setCheckable(True)
            action.setChecked(True)
            action.toggled.connect(partial(self._toggle_source, path))
        if self._runs or other_paths:
            self.source_menu.addSeparator()
        self.source_menu.addAction("&Open files…", self.choose_files)
        self.source_menu.addAction("Open a &folder…", self._choose_folder)
        self.source_menu.addAction("Plan from &assumptions…", self._request_assumptions)
        if self._sources:
            self.source_menu.addAction("&Close plan", self._close)

    def _toggle_source(self, path: Path, is_checked: bool) -> None:
        source_paths = tuple(Path(source) for source in self._sources)
        new_paths = (
            (*source_paths, path)
            if is_checked
            else tuple(source_path for source_path in source_paths if source_path != path)
        )
        if new_paths:
            self.sources_requested.emit(new_paths)
        else:
            self.closed.emit()

    def choose_files(self) -> None:
        file_names, _ = QFileDialog.getOpenFileNames(
            self,
            "Open results or a plan",
            "",
            "Results and plans (*.json *.csv *.yaml *.yml);;All files (*)",
        )
        if file_names:
            self.sources_requested.emit(tuple(Path(file_name) for file_name in file_names))

    def _choose_folder(self) -> None:
        path_text = QFileDialog.getExistingDirectory(self, "Open a run or results folder")
        if path_text:
            self.sources_requested.emit((Path(path_text),))

    def _request_assumptions(self) -> None:
        self.assumptions_requested.emit()

    def _close(self) -> None:
        self.closed.emit()

    def _fill_export_menu(self) -> None:
        labeled_kinds: tuple[tuple[ExportKind, str], ...] = (
            ("plan", "&Plan file…"),
            ("report", "&Report (HTML)…"),
            ("csv", "Offers (&CSV)…"),
            ("k8s", "&Kubernetes manifests…"),
            ("kserve", "K&Serve manifests…"),
            ("terraform", "&Terraform variables…"),
        )
        for kind, text in labeled_kinds:
            self.export_menu.addAction(text, partial(self._export_as, kind))

    def _export_as(self, kind: ExportKind) -> None:
        if kind in DIRECTORY_KINDS:
            path_text = QFileDialog.getExistingDirectory(self, "Export to folder")
        else:
            suffix = "yaml" if kind == "plan" else "html"
            path_text, _ = QFileDialog.getSaveFileName(self, "Export", f"plan.{suffix}", f"*.{suffix}")
        if path_text:
            self.export_requested.emit(kind, Path(path_text))

    def open_export_menu(self) -> None:
        """Open the export menu (Ctrl+E)."""
        self.export_button.showMenu()


def _set_tool_tip(action_button: QToolButton, text: str) -> None:
    """Set the tooltip of the undo or redo button. The text is escaped, because it may contain a
    file name."""
    action_button.setToolTip(tool_tip_text(text))


def _build_button(text: str, help_text: str) -> QToolButton:
    return tool_button(text, help_text, tip=help_text)
