"""Export drawer: format, file, size, and which names the report contains, without a dialog.

The table of names lists the hosts, models and prompts in the report, and the replacement of each name that is redacted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from PySide6.QtCore import QEvent, QSignalBlocker, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QFrame, QHBoxLayout, QLineEdit, QWidget

from app.gui.background import Latest, submit
from app.gui.flow import FlowLayout
from app.gui.formatting import size
from app.gui.results.exporting import (
    Choice,
    Exported,
    content_of,
    forms,
    has_files,
    has_profile,
    names_in,
    sent_in,
    usual_path,
    write,
)
from app.gui.results.state import Shown
from app.gui.results.tabs.tab import fit_height
from app.gui.tables import FrameModel, FrameTable, describe
from app.gui.widgets import button, label, vbox

if TYPE_CHECKING:
    from app.reporting.hiding import Kind, StandIn


_MAX_ROWS_SHOWN = 5
_MAX_COLUMN_CHARACTERS = 60


class TellingChoice(QWidget):
    """Choice of what the file contains. A tick includes it. Prompts are left out by default."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.hosts = QCheckBox("Hosts an&d addresses")
        self.models = QCheckBox("Mode&l names")
        self.prompts = QCheckBox("P&rompts")
        self.no_prompts = label("", "muted")
        self.beside = QCheckBox("Rows and ta&bles beside it")
        headers = {"written": "written as", "places": "places", "shown": "in the file"}
        self.names = FrameTable(FrameModel(headers=headers), "Names in the file", widest=_MAX_COLUMN_CHARACTERS)
        self.names.setToolTip("Whole names are found, in titles and notes too; parts of one are not.")
        self._names: tuple[StandIn, ...] = ()
        self._has_prompts = True
        self._build()
        self.as_usual()
        for checkbox in (self.hosts, self.models, self.prompts, self.beside):
            checkbox.setAccessibleName(checkbox.text().replace("&", ""))
            checkbox.toggled.connect(self._toggled)

    def as_usual(self) -> None:
        """Reset to the defaults for another run. Its names are not known yet."""
        for checkbox, is_included in (
            (self.hosts, True),
            (self.models, True),
            (self.prompts, False),
            (self.beside, True),
        ):
            with QSignalBlocker(checkbox):
                checkbox.setChecked(is_included)
        self.show_prompts(None)
        self.show_names(())

    def show_prompts(self, why_none: str | None) -> None:
        """Offer prompts, or show `why_none`, the reason why the file can have none."""
        self._has_prompts = why_none is None
        self.no_prompts.setText(why_none or "")
        self.prompts.setVisible(self._has_prompts)
        self.no_prompts.setVisible(not self._has_prompts)
        self.show_names(self._names)

    def hidden(self) -> tuple[Kind, ...]:
        kinds: list[Kind] = [] if self.hosts.isChecked() else ["hosts"]
        if not self.models.isChecked():
            kinds.append("models")
        if self._has_prompts and not self.prompts.isChecked():
            kinds.append("prompts")
        return tuple(kinds)

    def show_names(self, told: tuple[StandIn, ...]) -> None:
        self._names = told
        told = tuple(name for name in told if self._has_prompts or name.kind != "prompts")
        hidden, as_written = self.hidden(), "as written"
        rows = [(name.written, name.places, name.shown if name.kind in hidden else as_written) for name in told]
        self.names.set_frame(pd.DataFrame(rows, columns=["written", "places", "shown"]))
        describe(self.names, "what the file tells of names, and which of them are hidden")
        self.names.setVisible(bool(told))
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit()

    def _toggled(self) -> None:
        self.show_names(self._names)
        self.changed.emit()

    def _fit(self) -> None:
        fit_height(self.names, _MAX_ROWS_SHOWN)

    def _build(self) -> None:
        choices = FlowLayout(gap=16)
        choices.addWidget(label("In the file:", "muted"))
        for widget in (self.hosts, self.models, self.prompts, self.no_prompts, self.beside):
            choices.addWidget(widget)
        vbox(choices, self.names, within=self)


