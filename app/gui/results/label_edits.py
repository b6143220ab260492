"""Undoable changes of the title, tags and notes of a run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from PySide6.QtGui import QUndoCommand

from app.records.bundle import Labels
from app.storage.labels import add_note, add_tags, read_labels, remove_tags, restore_labels, set_title

OnLabelsChanged = Callable[[Path, Labels], object]


class LabelCommand(QUndoCommand):
    """Undoable change of the labels of a run.

    The labels are changed before the command is created, because invalid tags are rejected at that
    point. Undo restores the previous labels, even if another process has changed the labels since.
    """

    def __init__(self, text: str, directory: Path, before: Labels, after: Labels, on_changed: OnLabelsChanged) -> None:
        super().__init__(text)
        self._directory, self._before, self._after, self._on_changed = directory, before, after, on_changed
        self._is_done = True

    def redo(self) -> None:
        if not self._is_done:
            restore_labels(self._directory, self._after)
        self._is_done = True
        self._on_changed(self._directory, self._after)

    def undo(self) -> None:
        restore_labels(self._directory, self._before)
        self._is_done = False
        self._on_changed(self._directory, self._before)


def change_title(directory: Path, title: str, on_changed: OnLabelsChanged) -> LabelCommand | None:
    """Change the title of a run. Return None if the title is unchanged. Raises UsageError if the
    title is too long."""
    before = read_labels(directory)
    after = set_title(directory, title)
    return None if after == before else LabelCommand("Title", directory, before, after, on_changed)


def change_tags(directory: Path, tags: frozenset[str], on_changed: OnLabelsChanged) -> LabelCommand | None:
    """Replace the tags of a run. Return None if the tags are unchanged. Raises UsageError, without
    any change, if a tag is invalid."""
    before = read_labels(directory)
    current = frozenset(before.tags)
    if tags == current:
        return None
    after = add_tags(directory, tags - current) if tags - current else before
    after = remove_tags(directory, current - tags) if current - tags else after
    return LabelCommand("Tags", directory, before, after, on_changed)


def add_note_command(directory: Path, text: str, on_changed: OnLabelsChanged) -> LabelCommand:
    """Add a note to a run. Raises UsageError if the run already has the maximum number of notes."""
    before = read_labels(directory)
    after = add_note(directory, text, datetime.now(UTC).astimezone())
    return LabelCommand("Note", directory, before, after, on_changed)
