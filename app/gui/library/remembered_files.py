"""Files outside the library that the user added to the lists of models and profiles.

A file can be removed from the list. If the file was moved, its path can be updated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QFileDialog, QPushButton, QWidget

from app.gui.settings import open_settings
from app.gui.widgets import button

FileKind = Literal["models", "profiles"]
_MAX_FILES = 200


def list_remembered_files(kind: FileKind) -> tuple[Path, ...]:
    """Return the files of one kind that the user added, newest first. Some of the files may no
    longer exist."""
    stored_value = open_settings().value(f"library/{kind}", [])
    stored_paths = (
        [stored_value] if isinstance(stored_value, str) else stored_value if isinstance(stored_value, list) else []
    )
    return tuple(Path(str(name)) for name in stored_paths[:_MAX_FILES] if name)


def remember(kind: FileKind, path: Path) -> None:
    paths = [
        path.absolute(),
        *(remembered_path for remembered_path in list_remembered_files(kind) if remembered_path != path.absolute()),
    ]
    _write(kind, paths[:_MAX_FILES])


def remember_opened(kind: FileKind, path: Path) -> None:
    """Remember a file that the user has opened, so that the library lists the file. Bundled files
    and files of a run are skipped, because the library lists them already."""
    from app.profiles.bundled import DATA_DIRECTORY

    is_run_file = (path.parent / "events.jsonl").exists()
    if not is_run_file and not path.absolute().is_relative_to(DATA_DIRECTORY):
        remember(kind, path)


def forget(kind: FileKind, path: Path) -> None:
    _write(kind, [remembered_path for remembered_path in list_remembered_files(kind) if remembered_path != path])


def relocate(kind: FileKind, path: Path, new_path: Path) -> None:
    """Replace the path of a listed file with its new location. The position in the list does not
    change."""
    _write(
        kind,
        [
            new_path.absolute() if remembered_path == path else remembered_path
            for remembered_path in list_remembered_files(kind)
        ],
    )


def _write(kind: FileKind, paths: list[Path]) -> None:
    settings = open_settings()
    settings.setValue(f"library/{kind}", [str(path) for path in paths])
    settings.sync()


class RememberedFileActions(QObject):
    """Buttons that remove a file from the list or update the path of a missing file. A button is
    visible only if it applies to the file."""

    changed = Signal()
    """Signal that is emitted when the user's list of files has changed."""

    def __init__(self, kind: FileKind, file_filter: str, owner: QWidget) -> None:
        super().__init__(owner)
        self._kind, self._file_filter, self._owner = kind, file_filter, owner
        self._path: Path | None = None
        self.forget_button: QPushButton = button("Remo&ve from list", self.forget)
        self.relocate_button: QPushButton = button("&Relocate…", self.choose_new_location)
        self.show_file(None, is_missing=False)

    def show_file(self, path: Path | None, *, is_missing: bool) -> None:
        """Show the buttons for the file at `path`. If `path` is None, because the file is not in
        the user's list, all buttons are hidden."""
        self._path = path
        self.forget_button.setVisible(path is not None)
        self.relocate_button.setVisible(path is not None and is_missing)

    def forget(self) -> None:
        if self._path is not None:
            forget(self._kind, self._path)
            self.changed.emit()

    def choose_new_location(self) -> None:
        path = self._choose_file("Select the new location")
        if path is not None:
            self.relocate(path)

    def relocate(self, new_path: Path) -> None:
        if self._path is not None:
            relocate(self._kind, self._path, new_path)
            self.changed.emit()

    def choose_file_to_add(self) -> Path | None:
        path = self._choose_file("Add to Library")
        if path is not None:
            self.add(path)
        return path

    def add(self, path: Path) -> None:
        remember(self._kind, path)
        self.changed.emit()

    def _choose_file(self, title: str) -> Path | None:
        file_name, _ = QFileDialog.getOpenFileName(self._owner, title, "", self._file_filter)
        return Path(file_name) if file_name else None
