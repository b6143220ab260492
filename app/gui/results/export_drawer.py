"""Where a report goes: format, place, size and what it tells of names, without a dialog in the way.

What an exported file tells: of hosts, models and prompts, of rows; and which word would stand for
which name.
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


_MOST_ROWS = 5
_WIDEST = 60


class TellingChoice(QWidget):
    """A tick puts it into the file. Prompts are left out until somebody ticks them."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.hosts = QCheckBox("Hosts an&d addresses")
        self.models = QCheckBox("Mode&l names")
        self.prompts = QCheckBox("P&rompts")
        self.no_prompts = label("", "muted")
        self.beside = QCheckBox("Rows and ta&bles beside it")
        headers = {"written": "written as", "places": "places", "shown": "in the file"}
        self.names = FrameTable(FrameModel(headers=headers), "Names in the file", widest=_WIDEST)
        self.names.setToolTip("Whole names are found, in titles and notes too; parts of one are not.")
        self._told: tuple[StandIn, ...] = ()
        self._has_prompts = True
        self._build()
        self.as_usual()
        for one in (self.hosts, self.models, self.prompts, self.beside):
            one.setAccessibleName(one.text().replace("&", ""))
            one.toggled.connect(self._toggled)

    def as_usual(self) -> None:
        """Of another run. Nothing is told of its names yet."""
        for tick, is_told in ((self.hosts, True), (self.models, True), (self.prompts, False), (self.beside, True)):
            with QSignalBlocker(tick):
                tick.setChecked(is_told)
        self.show_prompts(None)
        self.show_names(())

    def show_prompts(self, why_none: str | None) -> None:
        """`why_none`: why the file has no prompts, which nothing can change."""
        self._has_prompts = why_none is None
        self.no_prompts.setText(why_none or "")
        self.prompts.setVisible(self._has_prompts)
        self.no_prompts.setVisible(not self._has_prompts)
        self.show_names(self._told)

    def hidden(self) -> tuple[Kind, ...]:
        kinds: list[Kind] = [] if self.hosts.isChecked() else ["hosts"]
        if not self.models.isChecked():
            kinds.append("models")
        if self._has_prompts and not self.prompts.isChecked():
            kinds.append("prompts")
        return tuple(kinds)

    def show_names(self, told: tuple[StandIn, ...]) -> None:
        self._told = told
        told = tuple(one for one in told if self._has_prompts or one.kind != "prompts")
        hidden, as_written = self.hidden(), "as written"
        rows = [(one.written, one.places, one.shown if one.kind in hidden else as_written) for one in told]
        self.names.set_frame(pd.DataFrame(rows, columns=["written", "places", "shown"]))
        describe(self.names, "what the file tells of names, and which of them are hidden")
        self.names.setVisible(bool(told))
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit()

    def _toggled(self) -> None:
        self.show_names(self._told)
        self.changed.emit()

    def _fit(self) -> None:
        fit_height(self.names, _MOST_ROWS)

    def _build(self) -> None:
        ticks = FlowLayout(gap=16)
        ticks.addWidget(label("In the file:", "muted"))
        for one in (self.hosts, self.models, self.prompts, self.no_prompts, self.beside):
            ticks.addWidget(one)
        vbox(ticks, self.names, within=self)


class ExportDrawer(QFrame):
    """`failed` tells of what could not be written."""

    failed = Signal(object)
    saved = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName("Export")
        self._shown: Shown | None = None
        self._written: Path | None = None
        self._usual: Path | None = None
        self._sent: tuple[str, ...] = ()
        self._forms = forms()
        self.form, self.place = QComboBox(), QLineEdit()
        self.form.setAccessibleName("Format")
        self.place.setAccessibleName("File")
        for one in self._forms:
            self.form.addItem(one.name if one.why_not is None else f"{one.name} ({one.why_not})", one.key)
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
        """What would be written now."""
        is_other = self._shown is None or self._shown.directory != shown.directory
        self._shown, self._written = shown, None
        if is_other:
            self._usual = None
            self.telling.as_usual()
            self._sent = sent_in(shown)
        if self.isVisible():
            self._naming.ask(lambda: names_in(shown))
            self._choice_changed()

    def choice(self) -> Choice:
        shown, form = self._shown, str(self.form.currentData())
        is_alone = shown is not None and has_files(shown, form) and not self.telling.beside.isChecked()
        return Choice(form, self.telling.hidden(), is_alone)

    def place_of_its_own(self) -> Path | None:
        """Where it goes, if not to the usual place."""
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
        self._put_place(usual_path(shown, choice))
        self.telling.beside.setVisible(has_files(shown, choice.form))
        can_be_had = next(one for one in self._forms if one.key == choice.form).why_not is None
        self.save.setEnabled(False)
        self._show_written()
        self.told.setText("writing…" if can_be_had else "cannot be had here")
        if can_be_had:
            self._rendering.ask(lambda: content_of(shown, choice))

    def _why_no_prompts(self) -> str | None:
        if not self._sent:
            return "There are no prompts: the profile spells none out."
        return None if has_profile(str(self.form.currentData())) else "This format has no prompts."

    def _put_place(self, usual: Path) -> None:
        """One's own place stays; another form has another ending."""
        path, was = Path(self.place.text()), self._usual
        self._usual = usual
        if was is None or path == was:
            self.place.setText(str(usual))
        elif was.suffix != usual.suffix:
            self.place.setText(str(path.with_suffix(usual.suffix)))

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
        for one in (self.open, self.show_folder):
            one.setEnabled(self._written is not None)

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
            choice = Choice("markdown", tuple(kind for kind in hidden if kind != "prompts"))  # which it has none of
            submit(self, lambda: content_of(shown, choice), self._copied, self.failed.emit)

    def _copied(self, content: bytes) -> None:
        QGuiApplication.clipboard().setText(content.decode())
        self.told.setText("The summary is in the clipboard.")

    def _build(self) -> None:
        first, second = QHBoxLayout(), FlowLayout()
        first.addWidget(label("Export", "heading"))
        first.addWidget(self.form)
        first.addWidget(self.place, 1)
        first.addWidget(self.browse)
        deeds = (self.save, self.open, self.show_folder, self.copy, self.close_button, self.told)
        height = max(one.sizeHint().height() for one in deeds)
        for one in deeds:
            one.setMinimumHeight(height)
            second.addWidget(one)
        vbox(first, self.telling, second, within=self, margins=(12, 8, 12, 8))
