"""Where a report goes: format, place and size, without a dialog in the way."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QComboBox, QFileDialog, QFrame, QHBoxLayout, QLineEdit, QVBoxLayout

from app.gui.background import Latest, submit
from app.gui.formatting import size
from app.gui.results.exporting import Exported, content_of, forms, usual_path, write
from app.gui.results.state import Shown
from app.gui.widgets import button, label
from app.gui.words import tr


class ExportDrawer(QFrame):
    """`failed` tells of what could not be written."""

    failed = Signal(object)
    saved = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName(tr("Export"))
        self._shown: Shown | None = None
        self._written: Path | None = None
        self._forms = forms()
        self.form, self.place = QComboBox(), QLineEdit()
        self.form.setAccessibleName(tr("Format"))
        self.place.setAccessibleName(tr("File"))
        for one in self._forms:
            self.form.addItem(one.name if one.why_not is None else f"{one.name} ({one.why_not})", one.key)
        self.told = label("", "muted")
        self.save = button(tr("&Save"), self.save_now, primary=True)
        self.browse = button(tr("C&hoose…"), self._choose)
        self.open = button(tr("&Open"), self._open)
        self.show_folder = button(tr("Show in &folder"), self._show_folder)
        self.copy = button(tr("Cop&y summary as Markdown"), self._copy)
        self.close_button = button(tr("Cl&ose"), self.hide)
        self._build()
        self.form.currentIndexChanged.connect(self._form_changed)
        self._rendering: Latest[bytes] = Latest(self, self._rendered, self.failed.emit)
        self.hide()

    def open_for(self, shown: Shown) -> None:
        self.show_run(shown)
        self.show()
        self._form_changed()
        self.form.setFocus()

    def show_run(self, shown: Shown) -> None:
        """What would be written now."""
        self._shown, self._written = shown, None
        if self.isVisible():
            self._form_changed()

    def save_now(self) -> None:
        shown, key = self._shown, str(self.form.currentData())
        if shown is None or not self.save.isEnabled():
            return
        path = Path(self.place.text()).expanduser()
        self.save.setEnabled(False)
        submit(self, lambda: write(shown, key, path), self._saved, self._failed)

    def _form_changed(self) -> None:
        shown, key = self._shown, str(self.form.currentData())
        if shown is None:
            return
        self._written = None
        self.place.setText(str(usual_path(shown, key)))
        can_be_had = next(one for one in self._forms if one.key == key).why_not is None
        self.save.setEnabled(False)
        self._show_written()
        self.told.setText(tr("writing…") if can_be_had else tr("cannot be had here"))
        if can_be_had:
            self._rendering.ask(lambda: content_of(shown, key))

    def _rendered(self, content: bytes) -> None:
        self.told.setText(size(len(content)))
        self.save.setEnabled(True)

    def _failed(self, error: Exception) -> None:
        self.save.setEnabled(True)
        self.failed.emit(error)

    def _saved(self, exported: Exported) -> None:
        self._written = exported.path
        self.save.setEnabled(True)
        self.told.setText(tr("{size} written").format(size=size(exported.size_bytes)))
        self._show_written()
        self.saved.emit(exported)

    def _show_written(self) -> None:
        for one in (self.open, self.show_folder):
            one.setEnabled(self._written is not None)

    def _choose(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, tr("Save the report as"), self.place.text())
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
            submit(self, lambda: content_of(shown, "markdown"), self._copied, self.failed.emit)

    def _copied(self, content: bytes) -> None:
        QGuiApplication.clipboard().setText(content.decode())
        self.told.setText(tr("The summary is in the clipboard."))

    def _build(self) -> None:
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(label(tr("Export"), "heading"))
        first.addWidget(self.form)
        first.addWidget(self.place, 1)
        first.addWidget(self.browse)
        for one in (self.save, self.open, self.show_folder, self.copy):
            second.addWidget(one)
        second.addWidget(self.told, 1)
        second.addWidget(self.close_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 8, 12, 8)
        layout.addLayout(first)
        layout.addLayout(second)
