"""Compare page: the baseline and candidate runs at the top, and below them the tabs with the
verdict, the overlays, the changes by stage and the trend."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QFileDialog, QTabWidget, QWidget

from app.gui.background import LatestRunner, submit
from app.gui.compare.entries import MAX_RUNS, ComparisonRequest
from app.gui.compare.outcome import Outcome
from app.gui.compare.overlays_tab import OverlaysTab
from app.gui.compare.pairs_panel import PairsPanel
from app.gui.compare.pairs_state import PairsState
from app.gui.compare.picker import Picker
from app.gui.compare.presenter import ComparePresenter
from app.gui.compare.stages_tab import StagesTab
from app.gui.compare.trend_tab import TrendTab
from app.gui.compare.verdict_tab import VerdictTab
from app.gui.formatting import shorten
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Navigation, Notice, PageKey, build_error_notice
from app.gui.page import Page
from app.gui.theme import ThemeController
from app.gui.widgets import EmptyState, button, vbox
from app.reporting.comparison import build_comparison_report
from app.reporting.run_rows import RunRow, list_runs
from app.storage.run_directory import write_document
from reports.formats import REPORT_FORMATS
from reports.rendering import render_document

_FORMATS = {row.suffix: row.id for row in REPORT_FORMATS if row.comparison} | {".htm": "html"}


def export_comparison(outcome: Outcome, path: Path) -> Path:
    """Write the comparison in the format of the file extension, or as text if the extension is
    unknown, as `sizewise compare --out` does. Return the path of the file.

    Raises UsageError if the file cannot be written.
    """
    assert outcome.comparison is not None, "there is no comparison to export"
    if path.suffix.lower() == ".json":
        return write_document(path, msgspec.json.format(msgspec.json.encode(outcome.comparison), indent=2))
    report = build_comparison_report(outcome.comparison, outcome.request.command or "")
    return write_document(path, render_document(report, _FORMATS.get(path.suffix.lower(), "text")))


_MAX_MENU_RUNS, _MAX_CHARACTERS, _LISTING_LIMIT_S = 12, 100, 0.3


class ComparePage(Page):
    key: PageKey = "compare"

    def __init__(self, navigation: Navigation, theme_controller: ThemeController) -> None:
        super().__init__(navigation, theme_controller)
        self.presenter = ComparePresenter(self, navigation)
        self._comparable_runs: tuple[RunRow, ...] | None = None
        self._run_reader: LatestRunner[tuple[RunRow, ...]] = LatestRunner(
            self, self._set_comparable_runs, navigation.notify_error
        )
        self.pairs_panel = PairsPanel(navigation, self.presenter)
        self.strip = MessageStrip()
        self.picker = Picker(button("S&wap sides", self.presenter.swap))
        self.empty_state = EmptyState(
            "Check two runs in the Library, or add them here. The first run is the baseline.",
            button("&Go to Library", self._go_to_library, primary=True),
            button("&Add last two runs", self.add_last_two),
        )
        self.verdict_tab, self.overlays_tab = VerdictTab(theme_controller), OverlaysTab(theme_controller)
        self.stages_tab, self.trend_tab = StagesTab(theme_controller), TrendTab(navigation, theme_controller)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setAccessibleName("Comparison")
        self.tabs.tabBar().setAccessibleName("Comparison views")
        for tab, title in self._titled_tabs():
            self.tabs.addTab(tab, title)
        vbox(self.strip, self.pairs_panel, self.empty_state, self.picker, (self.tabs, 1), within=self)
        self._connect()
        self._show_request(self.presenter.request)

    def enter(self) -> None:
        if self.tabs.currentWidget() is self.trend_tab:
            self._enter_trend()

    def compare(self, paths: Sequence[Path]) -> None:
        """Compare the runs in `paths`, with the first as the baseline. A single run is added to the
        current comparison instead."""
        if len(paths) == 1:
            self.presenter.add(paths[0])
        else:
            self.presenter.compare(paths)

    def command_line(self) -> str | None:
        if self.tabs.currentWidget() is self.trend_tab:
            return shlex.join(["sizewise", *self.trend_tab.command_arguments()])
        return self.presenter.request.command

    def run_directories(self) -> tuple[Path, ...]:
        return tuple(entry.path for entry in self.presenter.request.entries)

    def add_last_two(self) -> None:
        submit(self, _list_comparable_runs, self._add_last_two_runs, self.navigation.notify_error)

    def export(self) -> bool:
        if self.presenter.outcome is None or self.presenter.outcome.section is None:
            return False
        file_name, _ = QFileDialog.getSaveFileName(
            self,
            "Export comparison",
            "comparison.html",
            "Web page (*.html);;Markdown (*.md);;JSON (*.json);;Text (*.txt)",
        )
        if file_name:
            self.export_to(Path(file_name))
        return True

    def export_to(self, path: Path) -> None:
        """Export the comparison in the format of the file extension."""
        outcome = self.presenter.outcome
        if outcome is not None:
            submit(self, lambda: export_comparison(outcome, path), self._on_exported, self._show_error)

    def _titled_tabs(self) -> tuple[tuple[QWidget, str], ...]:
        return (
            (self.verdict_tab, "Verd&ict"),
            (self.overlays_tab, "Overlay&s"),
            (self.stages_tab, "&By stage"),
            (self.trend_tab, "Tren&d"),
        )

    def _connect(self) -> None:
        presenter, picker = self.presenter, self.picker
        presenter.request_changed.connect(self._show_request)
        presenter.compared.connect(self._show_outcome)
        presenter.spectra_ready.connect(self.overlays_tab.show_spectra)
        presenter.time_overlays_ready.connect(self.overlays_tab.show_time_overlays)
        picker.side_changed.connect(presenter.set_side)
        picker.remove_requested.connect(presenter.remove)
        picker.tolerance_changed.connect(presenter.set_tolerance)
        picker.add_requested.connect(self._update_add_menu)
        picker.add_menu.triggered.connect(self._add_selected_run)
        self.verdict_tab.force_toggled.connect(presenter.set_forced)
        self.verdict_tab.replacement_requested.connect(self._replace_problem_runs)
        self.verdict_tab.reasons_requested.connect(self._show_reasons)
        self.verdict_tab.pairs_card.measurement_requested.connect(self.pairs_panel.measure)
        self.pairs_panel.changed.connect(self._show_pairs)
        self.overlays_tab.spectra_requested.connect(presenter.load_spectra)
        self.overlays_tab.time_overlays_requested.connect(presenter.load_time_overlays)
        self.tabs.currentChanged.connect(self.enter)

    def _show_request(self, request: ComparisonRequest) -> None:
        has_runs, had_runs = bool(request.entries), self.tabs.isTabVisible(0)
        self.empty_state.setVisible(not has_runs)
        self.picker.setVisible(has_runs)
        self.picker.show_request(request)
        if has_runs != had_runs:  # without a change, Qt would not lay out the other tabs
            for index in range(3):
                self.tabs.setTabVisible(index, has_runs)
        if has_runs and not had_runs:
            self.tabs.setCurrentWidget(self.verdict_tab)
        if has_runs:
            for tab in (self.verdict_tab, self.overlays_tab, self.stages_tab):
                tab.show_message("Comparing…")

    def _show_outcome(self, outcome: Outcome) -> None:
        self.picker.show_request(outcome.request)
        for tab in (self.verdict_tab, self.stages_tab, self.overlays_tab):
            tab.show_outcome(outcome)

    def _show_pairs(self, state: PairsState) -> None:
        self.verdict_tab.pairs_card.set_measuring(state.is_running)

    def _enter_trend(self) -> None:
        names = [entry.result.name for entry in self.presenter.request.entries if entry.result is not None]
        self.trend_tab.enter(names[-1] if names else None)

    def _update_add_menu(self) -> None:
        """Fill the menu with the runs of the last listing, and start a new listing."""
        self._fill_menu()
        self._run_reader.request(_list_comparable_runs)

    def _set_comparable_runs(self, rows: tuple[RunRow, ...]) -> None:
        comparable_runs = rows[: _MAX_MENU_RUNS + MAX_RUNS]
        if comparable_runs != self._comparable_runs:
            self._comparable_runs = comparable_runs
            self._fill_menu()

    def _fill_menu(self) -> None:
        menu = self.picker.add_menu
        menu.clear()
        if self._comparable_runs is None:
            menu.addAction("Loading runs…").setEnabled(False)
        selected_directories = {str(entry.path) for entry in self.presenter.request.entries}
        for row in [row for row in self._comparable_runs or () if row.directory not in selected_directories][
            :_MAX_MENU_RUNS
        ]:
            text = f"{row.label}, {row.run_id}".replace("&", "&&")
            menu.addAction(shorten(text, _MAX_CHARACTERS)).setData(row.directory)
        menu.addSeparator()
        menu.addAction("Add run &folder…")

    def _replace_problem_runs(self) -> None:
        """Remove the runs that cannot be compared, and let the user select another run."""
        for index in reversed(self._find_problem_indices()):
            self.presenter.remove(index)
        target = self.picker.add_button if self.presenter.request.entries else self.empty_state
        target.setFocus()
        if self.presenter.request.entries:
            self.picker.add_menu.popup(self.picker.add_button.mapToGlobal(self.picker.add_button.rect().bottomLeft()))

    def _show_reasons(self) -> None:
        for index in self._find_problem_indices()[:1]:
            self.navigation.open_run_requested.emit(self.presenter.request.entries[index].path)

    def _find_problem_indices(self) -> list[int]:
        return [index for index, entry in enumerate(self.presenter.request.entries) if entry.problem is not None]

    def _add_selected_run(self, action: QAction) -> None:
        directory = action.data() or QFileDialog.getExistingDirectory(self, "Select run folder")
        if directory:
            self.presenter.add(Path(directory))

    def _add_last_two_runs(self, rows: tuple[RunRow, ...]) -> None:
        if len(rows) < 2:
            self.strip.show_notice(
                Notice(
                    "news",
                    "A comparison needs two measured runs.",
                    None,
                    "Run the quick check on Home to measure a run.",
                )
            )
            return
        self.presenter.compare([Path(row.directory) for row in reversed(rows[:2])])

    def _go_to_library(self) -> None:
        self.navigation.page_requested.emit("library")

    def _on_exported(self, path: Path) -> None:
        self.strip.show_notice(Notice("news", f"The comparison was exported to {path}."))

    def _show_error(self, error: Exception) -> None:
        self.strip.show_notice(build_error_notice(error))


def _list_comparable_runs() -> tuple[RunRow, ...]:
    """Return the VALID and WARN runs, newest first. Runs that cannot be read within the time limit
    are omitted."""
    rows = [row for row in list_runs(time_limit_s=_LISTING_LIMIT_S).rows if row.verdict in ("VALID", "WARN")]
    return tuple(sorted(rows, key=lambda row: row.started_at or "", reverse=True))
