"""The profile that is being edited: its text, what it says, and every change as something to undo."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from app.errors import ProfileError
from app.profiles.document import KeyPath, read_document
from app.profiles.editing import REMOVED, edit, rewritten, value_at

_PAUSE_S = 1.5
_TYPED = "text"
_COMMAND_ID = 1


class ProfileDocument(QObject):
    """The text is what counts: a field that is edited changes its own letters in it and no comment.

    While the text is no YAML, `error` says why, `tree` stays as it last was, and fields cannot be edited.
    """

    changed = Signal()
    comments_lost = Signal()
    """A change could not be made in place, so that the file was written anew."""
    opened = Signal()
    """It is another one now."""

    def __init__(self, parent: QObject | None = None, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(parent)
        self._now = now
        self.stack = QUndoStack(self)
        self.path: Path | None = None
        self.directory = Path.cwd()
        self.text = ""
        self.tree: dict[str, Any] = {}
        self.error: ProfileError | None = None
        self._saved_text = ""

    def open(self, text: str, path: Path | None, directory: Path | None = None) -> None:
        """`directory` is what paths in it are relative to, where it is in no file of its own."""
        self.stack.clear()
        self.path = path
        self.directory = path.parent if path is not None else directory or Path.cwd()
        self._saved_text = text
        self._put(text)
        self.opened.emit()

    @property
    def is_saved(self) -> bool:
        return self.text == self._saved_text

    def mark_saved(self, path: Path) -> None:
        self.path, self.directory, self._saved_text = path, path.parent, self.text
        self.changed.emit()

    def mark_unsaved(self) -> None:
        """What was recovered is in no file."""
        self._saved_text = "\0"
        self.changed.emit()

    def value(self, path: str) -> object | None:
        """At a dotted path; None where there is nothing."""
        found = value_at(self.tree, keys_of(path))
        return None if found is REMOVED else found

    def set_value(self, path: KeyPath, value: Any) -> None:
        """As one step to undo; edits of the same field one after another are one step."""
        if self.error is not None:
            return
        try:
            edited = edit(self.text, path, value)
        except KeyError:  # the record is gone that an editor still told of
            return
        verb = "Remove {what}" if value is REMOVED else "Set {what}"
        self._push(edited.text, verb.format(what=dotted(path)), dotted(path))
        if edited.is_anew:
            self.comments_lost.emit()

    def set_dotted(self, path: str, value: object) -> None:
        """As special editors tell it: None takes away."""
        self.set_value(keys_of(path), REMOVED if value is None else value)

    def set_tree(self, tree: dict[str, Any], what: str) -> None:
        edited = rewritten(self.text, tree) if self.error is None else None
        if edited is not None:
            self._push(edited.text, what, None)

    def set_text(self, text: str) -> None:
        """As it was typed; a pause begins another step to undo."""
        self._push(text, "Edit the YAML", _TYPED)

    def _push(self, text: str, what: str, field: str | None) -> None:
        if text != self.text:
            self.stack.push(_Change(self, text, what, field, self._now()))

    def _put(self, text: str) -> None:
        self.text = text
        try:
            tree = read_document(text.encode(), str(self.path or "this profile")).value
        except ProfileError as error:
            self.error = error
        else:
            self.error = None if isinstance(tree, dict | None) else _no_mapping(self.path)
            self.tree = tree if isinstance(tree, dict) else {} if tree is None else self.tree
        self.changed.emit()

    def put(self, text: str) -> None:
        """For undo and redo."""
        self._put(text)


class _Change(QUndoCommand):
    def __init__(self, document: ProfileDocument, text: str, what: str, field: str | None, at_s: float) -> None:
        super().__init__(what)
        self._document = document
        self.before, self.after, self.field, self.at_s = document.text, text, field, at_s

    def undo(self) -> None:
        self._document.put(self.before)

    def redo(self) -> None:
        self._document.put(self.after)

    def id(self) -> int:
        return _COMMAND_ID

    def mergeWith(self, other: QUndoCommand) -> bool:
        if not isinstance(other, _Change) or self.field is None or other.field != self.field:
            return False
        if self.field == _TYPED and other.at_s - self.at_s > _PAUSE_S:
            return False
        self.after, self.at_s = other.after, other.at_s
        self.setObsolete(self.before == self.after)
        return True


def dotted(path: KeyPath) -> str:
    return ".".join(str(key) for key in path)


def keys_of(path: str) -> KeyPath:
    return tuple(int(key) if key.isdecimal() else key for key in path.split("."))


def _no_mapping(path: Path | None) -> ProfileError:
    return ProfileError("a profile is a mapping of keys", path=str(path or ""), hint="Begin with `sizewise: 1`.")
