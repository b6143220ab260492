"""Base class of all field editors: an editor shows a value and reports what the user changes."""

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
    """Signals shared by all editors of a form.

    Relative paths are resolved against `directory`. `special_paths` holds the dotted paths that have a dedicated editor
    beside the one of the form.
    """

    edited = Signal(object, object)
    """Emitted after an edit: the KeyPath and the new value as YAML holds it, or `REMOVED`."""
    focused = Signal(object)
    """Emitted when an editor gets the keyboard focus: its FieldSpec."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.directory = Path()
        self.special_paths: set[str] = set()


class Editor(QWidget):
    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__()
        self.spec, self.path, self.edits = spec, path, edits

    def show_value(self, value: Any) -> None:
        """Show a value; `REMOVED` if the profile does not set it."""
        raise NotImplementedError

    def set_accessible_text(self, text: str, description: str) -> None:
        """Set the accessible name and description for screen readers."""
        self.setAccessibleName(text)
        self.setAccessibleDescription(description)

    def focus(self) -> None:
        self.setFocus()

    def emit_edit(self, value: Any) -> None:
        self.edits.edited.emit(self.path, value)
