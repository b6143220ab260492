"""Title, tags and notes of a run as steps that can be undone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from PySide6.QtGui import QUndoCommand

from app.records.bundle import Labels
from app.storage.labels import add_note, add_tags, put_labels, read_labels, remove_tags, set_title

Told = Callable[[Path, Labels], object]


class LabelStep(QUndoCommand):
    """Done when it is made, since what is no tag is refused then. Others may label the run too: undoing puts back what
    was there before."""

    def __init__(self, text: str, directory: Path, before: Labels, after: Labels, told: Told) -> None:
        super().__init__(text)
        self._directory, self._before, self._after, self._told = directory, before, after, told
        self._is_done = True

    def redo(self) -> None:
        if not self._is_done:
            put_labels(self._directory, self._after)
        self._is_done = True
        self._told(self._directory, self._after)

    def undo(self) -> None:
        put_labels(self._directory, self._before)
        self._is_done = False
        self._told(self._directory, self._before)


def title_step(directory: Path, title: str, told: Told) -> LabelStep | None:
    """None where nothing changes. Raises UsageError for one that is too long."""
    before = read_labels(directory)
    after = set_title(directory, title)
    return None if after == before else LabelStep("Title", directory, before, after, told)


def tag_step(directory: Path, wanted: frozenset[str], told: Told) -> LabelStep | None:
    """None where nothing changes. Raises UsageError for what is no tag, and changes nothing then."""
    before = read_labels(directory)
    has = frozenset(before.tags)
    if wanted == has:
        return None
    after = add_tags(directory, wanted - has) if wanted - has else before
    after = remove_tags(directory, has - wanted) if has - wanted else after
    return LabelStep("Tags", directory, before, after, told)


def note_step(directory: Path, text: str, told: Told) -> LabelStep:
    """Raises UsageError where the run takes no more."""
    before = read_labels(directory)
    after = add_note(directory, text, datetime.now(UTC).astimezone())
    return LabelStep("Note", directory, before, after, told)
