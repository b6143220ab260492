"""Draft of the edited profile, stored beside the runs every few seconds, so that a crash loses nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.storage.run_directory import runs_home, write_atomically
from loadgen.decoding import decode_json

_NAME = "draft.json"


class Draft(msgspec.Struct, frozen=True):
    """Stored draft. `path` is the file it was opened from or saved to; `directory` is the base of its
    relative paths.
    """

    text: str
    path: str | None
    directory: str


def draft_file() -> Path:
    return runs_home().parent / "drafts" / _NAME


def save_draft(draft: Draft) -> None:
    file = draft_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, msgspec.json.encode(draft))


def load_draft() -> Draft | None:
    """Return the draft that a window left unsaved, or `None` if there is none or it cannot be read."""
    try:
        return decode_json(draft_file().read_bytes(), Draft)
    except (OSError, msgspec.DecodeError):
        return None


def delete_draft() -> None:
    draft_file().unlink(missing_ok=True)
