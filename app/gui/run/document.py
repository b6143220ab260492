"""Document of the edited profile: its text, its values, and the undo stack of all changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from app.errors import ProfileError
from app.profiles.document import KeyPath, read_document
from app.profiles.editing import REMOVED, edit, get_value, rewrite

_TYPING_PAUSE_S = 1.5
_TEXT_FIELD = "text"
_COMMAND_ID = 1


class ProfileDocument(QObject):
    """Document of the edited profile. The text is authoritative: editing a field changes only the
    characters of that field and preserves all comments.

    While the text is not valid YAML, `error` describes the problem, `tree` has the last valid
    values, and fields cannot be edited.
    """

    changed = Signal()
    comments_lost = Signal()
    """Signal that is emitted when a change could not be made in place, so that the text was
    rewritten without its comments."""
    opened = Signal()
    """Signal that is emitted when another profile has been opened."""

    def __init__(self, parent: QObject | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(parent)
        self._clock = clock
        self.undo_stack = QUndoStack(self)
        self.path: Path | None = None
        self.directory = Path.cwd()
        self.text = ""
        self.tree: dict[str, Any] = {}
        self.error: ProfileError | None = None
        self._saved_text = ""

    def open(self, text: str, path: Path | None, directory: Path | None = None) -> None:
        """Open a profile. `directory` is the base directory of relative paths if the profile has no
        file yet."""
        self.undo_stack.clear()
        self.path = path
        self.directory = path.parent if path is not None else directory or Path.cwd()
        self._saved_text = text
        self._replace_text(text)
        self.opened.emit()

    @property
    def is_saved(self) -> bool:
        return self.text == self._saved_text

    def mark_saved(self, path: Path) -> None:
        self.path, self.directory, self._saved_text = path, path.parent, self.text
        self.changed.emit()

    def mark_unsaved(self) -> None:
        """Mark the document as unsaved, for example after a draft has been recovered."""
        self._saved_text = "\0"
        self.changed.emit()

    def value(self, path: str) -> object | None:
        """Return the value at a dotted path, or `None` if no value is set."""
        value = get_value(self.tree, parse_path(path))
        return None if value is REMOVED else value

    def set_value(self, path: KeyPath, value: Any) -> None:
        """Set the value of a field as one undo step. Consecutive edits of the same field are merged
        into one undo step."""
        if self.error is not None:
            return
        try:
            edited_text = edit(self.text, path, value)
        except KeyError:  # an editor reported a record that has already been removed
            return
        verb = "Remove" if value is REMOVED else "Set"
        self._push_change(edited_text.text, f"{verb} {format_path(path)}", format_path(path))
        if edited_text.is_rewritten:
            self.comments_lost.emit()

    def set_dotted_value(self, path: str, value: object) -> None:
        """Set the value at a dotted path, or remove the key if the value is `None`. This method is
        called with the edits of the special editors."""
        self.set_value(parse_path(path), REMOVED if value is None else value)

    def set_tree(self, tree: dict[str, Any], title: str) -> None:
        edited_text = rewrite(self.text, tree) if self.error is None else None
        if edited_text is not None:
            self._push_change(edited_text.text, title, None)

    def set_text(self, text: str) -> None:
        """Replace the text with text that the user typed. A pause in typing starts a new undo
        step."""
        self._push_change(text, "Edit YAML", _TEXT_FIELD)

    def _push_change(self, text: str, title: str, field: str | None) -> None:
        if text != self.text:
            self.undo_stack.push(_Change(self, text, title, field, self._clock()))

    def _replace_text(self, text: str) -> None:
        self.text = text
        try:
            tree = read_document(text.encode(), str(self.path or "this profile")).value
        except ProfileError as error:
            self.error = error
        else:
            self.error = None if isinstance(tree, dict | None) else _create_not_a_mapping_error(self.path)
            self.tree = tree if isinstance(tree, dict) else {} if tree is None else self.tree
        self.changed.emit()

    def replace_text(self, text: str) -> None:
        """Replace the text without a new undo step. Undo and redo call this method."""
        self._replace_text(text)


class _Change(QUndoCommand):
    def __init__(self, document: ProfileDocument, text: str, title: str, field: str | None, time_s: float) -> None:
        super().__init__(title)
        self._document = document
        self.old_text, self.new_text, self.field, self.time_s = document.text, text, field, time_s

    def undo(self) -> None:
        self._document.replace_text(self.old_text)

    def redo(self) -> None:
        self._document.replace_text(self.new_text)

    def id(self) -> int:
        return _COMMAND_ID

    def mergeWith(self, other: QUndoCommand) -> bool:
        if not isinstance(other, _Change) or self.field is None or other.field != self.field:
            return False
        if self.field == _TEXT_FIELD and other.time_s - self.time_s > _TYPING_PAUSE_S:
            return False
        self.new_text, self.time_s = other.new_text, other.time_s
        self.setObsolete(self.old_text == self.new_text)
        return True


def format_path(path: KeyPath) -> str:
    return ".".join(str(key) for key in path)


def parse_path(path: str) -> KeyPath:
    return tuple(int(key) if key.isdecimal() else key for key in path.split("."))


def _create_not_a_mapping_error(path: Path | None) -> ProfileError:
    return ProfileError(
        "a profile must consist of `key: value` lines", path=str(path or ""), hint="Start with `sizewise: 1`."
    )
