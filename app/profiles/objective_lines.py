"""Find the lines of a profile on which its SLO objectives and gates are written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.errors import ProfileError
from app.profiles.document import Document, read_document


def find_objective_lines(profile: Path) -> dict[str, int]:
    """Map the text of each objective in `slo` and `gates` to its line number, counted from 1.

    Return an empty mapping if the file no longer exists or can no longer be read as a profile.
    """
    try:
        return dict(_iter_objectives(read_document(profile.read_bytes(), str(profile))))
    except (OSError, ProfileError):
        return {}


def _iter_objectives(document: Document) -> Iterator[tuple[str, int]]:
    for key in ("gates", "slo"):
        texts = document.value.get(key) if isinstance(document.value, dict) else None
        for index, text in enumerate(texts if isinstance(texts, list) else []):
            if isinstance(text, str):
                yield text, document.lines[key, index]
