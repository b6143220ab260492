"""What the special editors of the Run page are told, and what they tell: values by dotted path, ready for YAML."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Protocol

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

_TOP = (
    "sizewise", "name", "description", "target", "workload", "load", "slo", "limits", "gates", "options", "traffic",
    "plan", "telemetry",
)  # fmt: skip


class Document(Protocol):
    """A profile that is being edited; it may be wrong or unfinished."""

    @property
    def path(self) -> Path | None:
        """Of its file; None where it has none yet."""
        ...

    def value(self, path: str) -> object | None:
        """At a dotted path, as the YAML has it; None where there is nothing."""
        ...


class Editor(QWidget):
    """`edited` carries a dotted path and the value to stand there; None takes away what is there."""

    edited = Signal(str, object)

    def show_document(self, document: Document) -> None:
        """Called whenever the document has changed, by this editor or elsewhere."""
        raise NotImplementedError


def tree_of(document: Document) -> dict[str, Any]:
    """The whole of it, to keep."""
    values = {key: document.value(key) for key in _TOP}
    return {key: copy.deepcopy(value) for key, value in values.items() if value is not None}


def folder_of(document: Document) -> Path:
    """What paths in it are relative to."""
    return Path.cwd() if document.path is None else document.path.absolute().parent


def place_of(document: Document) -> str:
    """What errors name it by."""
    return str(folder_of(document) / ("profile" if document.path is None else document.path.name))


def listed(value: object) -> list[Any]:
    """One may stand without brackets."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
