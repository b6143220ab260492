"""A comparison as a file, as `sizewise compare --format … --out FILE` writes it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.gui.compare.outcome import Outcome
from app.reporting.comparison import comparison_report
from app.storage.run_directory import write_document
from reports.rendering import ComparisonFormat, render_comparison

_FORMATS: dict[str, ComparisonFormat] = {".html": "html", ".htm": "html", ".md": "markdown", ".txt": "text"}


def export_comparison(outcome: Outcome, path: Path) -> Path:
    """By the ending of its name; text where that says nothing. Raises UsageError where it cannot be written."""
    assert outcome.comparison is not None, "only what was compared is exported"
    if path.suffix.lower() == ".json":
        return write_document(path, msgspec.json.format(msgspec.json.encode(outcome.comparison), indent=2))
    report = comparison_report(outcome.comparison, outcome.asked.command or "")
    return write_document(path, render_comparison(report, _FORMATS.get(path.suffix.lower(), "text")).encode())
