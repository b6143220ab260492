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

    The labels are changed before the command is created, so that invalid tags are rejected first.
    Undo restores the previous labels, even if another process has changed the labels since then.
    """

    def __init__(
        self, text: str, directory: Path, old_labels: Labels, new_labels: Labels, on_changed: OnLabelsChanged
    ) -> None:
        super().__init__(text)
        self._directory, self._old_labels, self._new_labels, self._on_changed = (
            directory,
            old_labels,
            new_labels,
            on_changed,
        )
        self._is_done = True

    def redo(self) -> None:
        if not self._is_done:
            restore_labels(self._directory, self._new_labels)
        self._is_done = True
        self._on_changed(self._directory, self._new_labels)

    def undo(self) -> None:
        restore_labels(self._directory, self._old_labels)
        self._is_done = False
        self._on_changed(self._directory, self._old_labels)


def change_title(directory: Path, title: str, on_changed: OnLabelsChanged) -> LabelCommand | None:
    """Change the title of a run. Return the undo command, or None if the title is unchanged. Raises
    UsageError if the title is too long."""
    old_labels = read_labels(directory)
    new_labels = set_title(directory, title)
    return None if new_labels == old_labels else LabelCommand("Title", directory, old_labels, new_labels, on_changed)


def change_tags(directory: Path, tags: frozenset[str], on_changed: OnLabelsChanged) -> LabelCommand | None:
    """Replace the tags of a run. Return the undo command, or None if the tags are unchanged. Raises
    UsageError, without any change, if a tag is invalid."""
    old_labels = read_labels(directory)
    old_tags = frozenset(old_labels.tags)
    if tags == old_tags:
        return None
    new_labels = add_tags(directory, tags - old_tags) if tags - old_tags else old_labels
    new_labels = remove_tags(directory, old_tags - tags) if old_tags - tags else new_labels
    return LabelCommand("Tags", directory, old_labels, new_labels, on_changed)


def add_note_command(directory: Path, text: str, on_changed: OnLabelsChanged) -> LabelCommand:
    """Add a note to a run, and return the undo command. Raises UsageError if the run already has
    the maximum number of notes."""
    old_labels = read_labels(directory)
    new_labels = add_note(directory, text, datetime.now(UTC).astimezone())
    return LabelCommand("Note", directory, old_labels, new_labels, on_changed)
