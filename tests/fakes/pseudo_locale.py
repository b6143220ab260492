"""A translation that no one speaks: accented, and longer by two fifths: what is clipped or not translated shows."""

from __future__ import annotations

import re

from PySide6.QtCore import QObject, QTranslator

_ACCENTED = str.maketrans("aeiouAEIOUcnsyz", "áéíóúÁÉÍÓÚçñšýž")
_KEPT = re.compile(r"(\{[^}]*\}|&.)")
"""What `str.format` fills in, and mnemonics."""


class PseudoLocale(QTranslator):
    def isEmpty(self) -> bool:
        return False

    def translate(self, context: str, text: str, disambiguation: str | None = None, number: int = -1) -> str:
        return pseudo(text) if context == "sizewise" else ""


def pseudo(text: str) -> str:
    parts = _KEPT.split(text)
    accented = "".join(part if _KEPT.fullmatch(part) else part.translate(_ACCENTED) for part in parts)
    return accented + "·" * round(0.4 * len(text))


def install(application: QObject) -> PseudoLocale:
    from PySide6.QtCore import QCoreApplication

    translator = PseudoLocale(application)
    QCoreApplication.installTranslator(translator)
    return translator