class ExportDrawer(QFrame):
    """Writes the shown run to a file. `failed` emits the error if that fails."""

    failed = Signal(object)
    saved = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName("Export")
        self._shown: Shown | None = None
        self._written: Path | None = None
        self._default_path: Path | None = None
        self._prompt_keys: tuple[str, ...] = ()
        self._forms = forms()
        self.form, self.place = QComboBox(), QLineEdit()
        self.form.setAccessibleName("Format")
        self.place.setAccessibleName("File")
        for form in self._forms:
            self.form.addItem(form.name if form.why_not is None else f"{form.name} ({form.why_not})", form.key)
        self.telling = TellingChoice()
        self.told = label("", "muted")
        self.save = button("&Save", self.save_now, primary=True)
        self.browse = button("C&hoose…", self._choose)
        self.open = button("&Open", self._open)
        self.show_folder = button("Show in &folder", self._show_folder)
        self.copy = button("Cop&y summary as Markdown", self._copy)
        self.close_button = button("Cl&ose", self.hide)
        self._build()
        self.form.currentIndexChanged.connect(self._choice_changed)
        self.telling.changed.connect(self._choice_changed)
        self._rendering: Latest[bytes] = Latest(self, self._rendered, self.failed.emit)
        self._naming: Latest[tuple[StandIn, ...]] = Latest(self, self.telling.show_names, self.failed.emit)
        self.hide()

    def open_for(self, shown: Shown) -> None:
        self.show()
        self.show_run(shown)
        self.form.setFocus()

    def show_run(self, shown: Shown) -> None:
        """Update the drawer to what would be written now."""
        is_another_run = self._shown is None or self._shown.directory != shown.directory
        self._shown, self._written = shown, None
        if is_another_run:
            self._default_path = None
            self.telling.as_usual()
            self._prompt_keys = sent_in(shown)
        if self.isVisible():
            self._naming.ask(lambda: names_in(shown))
            self._choice_changed()

    def choice(self) -> Choice:
        shown, form = self._shown, str(self.form.currentData())
        is_alone = shown is not None and has_files(shown, form) and not self.telling.beside.isChecked()
        return Choice(form, self.telling.hidden(), is_alone)

    def place_of_its_own(self) -> Path | None:
        """Return the path that the user chose, or None for the default path."""
        path = Path(self.place.text()).expanduser()
        return None if self._shown is None or path == usual_path(self._shown, self.choice()) else path

    def save_now(self) -> None:
        shown, choice = self._shown, self.choice()
        if shown is None or not self.save.isEnabled():
            return
        path = Path(self.place.text()).expanduser()
        self.save.setEnabled(False)
        submit(self, lambda: write(shown, choice, path), self._saved, self._failed)

    def _choice_changed(self) -> None:
        shown = self._shown
        if shown is None:
            return
        self.telling.show_prompts(self._why_no_prompts())
        self._written, choice = None, self.choice()
        self._show_path(usual_path(shown, choice))
        self.telling.beside.setVisible(has_files(shown, choice.form))
        is_available = next(form for form in self._forms if form.key == choice.form).why_not is None
        self.save.setEnabled(False)
        self._show_written()
        self.told.setText("writing…" if is_available else "cannot be had here")
        if is_available:
            self._rendering.ask(lambda: content_of(shown, choice))

    def _why_no_prompts(self) -> str | None:
        if not self._prompt_keys:
            return "There are no prompts: the profile spells none out."
        return None if has_profile(str(self.form.currentData())) else "This format has no prompts."

    def _show_path(self, default: Path) -> None:
        """Show the default path. A path that the user chose is kept, with the file extension of the new format."""
        path, previous = Path(self.place.text()), self._default_path
        self._default_path = default
        if previous is None or path == previous:
            self.place.setText(str(default))
        elif previous.suffix != default.suffix:
            self.place.setText(str(path.with_suffix(default.suffix)))

    def _rendered(self, content: bytes) -> None:
        self.told.setText(size(len(content)))
        self.save.setEnabled(True)

    def _failed(self, error: Exception) -> None:
        self.save.setEnabled(True)
        self.failed.emit(error)

    def _saved(self, exported: Exported) -> None:
        self._written = exported.path
        self.save.setEnabled(True)
        self.told.setText(f"{size(exported.size_bytes)} written")
        self._show_written()
        self.saved.emit(exported)

    def _show_written(self) -> None:
        for action_button in (self.open, self.show_folder):
            action_button.setEnabled(self._written is not None)

    def _choose(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the report as", self.place.text())
        if name:
            self.place.setText(name)

    def _open(self) -> None:
        if self._written is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._written)))

    def _show_folder(self) -> None:
        if self._written is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._written.parent)))

    def _copy(self) -> None:
        shown = self._shown
        if shown is not None:
            hidden = self.telling.hidden()
            # Markdown contains no prompts
            choice = Choice("markdown", tuple(kind for kind in hidden if kind != "prompts"))
            submit(self, lambda: content_of(shown, choice), self._copied, self.failed.emit)

    def _copied(self, content: bytes) -> None:
        QGuiApplication.clipboard().setText(content.decode())
        self.told.setText("The summary is in the clipboard.")

    def _build(self) -> None:
        form_row, action_row = QHBoxLayout(), FlowLayout()
        form_row.addWidget(label("Export", "heading"))
        form_row.addWidget(self.form)
        form_row.addWidget(self.place, 1)
        form_row.addWidget(self.browse)
        actions = (self.save, self.open, self.show_folder, self.copy, self.close_button, self.told)
        height = max(action.sizeHint().height() for action in actions)
        for action in actions:
            action.setMinimumHeight(height)
            action_row.addWidget(action)
        vbox(form_row, self.telling, action_row, within=self, margins=(12, 8, 12, 8))
