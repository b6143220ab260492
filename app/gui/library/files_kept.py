"""What a list of files offers of a file that is the user's own: forget it, or say where it is now.

Files that the user keeps in the library, wherever they lie.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QFileDialog, QPushButton, QWidget

from app.gui.settings import open_settings
from app.gui.widgets import button

Kind = Literal["models", "profiles"]
_MOST = 200


def remembered(kind: Kind) -> tuple[Path, ...]:
    """The newest first; some may be gone."""
    value = open_settings().value(f"library/{kind}", [])
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(Path(str(name)) for name in names[:_MOST] if name)


def remember(kind: Kind, path: Path) -> None:
    kept = [path.absolute(), *(one for one in remembered(kind) if one != path.absolute())]
    _write(kind, kept[:_MOST])


def remember_opened(kind: Kind, path: Path) -> None:
    """What was opened from anywhere; what the library shows anyway, as bundled or as a run's, is left out."""
    from app.profiles.bundled import DIRECTORY

    is_of_a_run = (path.parent / "events.jsonl").exists()
    if not is_of_a_run and not path.absolute().is_relative_to(DIRECTORY):
        remember(kind, path)


def forget(kind: Kind, path: Path) -> None:
    _write(kind, [one for one in remembered(kind) if one != path])


def relocate(kind: Kind, path: Path, there: Path) -> None:
    """In the same place of the list."""
    _write(kind, [there.absolute() if one == path else one for one in remembered(kind)])


def _write(kind: Kind, paths: list[Path]) -> None:
    settings = open_settings()
    settings.setValue(f"library/{kind}", [str(path) for path in paths])
    settings.sync()


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
