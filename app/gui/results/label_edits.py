"""Undoable changes of the title, tags and notes of a run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from PySide6.QtGui import QUndoCommand

from app.records.bundle import Labels
from app.storage.labels import add_note, add_tags, put_labels, read_labels, remove_tags, set_title

Told = Callable[[Path, Labels], object]


class LabelStep(QUndoCommand):
    """Undoable change of labels.

    The change is made before the command is created, because invalid tags are rejected then. Undo writes the labels as
    they were before, even if somebody else has changed them since.
    """

    def __init__(self, text: str, directory: Path, before: Labels, after: Labels, told: Told) -> None:
        super().__init__(text)
        self._directory, self._before, self._after, self._on_changed = directory, before, after, told
        self._is_done = True

    def redo(self) -> None:
        if not self._is_done:
            put_labels(self._directory, self._after)
        self._is_done = True
        self._on_changed(self._directory, self._after)

    def undo(self) -> None:
        put_labels(self._directory, self._before)
        self._is_done = False
        self._on_changed(self._directory, self._before)


def title_step(directory: Path, title: str, told: Told) -> LabelStep | None:
    """Change the title. Return None if it is unchanged. Raises UsageError if it is too long."""
    before = read_labels(directory)
    after = set_title(directory, title)
    return None if after == before else LabelStep("Title", directory, before, after, told)


def tag_step(directory: Path, wanted: frozenset[str], told: Told) -> LabelStep | None:
    """Change the tags to `wanted`. Return None if they are unchanged. Raises UsageError, and changes nothing, if a tag
    is invalid."""
    before = read_labels(directory)
    current = frozenset(before.tags)
    if wanted == current:
        return None
    after = add_tags(directory, wanted - current) if wanted - current else before
    after = remove_tags(directory, current - wanted) if current - wanted else after
    return LabelStep("Tags", directory, before, after, told)


def note_step(directory: Path, text: str, told: Told) -> LabelStep:
    """Add a note. Raises UsageError if the run has the maximum number of notes."""
    before = read_labels(directory)
    after = add_note(directory, text, datetime.now(UTC).astimezone())
    return LabelStep("Note", directory, before, after, told)
