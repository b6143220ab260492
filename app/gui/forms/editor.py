"""Base class of all field editors. An editor displays a value and reports the user's edits."""

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

    Relative paths in fields are resolved against `directory`. `special_paths` contains the dotted
    key paths that have a special editor in addition to the editor of the form. Fields in
    `hidden_paths` are only shown for an error; fields in `unused_paths`, which do not apply to the
    target, also if they are set.
    """

    edited = Signal(object, object)
    """Signal that is emitted after an edit with the `KeyPath` of the field and the new value as in
    the YAML, or `REMOVED`."""
    focused = Signal(object)
    """Signal that is emitted with the `FieldSpec` of an editor that gets the keyboard focus."""
    finished = Signal(object)
    """Signal that is emitted with the `KeyPath` of a text field when its text is complete: the text
    was pasted, or the user pressed Enter or left the field."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.directory = Path()
        self.special_paths: set[str] = set()
        self.hidden_paths: frozenset[str] = frozenset()
        self.unused_paths: frozenset[str] = frozenset()


class Editor(QWidget):
    """Editor of one field. `focus_target` is the part of the editor that gets the keyboard focus.

    It is no focus proxy: Qt would focus it a second time at the place of the editor in the tab
    order, so that Tab would lead back from there and never further.
    """

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__()
        self.spec, self.path, self.edits = spec, path, edits
        self.focus_target: QWidget = self

    def show_value(self, value: Any) -> None:
        """Show a value. `REMOVED` means that the profile does not set the field."""
        raise NotImplementedError

    def set_accessible_text(self, name: str, description: str) -> None:
        """Set the accessible name and description for screen readers."""
        self.setAccessibleName(name)
        self.setAccessibleDescription(description)

    def focus(self) -> None:
        self.focus_target.setFocus()

    def emit_edit(self, value: Any) -> None:
        self.edits.edited.emit(self.path, value)
