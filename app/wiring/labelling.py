"""A note on a run: by its engine while it goes on, else beside its facts."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from app.errors import UsageError
from app.records.control import NOTE_LENGTH, AddNote
from app.storage.control import ask_engine
from app.storage.labels import add_note
from app.storage.run_directory import StoredRun


def note_run(directory: Path, text: str, now: datetime) -> str:
    """What became of it, in words. Raises UsageError for what is no note."""
    if not 1 <= len(text) <= NOTE_LENGTH:
        raise UsageError(f"a note has 1 to {NOTE_LENGTH} characters")
    if StoredRun(directory).is_running:
        return ask_engine(directory, AddNote(text))
    add_note(directory, text, now)
    return "noted"
