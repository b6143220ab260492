"""Find the line numbers of SLO objectives and gates in a profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.errors import ProfileError
from app.profiles.document import Document, read_document, read_truncated


def find_objective_lines(profile: Path) -> dict[str, int]:
    """Return the line number, counted from 1, of each objective in `slo` and `gates`. The keys are
    the texts of the objectives.

    Return an empty mapping if the file no longer exists or is no longer a valid document.
    """
    try:
        return dict(_iter_objective_lines(read_document(read_truncated(profile), str(profile))))
    except ProfileError:
        return {}


def _iter_objective_lines(document: Document) -> Iterator[tuple[str, int]]:
    for key in ("gates", "slo"):
        texts = document.value.get(key) if isinstance(document.value, dict) else None
        for index, text in enumerate(texts if isinstance(texts, list) else []):
            if isinstance(text, str):
                yield text, document.lines[key, index]
