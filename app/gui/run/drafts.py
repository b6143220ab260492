"""Draft of the edited profile, stored every few seconds in the `drafts` directory beside the runs,
so that a crash does not lose any changes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.storage.run_directory import runs_home, write_atomically
from loadgen.decoding import decode_json

_FILE_NAME = "draft.json"


class Draft(msgspec.Struct, frozen=True):
    """Stored draft. `path` is the profile file, or None if the profile has no file yet. `directory`
    is the base directory of relative paths in the profile."""

    text: str
    path: str | None
    directory: str


def draft_file() -> Path:
    return runs_home().parent / "drafts" / _FILE_NAME


def save_draft(draft: Draft) -> None:
    path = draft_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, msgspec.json.encode(draft))


def load_draft() -> Draft | None:
    """Return the stored draft, or `None` if there is no readable draft."""
    try:
        return decode_json(draft_file().read_bytes(), Draft)
    except (OSError, msgspec.DecodeError):
        return None


def delete_draft() -> None:
    draft_file().unlink(missing_ok=True)
