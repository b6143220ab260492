"""Interface of the special editors of the Run page, which read and write YAML values by dotted
path."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Protocol

from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import QWidget

from app.errors import ProfileError

_TOP_LEVEL_KEYS = (
    "sizewise", "name", "description", "target", "workload", "load", "slo", "limits", "gates", "options", "traffic",
    "plan", "telemetry",
)  # fmt: skip


class EditedProfile(Protocol):
    """A profile that is being edited, which may be invalid or incomplete."""

    @property
    def path(self) -> Path | None:
        """Path of the profile file, or `None` if the profile has no file yet."""
        ...

    @property
    def error(self) -> ProfileError | None:
        """Error of a text that is not valid YAML; `None` if it is valid."""
        ...

    def value(self, path: str) -> object | None:
        """Return the value at a dotted path, as in the YAML, or `None` if no value is set."""
        ...


class SpecialEditor(QWidget):
    """Base class of the special editors. `edited` is emitted with a dotted path and its new value;
    `None` removes the key."""

    edited = Signal(str, object)
    replaced_paths: frozenset[str] = frozenset()
    """Dotted paths of the fields that need no row in the form, because this editor edits them."""
    _is_applicable = True

    def show_document(self, document: EditedProfile) -> None:
        """Show the document, or hide the editor if it does not apply to the document. This method
        is called after every change of the document, including changes by this editor."""
        is_applicable = self.supports_protocol(find_protocol(document))
        self._is_applicable = is_applicable
        if is_applicable:
            self.show_contents(document)
        if self.parentWidget() is not None:  # without a parent, Qt would show the editor as a separate window
            self.setVisible(is_applicable)

    def setVisible(self, visible: bool) -> None:
        """Show the editor, but only if the editor applies to the document."""
        super().setVisible(visible and self._is_applicable)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.update_heights()

    def update_heights(self) -> None:
        """Set the heights that depend on the font size."""

    def supports_protocol(self, protocol: str | None) -> bool:  # noqa: ARG002 - for editors that do not apply to all protocols
        """Return whether the editor applies to a protocol, or to a profile without a known protocol
        if `protocol` is `None`."""
        return True

    def find_unused_paths(self, document: EditedProfile) -> frozenset[str]:  # noqa: ARG002 - for editors of one kind of target
        """Return the dotted paths of the fields that do not apply to the target of a profile."""
        return frozenset()

    def show_contents(self, document: EditedProfile) -> None:
        raise NotImplementedError


def set_min_lines(widget: QWidget, line_count: int) -> None:
    """Set the minimum height of a widget in a scrolling column to `line_count` lines of text."""
    widget.setMinimumHeight(line_count * widget.fontMetrics().height())


def find_protocol(document: EditedProfile) -> str | None:
    """Return the protocol of a profile. If the target has a model but no protocol, the protocol is
    local."""
    protocol = document.value("target.protocol")
    if isinstance(protocol, str):
        return protocol
    return "local" if document.value("target.model") is not None else None


def copy_tree(document: EditedProfile) -> dict[str, Any]:
    """Return a deep copy of the whole profile."""
    values = {key: document.value(key) for key in _TOP_LEVEL_KEYS}
    return {key: copy.deepcopy(value) for key, value in values.items() if value is not None}


def base_directory(document: EditedProfile) -> Path:
    """Return the base directory of the relative paths in the profile."""
    if document.path is not None:
        return document.path.absolute().parent
    directory = getattr(document, "directory", None)  # set for a document without a file
    return directory if isinstance(directory, Path) else Path.cwd()


def display_path(document: EditedProfile) -> str:
    """Return the path that identifies the profile in error messages."""
    return str(base_directory(document) / ("profile" if document.path is None else document.path.name))


def as_list(value: object) -> list[Any]:
    """Return the value as a list. A scalar becomes a list with one element."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
