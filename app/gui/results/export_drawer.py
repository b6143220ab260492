"""Where a report goes: format, place, size and what it tells of names, without a dialog in the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QComboBox, QFileDialog, QFrame, QHBoxLayout, QLineEdit, QVBoxLayout

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
from app.gui.results.telling_choice import TellingChoice
from app.gui.widgets import button, label

if TYPE_CHECKING:
    from app.reporting.hiding import StandIn


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
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 8, 12, 8)
        layout.addLayout(first)
        layout.addWidget(self.telling)
        layout.addLayout(second)
