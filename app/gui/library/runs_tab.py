"""Runs tab: search, filter, check, label, share, delete and restore stored runs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from PySide6.QtCore import QItemSelectionModel, Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QApplication, QFileDialog, QMenu, QToolButton, QWidget

from app.gui.library.run_card import RunCard
from app.gui.library.run_filters import RunFilters
from app.gui.library.run_listing import ListedRuns, build_mask
from app.gui.library.runs_model import MAX_CHECKED, RunsModel, RunsTable
from app.gui.library.runs_presenter import RunsPresenter
from app.gui.navigation import Navigation
from app.gui.tables import set_table_description
from app.gui.theme import GAP, TAB_MARGINS, ThemeController
from app.gui.widgets import EmptyState, button, hbox, label, vbox
from app.records.bundle import BUNDLE_EXTENSION
from app.reporting.run_rows import UNREADABLE, RunRow

_REFRESH_INTERVAL_MS = 3_000
_MAX_RESTORED_ROWS = 500
"""Maximum number of runs that stay selected when the list is grouped; each costs time."""
_BUNDLE_FILTER = " (*.zip *.sizewise);;"


class RunsTab(QWidget):
    trash_requested = Signal()

    def __init__(self, navigation: Navigation, theme_controller: ThemeController, presenter: RunsPresenter) -> None:
        super().__init__()
        self._navigation, self.presenter = navigation, presenter
        self._listed_runs: ListedRuns | None = None
        self._run_to_select: str | None = None
        self.model = RunsModel(theme_controller)
        self.table = RunsTable(self.model, theme_controller)
        self.filters = RunFilters()
        self.card = RunCard(theme_controller)
        self._previewed_row: RunRow | None = None
        self._status = label("", "muted", wrap=True)
        self._status.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.empty_state = EmptyState(
            "There are no runs yet. Runs that you start in this window or in a terminal are listed here.",
            button("St&art the first run", self._go_home, primary=True),
            button("&Import bundle…", self._choose_bundle),
        )
        self._no_matches_state = EmptyState("No runs match the filters.", button("Show a&ll runs", self.filters.clear))
        self.model.set_grouped(self.filters.group_box.isChecked())
        self._make_buttons()
        self._build()
        self._connect(theme_controller)
        self._refresh_timer = QTimer(self, interval=_REFRESH_INTERVAL_MS)
        self._refresh_timer.timeout.connect(self.presenter.refresh)

    # State

    def enter(self) -> None:
        self.presenter.refresh()

    def leave(self) -> None:
        self._refresh_timer.stop()

    def show_listed_runs(self, listed_runs: ListedRuns) -> None:
        previous_runs, self._listed_runs = self._listed_runs, listed_runs
        if (
            previous_runs is None
            or previous_runs.rows != listed_runs.rows
            or previous_runs.histories != listed_runs.histories
        ):
            selected_run = self.selected_run()
            self.model.set_listed_runs(listed_runs)
            self.filters.show_tags(sorted({tag for row in listed_runs.rows for tag in row.tags}))
            self._apply_filters()
            if previous_runs is None:
                self.table.lay_out()
            self._select_run(self._run_to_select or (None if selected_run is None else selected_run.directory))
            self._run_to_select = None
        is_running = any(row.state == "running" for row in listed_runs.rows)
        (self._refresh_timer.start if is_running and self.isVisible() else self._refresh_timer.stop)()
        self._update_state()

    def selected_run(self) -> RunRow | None:
        """Return the run in the current row, or None if there is no current row."""
        index = self.table.currentIndex()
        if not index.isValid() or index.row() >= self.model.rowCount() or self.model.group(index.row()) is not None:
            return None
        return self.model.row(index.row())

    def selected_rows(self) -> tuple[RunRow, ...]:
        rows = sorted({index.row() for index in self.table.selectionModel().selectedRows()})
        return tuple(self.model.row(row) for row in rows)

    def checked_directories(self) -> tuple[Path, ...]:
        return tuple(Path(directory) for directory in self.model.checked_directories)

    def command_arguments(self) -> tuple[str, ...]:
        """Return the arguments of the equivalent `sizewise` command, which compares the checked
        runs, shows the selected run, or lists the filtered runs."""
        if len(self.model.checked_directories) > 1:
            return ("compare", *self.model.checked_directories)
        rows = self.selected_rows()
        if len(rows) == 1:
            return ("runs", "show", rows[0].directory)
        filters = self.filters.values()
        tag = ("--tag", filters.tag) if filters.tag else ()
        validity = ("--validity", filters.validity) if filters.validity else ()
        return ("runs", "list", *tag, *validity, *(("--find", filters.search_text) if filters.search_text else ()))

    # Actions

    def open(self) -> None:
        row = self.selected_run()
        if row is None:
            return
        signal = self._navigation.watch_run_requested if row.state == "running" else self._navigation.open_run_requested
        signal.emit(Path(row.directory))

    def compare(self) -> None:
        if len(self.model.checked_directories) > 1:
            self._navigation.comparison_requested.emit(self.checked_directories())

    def plan(self) -> None:
        rows = self.selected_rows()
        if rows:
            self._navigation.plan_requested.emit(tuple(Path(row.directory) for row in rows))

    def delete(self) -> None:
        rows = self.selected_rows()
        if rows:
            self.presenter.delete([Path(row.directory) for row in rows])

    def export(self) -> bool:
        row = self.selected_run()
        if row is None:
            return False
        file_name, _ = QFileDialog.getSaveFileName(
            self, "Export run as bundle", f"{row.run_id}{BUNDLE_EXTENSION}", "Bundles" + _BUNDLE_FILTER
        )
        if file_name:
            self.presenter.export(Path(row.directory), Path(file_name))
        return True

    def promote(self) -> None:
        row = self.selected_run()
        if row is not None:
            self.presenter.promote(Path(row.directory))

    def copy_path(self) -> None:
        row = self.selected_run()
        if row is not None:
            QApplication.clipboard().setText(row.directory)

    def set_title(self, title: str) -> None:
        row = self.selected_run()
        if row is not None:
            self.presenter.set_title(Path(row.directory), title, row.title or "")

    def set_tags(self, tags: tuple[str, ...]) -> None:
        row = self.selected_run()
        if row is not None:
            directory = Path(row.directory)
            self.presenter.add_tags(directory, [tag for tag in tags if tag not in row.tags])
            self.presenter.remove_tags(directory, [tag for tag in row.tags if tag not in tags])

    def add_note(self, text: str) -> None:
        row = self.selected_run()
        if row is not None:
            self.presenter.add_note(Path(row.directory), text)

    def select_when_listed(self, directory: Path) -> None:
        """Select the run in `directory` now or, if the run is not listed yet, with the next
        listing."""
        self._run_to_select = str(directory)
        self._select_run(self._run_to_select)

    # Layout and connections

    def _make_buttons(self) -> None:
        self._open_button = button("&Open", self.open, primary=True)
        self._compare_button = button("", self.compare)
        self._plan_button = button("&Plan from run", self.plan)
        self._delete_button = button("De&lete", self.delete)
        self._trash_button = button("Show &trash", self.trash_requested.emit)
        self._more_button = QToolButton()
        self._more_button.setText("M&ore")
        self._more_button.setAccessibleName("More")
        self._more_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu = QMenu(self._more_button)
        self._single_run_actions = [
            self.menu.addAction("&Export as bundle…", self.export),
            self.menu.addAction("Set as &baseline", self.promote),
            self.menu.addAction("&Copy path", self.copy_path),
        ]
        self.menu.addSeparator()
        self.menu.addAction("&Import bundle…", self._choose_bundle)
        self.menu.addAction("&Uncheck all", self.model.uncheck_all)
        column_menu = self.menu.addMenu("Colu&mns")
        column_menu.aboutToShow.connect(lambda: self.table.fill_column_menu(column_menu))
        self._more_button.setMenu(self.menu)
        self._buttons = (
            self._open_button,
            self._compare_button,
            self._plan_button,
            self._delete_button,
            self._more_button,
            self._trash_button,
        )

    def _build(self) -> None:
        button_row = hbox(*self._buttons[:-1], (self._status, 1), self._trash_button)
        vbox(
            self.filters,
            self.empty_state,
            self._no_matches_state,
            (self.table, 1),
            button_row,
            self.card,
            within=self,
            margins=TAB_MARGINS,
            spacing=GAP,
        )
        self.empty_state.hide()
        self._no_matches_state.hide()
        self._set_status("Loading runs…")

    def _connect(self, theme_controller: ThemeController) -> None:
        self.presenter.listed.connect(self.show_listed_runs)
        self.filters.changed.connect(self._apply_filters)
        self.filters.grouped.connect(self._group)
        self.table.fold_requested.connect(self._fold)
        self.presenter.previewed.connect(self.card.show_preview)
        self.table.opened.connect(self.open)
        self.table.menu_requested.connect(self._show_menu)
        self.table.selectionModel().selectionChanged.connect(self._update_state)
        self.model.checked_runs_changed.connect(self._update_state)
        self.card.title_edited.connect(self.set_title)
        self.card.tags_edited.connect(self.set_tags)
        self.card.note_entered.connect(self.add_note)
        theme_controller.changed.connect(self._repaint)
        delete_shortcut = QShortcut(QKeySequence(QKeySequence.StandardKey.Delete), self.table)
        delete_shortcut.activated.connect(self.delete)

    def _apply_filters(self) -> None:
        if self._listed_runs is None:
            return
        filters, selected_run = self.filters.values(), self.selected_run()
        self.model.set_filter(build_mask(self._listed_runs, filters.search_text, filters.validity, filters.tag))
        self._select_run(None if selected_run is None else selected_run.directory)
        self._update_state()

    def _group(self, is_grouped: bool) -> None:
        directories = {row.directory for row in self.selected_rows()}
        selected_run = self.selected_run()
        self.model.set_grouped(is_grouped)
        self.table.fit_name_column()
        self._select_run(None if selected_run is None else selected_run.directory)
        self._select_also(directories)
        self._update_state()

    def _fold(self, name: str, is_folded: bool) -> None:
        """Fold or unfold the runs of a profile. Its row becomes current, and the runs of other
        profiles stay selected."""
        directories = {row.directory for row in self.selected_rows()}
        self.model.set_folded(name, is_folded)
        group_row = self.model.find_group_row(name)
        if group_row is not None:
            index = self.model.index(group_row, 0)
            self.table.selectionModel().setCurrentIndex(index, QItemSelectionModel.SelectionFlag.NoUpdate)
            self.table.scrollTo(index)
        self._select_also(directories)
        self._update_state()

    def _select_also(self, directories: Collection[str]) -> None:
        flags = QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
        for row in self.model.find_visible_rows(directories)[:_MAX_RESTORED_ROWS]:
            self.table.selectionModel().select(self.model.index(row, 0), flags)

    def _select_run(self, directory: str | None) -> None:
        row = None if directory is None else self.model.find_visible_row(directory)
        if row is not None:
            self.table.selectRow(row)

    def _update_state(self) -> None:
        if self._listed_runs is None:
            return
        run_count, visible_count = len(self._listed_runs.rows), self.model.matching_count
        self.empty_state.setVisible(run_count == 0)
        self.filters.setVisible(run_count > 0)
        self._no_matches_state.setVisible(run_count > 0 and visible_count == 0)
        self.table.setVisible(visible_count > 0)
        for action_button in self._buttons[:-1]:
            action_button.setVisible(run_count > 0)
        selected_rows = self.selected_rows()
        self._show_card(selected_rows[0] if len(selected_rows) == 1 else None)
        self._update_buttons(selected_rows)
        self._set_status(self.filters.status_text(self._listed_runs, visible_count))
        set_table_description(self.table, "Stored runs")

    def _show_card(self, row: RunRow | None) -> None:
        """Show the card of a run, and read its preview unless that of the same row has been read."""
        self.card.show_run(row)
        if row == self._previewed_row:
            return
        self._previewed_row = row
        if row is not None and row.state == "done" and row.verdict != UNREADABLE:
            self.presenter.preview(row, self.model.history(row.directory))
        else:
            self.presenter.cancel_preview()
            self.card.show_preview(None)

    def _update_buttons(self, selected_rows: tuple[RunRow, ...]) -> None:
        checked_count = len(self.model.checked_directories)
        self._compare_button.setText(f"&Compare {checked_count} runs" if checked_count > 1 else "&Compare runs")
        self._compare_button.setEnabled(checked_count > 1)
        self._compare_button.setAccessibleName(self._compare_button.text().replace("&", ""))
        self._compare_button.setToolTip(
            f"Check 2 to {MAX_CHECKED} runs to compare them. The run that you check first is the baseline."
        )
        self._open_button.setText("&Watch" if selected_rows and selected_rows[0].state == "running" else "&Open")
        self._open_button.setEnabled(len(selected_rows) == 1)
        for action_button in (self._plan_button, self._delete_button):
            action_button.setEnabled(bool(selected_rows))
        for action in self._single_run_actions:
            action.setEnabled(len(selected_rows) == 1)

    def _set_status(self, text: str) -> None:
        self._status.setText(text)

    def _show_menu(self) -> None:
        self.menu.popup(self.table.viewport().mapToGlobal(self.table.visualRect(self.table.currentIndex()).center()))

    def _repaint(self) -> None:
        self.table.viewport().update()

    def _go_home(self) -> None:
        self._navigation.page_requested.emit("home")

    def _choose_bundle(self) -> None:
        file_name, _ = QFileDialog.getOpenFileName(self, "Import bundle", "", "Bundles" + _BUNDLE_FILTER)
        if file_name:
            self.presenter.import_path(Path(file_name))
