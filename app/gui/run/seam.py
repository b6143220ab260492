"""What the special editors of the Run page are told, and what they tell: values by dotted path, ready for YAML."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Protocol

from PySide6.QtCore import QEvent, Signal
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
    _is_of_use = True

    def show_document(self, document: Document) -> None:
        """Called whenever the document has changed, by this editor or elsewhere. Hidden where it is of no use."""
        is_of_use = self.is_for(protocol_of(document))
        self._is_of_use = is_of_use
        if is_of_use:
            self.show_contents(document)
        if self.parentWidget() is not None:  # without one it would be a window of its own
            self.setVisible(is_of_use)

    def setVisible(self, visible: bool) -> None:
        """Whoever places it may ask for it to be shown: it is, where it is of use."""
        super().setVisible(visible and self._is_of_use)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.fit_to_font()

    def fit_to_font(self) -> None:
        """Heights that go with the text's."""

    def is_for(self, protocol: str | None) -> bool:  # noqa: ARG002 - for those that are not for all
        """Whether it is of use for targets of a protocol; None is one that is not known yet."""
        return True

    def show_contents(self, document: Document) -> None:
        raise NotImplementedError


def keep_tall(widget: QWidget, lines: int) -> None:
    """At least so many lines of its text high, in a column that scrolls."""
    widget.setMinimumHeight(lines * widget.fontMetrics().height())


def protocol_of(document: Document) -> str | None:
    """A target with a model and without a protocol is local."""
    protocol = document.value("target.protocol")
    if isinstance(protocol, str):
        return protocol
    return "local" if document.value("target.model") is not None else None


def tree_of(document: Document) -> dict[str, Any]:
    """The whole of it, to keep."""
    values = {key: document.value(key) for key in _TOP}
    return {key: copy.deepcopy(value) for key, value in values.items() if value is not None}


def folder_of(document: Document) -> Path:
    """What paths in it are relative to."""
    if document.path is not None:
        return document.path.absolute().parent
    directory = getattr(document, "directory", None)  # of one in no file yet
    return directory if isinstance(directory, Path) else Path.cwd()


def place_of(document: Document) -> str:
    """What errors name it by."""
    return str(folder_of(document) / ("profile" if document.path is None else document.path.name))


def listed(value: object) -> list[Any]:
    """One may stand without brackets."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
