"""What every editor of a field is: it shows a value, and tells what a person made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from app.profiles.document import KeyPath
from app.profiles.editing import REMOVED
from app.profiles.fields import FieldSpec

__all__ = ["REMOVED", "Editor", "Edits"]


class Edits(QObject):
    """Where all editors of a form tell what was edited; `directory` is what paths are relative to; `special` are dotted
    paths that have an editor of their own beside the form's."""

    edited = Signal(object, object)
    """KeyPath, and a value as YAML has it, or REMOVED."""
    focused = Signal(object)
    """A FieldSpec: the keyboard is in its editor."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.directory = Path()
        self.special: set[str] = set()


class Editor(QWidget):
    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__()
        self.spec, self.path, self.edits = spec, path, edits

    def show_value(self, value: Any) -> None:
        """REMOVED where the profile does not say."""
        raise NotImplementedError

    def name(self, text: str, description: str) -> None:
        """For readers of screens."""
        self.setAccessibleName(text)
        self.setAccessibleDescription(description)

    def focus(self) -> None:
        self.setFocus()

    def tell(self, value: Any) -> None:
        self.edits.edited.emit(self.path, value)
