"""Editors of single values: a line of text, a choice, a tick, and free YAML."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QLineEdit,
    QPlainTextEdit,
    QWidget,
)  # fmt: skip

from app.errors import ProfileError
from app.gui.forms.editor import REMOVED, Editor, Edits
from app.gui.widgets import Choice, hbox, tip, tool_button
from app.profiles.document import KeyPath, plain_scalar, read_document
from app.profiles.editing import in_line
from app.profiles.fields import FieldSpec

_MOST_LINES = 8


def text_of(value: Any) -> str:
    """What a line shows of a value; empty for none."""
    if value is REMOVED or value is None:
        return ""
    return value if isinstance(value, str) else in_line(value)


def example_text(example: Any) -> str:
    """A placeholder; empty for none."""
    text = ", ".join(map(text_of, example)) if isinstance(example, list) else text_of(example)
    return text and f"like {text}"


def meant_by(spec: FieldSpec, text: str) -> Any:
    """What a line of text says for a field; REMOVED for nothing. Raises ProfileError where free YAML is none."""
    if not text.strip():
        return REMOVED
    if spec.kind in ("text", "path"):
        says_nothing = spec.is_nullable and spec.default is not None and text.strip() == "null"
        return None if says_nothing else text
    if spec.kind == "any":
        return read_document(text.encode(), "this field").value
    return plain_scalar(text.strip())


class Line(QLineEdit):
    """One whose Ctrl+Z is the window's: what it undoes is the profile's change, not the letters'."""

    def event(self, event: QEvent) -> bool:
        return False if _is_undo(event) else super().event(event)


class FreeText(QPlainTextEdit):
    """As Line, of many lines."""

    def event(self, event: QEvent) -> bool:
        return False if _is_undo(event) else super().event(event)


def _is_undo(event: QEvent) -> bool:
    if event.type() != QEvent.Type.ShortcutOverride or not isinstance(event, QKeyEvent):
        return False
    return event.matches(QKeySequence.StandardKey.Undo) or event.matches(QKeySequence.StandardKey.Redo)


class LineEditor(Editor):
    """A number, a text, or a text with its unit."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self.line = Line()
        self.line.setPlaceholderText(text_of(spec.default) or example_text(spec.example))
        self.line.textEdited.connect(self._tell)
        self.setFocusProxy(self.line)
        layout = hbox((self.line, 1), within=self, spacing=4)
        if spec.kind == "path":
            layout.addWidget(self._browse())

    def show_value(self, value: Any) -> None:
        if isinstance(value, list) and self.spec.kind == "text":
            value = shlex.join(str(word) for word in value)
        if self._says() != value:
            self.line.setText(text_of(value))
            self.line.setCursorPosition(0)

    def name(self, text: str, description: str) -> None:
        super().name(text, description)
        self.line.setAccessibleName(text)
        self.line.setAccessibleDescription(description)

    def _says(self) -> Any:
        return meant_by(self.spec, self.line.text())

    def _tell(self) -> None:
        self.tell(self._says())

    def _browse(self) -> QWidget:
        button = tool_button("…", "Choose a file", tip="Choose a file")
        button.clicked.connect(self._choose)
        return button

    def _choose(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Choose a file", str(self.edits.directory))
        if chosen:
            self.take_file(Path(chosen))

    def take_file(self, path: Path) -> None:
        """Written relative to the profile's folder where it is in it."""
        inside = path.is_relative_to(self.edits.directory)
        self.line.setText(str(path.relative_to(self.edits.directory) if inside else path))
        self._tell()


