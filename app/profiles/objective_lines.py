"""Where a profile says what a run is judged by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.errors import ProfileError
from app.profiles.document import Document, read_document


def objective_lines(profile: Path) -> dict[str, int]:
    """The line of each objective in `slo` and `gates`, by its text; of none in a file that is not there any more, or
    not as it was."""
    try:
        return dict(_found(read_document(profile.read_bytes(), str(profile))))
    except (OSError, ProfileError):
        return {}


def _found(document: Document) -> Iterator[tuple[str, int]]:
    for key in ("gates", "slo"):
        texts = document.value.get(key) if isinstance(document.value, dict) else None
        for place, text in enumerate(texts if isinstance(texts, list) else []):
            if isinstance(text, str):
                yield text, document.lines[key, place]
