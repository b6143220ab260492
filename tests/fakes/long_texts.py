"""Every text of the window 40 % longer, as in a language that needs more room: what is then clipped has none to spare.

The setters of Qt's own widgets and the display role of our models are patched, so it works on any text, however made.
"""

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
    """Each word grows by 40 %; numbers, markup and mnemonics stay."""
    return text if not text or text.endswith(_LONGER) else _MARKUP_OR_WORD.sub(_longer_word, text) + _LONGER


@contextmanager
def longer_texts(application: QApplication) -> Iterator[None]:
    """For every widget and model that is filled meanwhile. Values in fields and data of items stay."""
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


def _longer_word(found: re.Match[str]) -> str:
    word = found[0]
    return word if word[0] in "<&" else word + word[: round(0.4 * len(word))]


def _on_longer_text(setter: Callable[..., Any]) -> Callable[..., Any]:
    """The first argument that is a text, or several: what follows it is an item's data or a shortcut."""

    def patched(self: object, *given: object, **named: object) -> object:
        place = next((at for at, one in enumerate(given) if isinstance(one, (str, list, tuple))), None)
        if place is None:
            return setter(self, *given, **named)
        one = given[place]
        text = longer(one) if isinstance(one, str) else [longer(each) for each in one]  # type: ignore[attr-defined]
        return setter(self, *given[:place], text, *given[place + 1 :], **named)

    return patched


def _choosing_longer(setter: Callable[..., None]) -> Callable[..., None]:
    return lambda self, text: setter(self, text if self.isEditable() else longer(text))


def _displaying_longer(reader: Callable[..., object]) -> Callable[..., object]:
    def patched(self: object, *given: Any, **named: Any) -> object:
        value = reader(self, *given, **named)
        role = next((one for one in given if isinstance(one, Qt.ItemDataRole)), named.get("role", _DISPLAY_ROLE))
        return longer(value) if isinstance(value, str) and role == _DISPLAY_ROLE else value

    return patched


def _our_models(kind: type) -> Iterator[type]:
    below: list[type] = kind.__subclasses__()
    for one in below:
        if one.__module__.startswith("app."):
            yield one
        yield from _our_models(one)
