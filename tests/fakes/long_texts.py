"""Makes every text of the window 40 % longer, as in a language that needs more room: a text that is then clipped has no
spare room.

The setters of Qt's own widgets and the display role of the product's models are patched, so that it applies to every
text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from PySide6.QtCore import QAbstractItemModel, QEvent, QObject, Qt
from PySide6.QtGui import QAction, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QFormLayout,
    QGroupBox,
    QLabel,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QTabBar,
    QTabWidget,
    QTreeWidget,
    QWidget,
)

_SETTERS: dict[type, tuple[str, ...]] = {
    QLabel: ("setText",),
    QAbstractButton: ("setText",),
    QAction: ("setText", "setToolTip"),
    QMenu: ("addAction", "addMenu", "setTitle"),
    QGroupBox: ("setTitle",),
    QWidget: ("setToolTip", "setWindowTitle"),
    QLineEdit: ("setPlaceholderText",),
    QPlainTextEdit: ("setPlaceholderText",),
    QAbstractSpinBox: ("setSpecialValueText",),
    QComboBox: ("addItem", "addItems", "setItemText", "setPlaceholderText"),
    QTabWidget: ("addTab", "insertTab", "setTabText"),
    QTabBar: ("addTab", "insertTab", "setTabText"),
    QFormLayout: ("addRow",),
    QTreeWidget: ("setHeaderLabels",),
    QStandardItem: ("setText",),
    QStandardItemModel: ("setHorizontalHeaderLabels",),
}
_DISPLAY_ROLE = Qt.ItemDataRole.DisplayRole
_MARKUP_OR_WORD = re.compile(r"<[^>]*>|&[a-z]+;|[A-Za-z]{2,}")
_LONGER = "\u200b"
"""Ends each longer text, so that a text set twice is lengthened once. It has no width."""


def longer(text: str) -> str:
    """Lengthen each word by 40 %; numbers, markup and mnemonics stay."""
    return text if not text or text.endswith(_LONGER) else _MARKUP_OR_WORD.sub(_longer_word, text) + _LONGER


@contextmanager
def longer_texts(application: QApplication) -> Iterator[None]:
    """Lengthen texts of every widget and model that is filled in this context. Values in fields and data of items
    stay."""
    constructed = _ConstructedTexts()
    application.installEventFilter(constructed)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for kind, names in _SETTERS.items():
            for name in names:
                monkeypatch.setattr(kind, name, _on_longer_text(getattr(kind, name)))
        monkeypatch.setattr(QComboBox, "setCurrentText", _choosing_longer(QComboBox.setCurrentText))
        for model in _our_models(QAbstractItemModel):
            for name in {"data", "headerData"} & vars(model).keys():
                monkeypatch.setattr(model, name, _displaying_longer(vars(model)[name]))
        yield
    application.removeEventFilter(constructed)


class _ConstructedTexts(QObject):
    """Lengthens a text given to a constructor when the widget is first shown: PySide6 crashes in a constructor that
    was replaced."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - of Qt
        if event.type() == QEvent.Type.Polish and isinstance(watched, (QLabel, QAbstractButton)):
            watched.setText(watched.text())
        return False


def _longer_word(match: re.Match[str]) -> str:
    word = match[0]
    return word if word[0] in "<&" else word + word[: round(0.4 * len(word))]


def _on_longer_text(setter: Callable[..., Any]) -> Callable[..., Any]:
    """The first argument that is a text, or several: what follows it is an item's data or a shortcut."""

    def patched(self: object, *arguments: object, **named: object) -> object:
        place = next((at for at, argument in enumerate(arguments) if isinstance(argument, (str, list, tuple))), None)
        if place is None:
            return setter(self, *arguments, **named)
        argument = arguments[place]
        text = longer(argument) if isinstance(argument, str) else [longer(item) for item in argument]  # type: ignore[attr-defined]
        return setter(self, *arguments[:place], text, *arguments[place + 1 :], **named)

    return patched


def _choosing_longer(setter: Callable[..., None]) -> Callable[..., None]:
    return lambda self, text: setter(self, text if self.isEditable() else longer(text))


def _displaying_longer(reader: Callable[..., object]) -> Callable[..., object]:
    def patched(self: object, *arguments: Any, **named: Any) -> object:
        value = reader(self, *arguments, **named)
        role = next(
            (argument for argument in arguments if isinstance(argument, Qt.ItemDataRole)),
            named.get("role", _DISPLAY_ROLE),
        )
        return longer(value) if isinstance(value, str) and role == _DISPLAY_ROLE else value

    return patched


def _our_models(kind: type) -> Iterator[type]:
    below: list[type] = kind.__subclasses__()
    for model in below:
        if model.__module__.startswith("app."):
            yield model
        yield from _our_models(model)
