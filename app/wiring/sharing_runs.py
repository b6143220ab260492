"""A run that leaves this machine: nothing of it may be a secret."""

from __future__ import annotations

from pathlib import Path

from app.errors import UsageError
from app.profiles.redaction import places_of_secrets
from app.records.bundle import Bundle
from app.storage.bundle import export_run
from app.storage.run_directory import StoredRun


def share_run(run: StoredRun, path: Path) -> Bundle:
    """Write its bundle to `path`. Raises UsageError for a run without a result, and for one whose profile holds what
    may be a secret."""
    found = places_of_secrets(run.spec_text or "")
    if found:
        hint = "Give it as env:NAME or file:PATH there, and export again."
        raise UsageError(f"{run.directory / 'spec.yaml'} holds what may be a secret: {', '.join(found)}", hint=hint)
    if path.resolve().is_relative_to(run.directory.resolve()):
        raise UsageError(f"{path} is in the run that it is to hold", hint="Choose another -o.")
    return export_run(run, path)
