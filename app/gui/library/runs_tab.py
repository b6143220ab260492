"""Runs tab: search, filter, tick, label, share, delete and restore stored runs."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QApplication, QFileDialog, QMenu, QToolButton, QWidget

from app.gui.library.listed import Listed, mask_of
from app.gui.library.run_card import RunCard
from app.gui.library.run_filters import RunFilters
from app.gui.library.runs_model import MOST_TICKED, RunsModel, RunsTable
from app.gui.library.runs_presenter import RunsPresenter
from app.gui.navigation import Navigation
from app.gui.tables import describe
from app.gui.theme import Look
from app.gui.widgets import Empty, button, hbox, label, vbox
from app.reporting.run_rows import RunRow

_REFRESH_MS = 3_000
_BUNDLE_FILTER = " (*.zip);;"


class RunsTab(QWidget):
    trash_wanted = Signal()

    def __init__(self, navigation: Navigation, look: Look, presenter: RunsPresenter) -> None:
        super().__init__()
        self._navigation, self.presenter = navigation, presenter
        self._listed: Listed | None = None
        self._run_to_select: str | None = None
        self.model = RunsModel(look)
        self.table = RunsTable(self.model)
        self.filters = RunFilters()
        self.card = RunCard()
        self._status = label("", "muted", wrap=True)
        self._status.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.empty = Empty(
            "No runs yet. A run is one execution of a profile; its facts stay here, whoever started it.",
            button("&Make the first run", self._go_home, primary=True),
            button("&Import a bundle…", self._ask_import),
        )
        self._no_matches = Empty(
            "No run is so: change the search or the filters.", button("Show a&ll runs", self.filters.clear)
        )
        self._make_buttons()
        self._build()
        self._connect(look)
        self._refresh_timer = QTimer(self, interval=_REFRESH_MS)
        self._refresh_timer.timeout.connect(self.presenter.refresh)

    # State

    def enter(self) -> None:
        self.presenter.refresh()

    def leave(self) -> None:
        self._refresh_timer.stop()

    def show_listed(self, listed: Listed) -> None:
        previous, self._listed = self._listed, listed
        if previous is None or previous.rows != listed.rows:
            chosen = self.chosen()
            self.model.set_listed(listed)
            self.filters.show_tags(sorted({tag for row in listed.rows for tag in row.tags}))
            self._filter()
            if previous is None:
                self.table.lay_out()
            self._choose(self._run_to_select or (None if chosen is None else chosen.directory))
            self._run_to_select = None
        is_running = any(row.state == "running" for row in listed.rows)
        (self._refresh_timer.start if is_running and self.isVisible() else self._refresh_timer.stop)()
        self._update_state()

    def chosen(self) -> RunRow | None:
        """Return the current row, which the actions apply to."""
        index = self.table.currentIndex()
        return self.model.row(index.row()) if index.isValid() and index.row() < self.model.rowCount() else None

    def chosen_rows(self) -> tuple[RunRow, ...]:
        rows = sorted({index.row() for index in self.table.selectionModel().selectedRows()})
        return tuple(self.model.row(row) for row in rows)

    def ticked(self) -> tuple[Path, ...]:
        return tuple(Path(directory) for directory in self.model.ticked)

    def words_of_command(self) -> tuple[str, ...]:
        """Return the arguments of the command that shows the same in a terminal."""
        if len(self.model.ticked) > 1:
            return ("compare", *self.model.ticked)
        rows = self.chosen_rows()
        if len(rows) == 1:
            return ("runs", "show", rows[0].directory)
        filters = self.filters.asked()
        tag = ("--tag", filters.tag) if filters.tag else ()
        trust = ("--trust", filters.trust) if filters.trust else ()
        return ("runs", "list", *tag, *trust, *(("--find", filters.words) if filters.words else ()))

    # Actions

    def open(self) -> None:
        row = self.chosen()
        if row is None:
            return
        request = self._navigation.run_watched if row.state == "running" else self._navigation.run_opened
        request.emit(Path(row.directory))

    def compare(self) -> None:
        if len(self.model.ticked) > 1:
            self._navigation.comparison_wanted.emit(self.ticked())

    def plan(self) -> None:
        rows = self.chosen_rows()
        if rows:
            self._navigation.plan_wanted.emit(tuple(Path(row.directory) for row in rows))

    def delete(self) -> None:
        rows = self.chosen_rows()
        if rows:
            self.presenter.delete([Path(row.directory) for row in rows])

    def export(self) -> bool:
        row = self.chosen()
        if row is None:
            return False
        name, _ = QFileDialog.getSaveFileName(
            self, "Export the run as one file", f"{row.run_id}.zip", "Bundles" + _BUNDLE_FILTER
        )
        if name:
            self.presenter.export(Path(row.directory), Path(name))
        return True

    def promote(self) -> None:
        row = self.chosen()
        if row is not None:
            self.presenter.promote(Path(row.directory))

    def copy_path(self) -> None:
        row = self.chosen()
        if row is not None:
            QApplication.clipboard().setText(row.directory)

    def give_title(self, title: str) -> None:
        row = self.chosen()
        if row is not None:
            self.presenter.set_title(Path(row.directory), title, row.title or "")

    def give_tags(self, tags: tuple[str, ...]) -> None:
        row = self.chosen()
        if row is not None:
            directory = Path(row.directory)
            self.presenter.add_tags(directory, [tag for tag in tags if tag not in row.tags])
            self.presenter.remove_tags(directory, [tag for tag in row.tags if tag not in tags])

    def give_note(self, text: str) -> None:
        row = self.chosen()
        if row is not None:
            self.presenter.add_note(Path(row.directory), text)

    def want(self, directory: Path) -> None:
        """Select this run as soon as it is listed."""
        self._run_to_select = str(directory)
        self._choose(self._run_to_select)

    # Layout and connections

    def _make_buttons(self) -> None:
        self._open = button("&Open", self.open, primary=True)
        self._compare = button("", self.compare)
        self._plan = button("&Plan from it", self.plan)
        self._delete = button("De&lete", self.delete)
        self._trash = button("Tras&h", self.trash_wanted.emit)
        self._more = QToolButton()
        self._more.setText("Mor&e")
        self._more.setAccessibleName("More")
        self._more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu = QMenu(self._more)
        self._single_run_actions = [
            self.menu.addAction("&Export as a bundle…", self.export),
            self.menu.addAction("&Make it the baseline of its profile", self.promote),
            self.menu.addAction("&Copy its path", self.copy_path),
        ]
        self.menu.addSeparator()
        self.menu.addAction("&Import a bundle…", self._ask_import)
        self.menu.addAction("&Untick all", self.model.untick_all)
        self._more.setMenu(self.menu)
        self._buttons = (self._open, self._compare, self._plan, self._delete, self._more, self._trash)

    def _build(self) -> None:
        buttons = hbox(*self._buttons[:-1], (self._status, 1), self._trash)
        vbox(
            self.filters,
            self.empty,
            self._no_matches,
            (self.table, 1),
            buttons,
            self.card,
            within=self,
            margins=(0, 10, 0, 0),
            spacing=8,
        )
        self.empty.hide()
        self._no_matches.hide()
        self._set_status("Reading the runs…")

    def _connect(self, look: Look) -> None:
        self.presenter.listed.connect(self.show_listed)
        self.filters.changed.connect(self._filter)
        self.table.opened.connect(self.open)
        self.table.menu_wanted.connect(self._show_menu)
        self.table.selectionModel().selectionChanged.connect(self._update_state)
        self.model.ticks_changed.connect(self._update_state)
        self.card.title_given.connect(self.give_title)
        self.card.tags_given.connect(self.give_tags)
        self.card.note_given.connect(self.give_note)
        look.changed.connect(self._repaint)
        delete = QShortcut(QKeySequence(QKeySequence.StandardKey.Delete), self.table)
        delete.activated.connect(self.delete)

    def _filter(self) -> None:
        if self._listed is None:
            return
        filters, chosen = self.filters.asked(), self.chosen()
        self.model.set_filter(mask_of(self._listed, filters.words, filters.trust, filters.tag))
        self._choose(None if chosen is None else chosen.directory)
        self._update_state()

    def _choose(self, directory: str | None) -> None:
        row = None if directory is None else self.model.place_of(directory)
        if row is not None:
            self.table.selectRow(row)

    def _update_state(self) -> None:
        if self._listed is None:
            return
        rows, shown_count = len(self._listed.rows), self.model.rowCount()
        self.empty.setVisible(rows == 0)
        self.filters.setVisible(rows > 0)
        self._no_matches.setVisible(rows > 0 and shown_count == 0)
        self.table.setVisible(shown_count > 0)
        for action_button in self._buttons[:-1]:
            action_button.setVisible(rows > 0)
        chosen = self.chosen_rows()
        self.card.show_run(chosen[0] if len(chosen) == 1 else None)
        self._update_buttons(chosen)
        self._set_status(self.filters.status(self._listed, shown_count))
        describe(self.table, "Stored runs")

    def _update_buttons(self, chosen: tuple[RunRow, ...]) -> None:
        ticked = len(self.model.ticked)
        self._compare.setText(f"&Compare {ticked} ticked" if ticked else "&Compare ticked")
        self._compare.setEnabled(ticked > 1)
        self._compare.setAccessibleName(self._compare.text().replace("&", ""))
        self._compare.setToolTip(f"Tick 2 to {MOST_TICKED} runs; the first is the baseline.")
        self._open.setText("&Watch" if chosen and chosen[0].state == "running" else "&Open")
        self._open.setEnabled(len(chosen) == 1)
        for action_button in (self._plan, self._delete):
            action_button.setEnabled(bool(chosen))
        for action in self._single_run_actions:
            action.setEnabled(len(chosen) == 1)

    def _set_status(self, text: str) -> None:
        self._status.setText(text)

    def _show_menu(self) -> None:
        self.menu.popup(self.table.viewport().mapToGlobal(self.table.visualRect(self.table.currentIndex()).center()))

    def _repaint(self) -> None:
        self.table.viewport().update()

    def _go_home(self) -> None:
        self._navigation.page_wanted.emit("home")

    def _ask_import(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Import a bundle", "", "Bundles" + _BUNDLE_FILTER)
        if name:
            self.presenter.import_path(Path(name))