class ChoiceEditor(Editor):
    """The first of the list is to leave it as it is by default. What is none of the choices stays shown."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self.box = Choice()
        self.box.setPlaceholderText("choose…")
        if not spec.is_required:
            default = text_of(spec.default)
            self.box.addItem(f"default: {default}" if default else "default", REMOVED)
        for choice, value in self._choices():
            self.box.addItem(choice, value)
        self.box.setCurrentIndex(-1 if spec.is_required else 0)
        self.box.activated.connect(self._tell)
        self.setFocusProxy(self.box)
        hbox((self.box, 1), within=self)

    def _choices(self) -> list[tuple[str, Any]]:
        if self.spec.kind == "yes_no":
            return [("yes", True), ("no", False)]
        return [(choice, choice) for choice in self.spec.choices]

    def show_value(self, value: Any) -> None:
        at = self._place(self.spec.default if value is REMOVED and self.spec.is_required else value)
        if at < 0 and value is not REMOVED:
            self.box.addItem(text_of(value), value)
            at = self.box.count() - 1
        self.box.setCurrentIndex(at)

    def _place(self, value: Any) -> int:
        held = (self.box.itemData(at) for at in range(self.box.count()))
        return next((at for at, one in enumerate(held) if one is value or (one == value and value is not None)), -1)

    def name(self, text: str, description: str) -> None:
        super().name(text, description)
        self.box.setAccessibleName(text)
        self.box.setAccessibleDescription(description)

    def _tell(self) -> None:
        self.tell(self.box.currentData())


class TickEditor(Editor):
    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self.tick = QCheckBox("I may load this host" if path[0] == "target" and spec.key == "permitted" else "")
        self.tick.setChecked(bool(spec.default))
        self.tick.clicked.connect(self.tell)
        self.setFocusProxy(self.tick)
        hbox(self.tick, 1, within=self)

    def show_value(self, value: Any) -> None:
        self.tick.setChecked(bool(self.spec.default) if value is REMOVED else value is True)

    def name(self, text: str, description: str) -> None:
        super().name(text, description)
        self.tick.setAccessibleName(text)
        self.tick.setAccessibleDescription(description)


class FreeEditor(Editor):
    """YAML of any form: a body, a distribution of lengths. While it cannot be read, it tells nothing and says why."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self.text = FreeText()
        self.text.setTabChangesFocus(True)
        self.text.setPlaceholderText(text_of(spec.default))
        self.text.textChanged.connect(self._tell)
        self.text.document().documentLayout().documentSizeChanged.connect(self._fit)
        self.setFocusProxy(self.text)
        hbox((self.text, 1), within=self)
        self._is_showing = False
        self._fit()

    def show_value(self, value: Any) -> None:
        try:
            is_same = same_value(meant_by(self.spec, self.text.toPlainText()), value)
        except ProfileError:
            is_same = self.text.hasFocus()
        if not is_same:
            self._is_showing = True
            self.text.setPlainText("" if value is REMOVED else in_line(value))
            self._is_showing = False

    def name(self, text: str, description: str) -> None:
        super().name(text, description)
        self.text.setAccessibleName(text)
        self.text.setAccessibleDescription(description)

    def _tell(self) -> None:
        if self._is_showing:
            return
        try:
            meant = meant_by(self.spec, self.text.toPlainText())
        except ProfileError as error:
            self.text.setToolTip(tip(error.problem))
            return
        self.text.setToolTip("")
        self.tell(meant)

    def _fit(self) -> None:
        lines = min(max(1, round(self.text.document().size().height())), _MOST_LINES)
        off, needed = Qt.ScrollBarPolicy.ScrollBarAlwaysOff, Qt.ScrollBarPolicy.ScrollBarAsNeeded
        self.text.setVerticalScrollBarPolicy(needed if lines == _MOST_LINES else off)
        margins = 2 * (self.text.frameWidth() + round(self.text.document().documentMargin()))
        self.text.setFixedHeight(lines * self.text.fontMetrics().lineSpacing() + margins)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit()


def same_value(one: Any, other: Any) -> bool:
    """1 is not true."""
    return one is other or (type(one) is type(other) and one == other)


class Focus(QObject):
    """Tells the form's edits which field the keyboard is in."""

    def __init__(self, editor: Editor) -> None:
        super().__init__(editor)
        self._editor = editor
        target = editor.focusProxy()
        (target or editor).installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FocusIn:
            self._editor.edits.focused.emit(self._editor.spec)
        return super().eventFilter(watched, event)
