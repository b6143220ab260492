"""Load the profile of a stored run to resume the run, and add notes to runs.

While a run is in progress, its own process adds the note. Otherwise, the note is stored in the run
directory.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from app.errors import UsageError
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.loading import load_profile
from app.profiles.local import LocalProfile
from app.profiles.secrets import REDACTED
from app.records.control import MAX_NOTE_LENGTH, AddNote
from app.storage.control import send_command
from app.storage.labels import add_note
from app.storage.run_directory import SPEC, StoredRun


def add_run_note(directory: Path, text: str, now: datetime) -> str:
    """Add a note to a run and return a confirmation message. Raises UsageError for an invalid
    note."""
    if not 1 <= len(text) <= MAX_NOTE_LENGTH:
        raise UsageError(f"a note must have 1 to {MAX_NOTE_LENGTH} characters")
    if StoredRun(directory).is_running:
        return send_command(directory, AddNote(text))
    add_note(directory, text, now)
    return "noted"


def load_stored_profile(run: StoredRun) -> EndpointProfile:
    """Return the profile of a stored run. Raises UsageError if the profile or one of its secrets
    was not stored, or if the run measured a local model."""
    text = run.spec_text
    if text is None:
        raise UsageError(f"{run.directory} has no {SPEC} and cannot be resumed", hint="Run its profile again.")
    if REDACTED in text:
        raise UsageError(
            f"{run.directory} cannot be resumed: a secret of its profile was not stored",
            hint="Run its profile again. A run can only be resumed if its secrets are set as env:NAME or file:PATH.",
        )
    profile = load_profile(run.directory / SPEC, is_stored=True)
    if isinstance(profile, LocalProfile):
        raise UsageError("a run of a local model cannot be resumed", hint="Run its profile again.")
    return profile
