"""Every string that a person reads goes through Qt's translation, in one context."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

CONTEXT = "sizewise"


def tr(text: str) -> str:
    """`text` is English, a literal, with {names} for what `str.format` puts in after translation."""
    return QCoreApplication.translate(CONTEXT, text)
