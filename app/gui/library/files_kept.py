"""What a list of files offers of a file that is the user's own: forget it, or say where it is now."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QFileDialog, QPushButton, QWidget

from app.gui.library.remembered import Kind, forget, relocate, remember
from app.gui.widgets import button


class FilesKept(QObject):
    """Two buttons that show where they make sense."""

    changed = Signal()
    """The user's own list is another now."""

    def __init__(self, kind: Kind, pattern: str, owner: QWidget) -> None:
        super().__init__(owner)
        self._kind, self._pattern, self._owner = kind, pattern, owner
        self._path: Path | None = None
        self.forget_button: QPushButton = button("For&get it", self.forget)
        self.relocate_button: QPushButton = button("&Relocate…", self.ask_relocate)
        self.show_file(None, is_missing=False)

    def show_file(self, path: Path | None, *, is_missing: bool) -> None:
        """None where the file is not of the user's own list."""
        self._path = path
        self.forget_button.setVisible(path is not None)
        self.relocate_button.setVisible(path is not None and is_missing)

    def forget(self) -> None:
        if self._path is not None:
            forget(self._kind, self._path)
            self.changed.emit()

    def ask_relocate(self) -> None:
        name = self._ask("Where is it now?")
        if name is not None:
            self.relocate(name)

    def relocate(self, there: Path) -> None:
        if self._path is not None:
            relocate(self._kind, self._path, there)
            self.changed.emit()

    def ask_add(self) -> Path | None:
        name = self._ask("Add to the library")
        if name is not None:
            self.add(name)
        return name

    def add(self, path: Path) -> None:
        remember(self._kind, path)
        self.changed.emit()

    def _ask(self, title: str) -> Path | None:
        name, _ = QFileDialog.getOpenFileName(self._owner, title, "", self._pattern)
        return Path(name) if name else None
