"""Editors for single values: text line, choice, check box, and free-form YAML."""

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
from app.gui.forms.arrangement import display_choice
from app.gui.forms.editor import REMOVED, Editor, Edits
from app.gui.theme import GAP_TIGHT
from app.gui.widgets import WheelSafeComboBox, hbox, tool_button, tool_tip_text
from app.profiles.document import KeyPath, parse_scalar, read_document
from app.profiles.editing import format_inline
from app.profiles.fields import FieldSpec

_MAX_LINES = 8


def format_value(value: Any) -> str:
    """Return the text that an editor displays for a value; empty for None and `REMOVED`."""
    if value is REMOVED or value is None:
        return ""
    return value if isinstance(value, str) else format_inline(value)


def format_example(example: Any) -> str:
    """Return the placeholder text for an example, such as "e.g. 60s"; empty for None."""
    text = ", ".join(map(format_value, example)) if isinstance(example, list) else format_value(example)
    return text and f"e.g. {text}"


def parse_value(spec: FieldSpec, text: str) -> Any:
    """Parse the text of a field. Return `REMOVED` if the text is blank. Raises ProfileError if
    free-form YAML is invalid."""
    if not text.strip():
        return REMOVED
    if spec.kind in ("text", "path"):
        is_null = spec.is_nullable and spec.default is not None and text.strip() == "null"
        return None if is_null else text
    if spec.kind == "any":
        return read_document(text.encode(), "this field").value
    return parse_scalar(text.strip())


def count_inserted_characters(text: str, edited_text: str) -> int:
    """Return the number of characters that one edit has inserted into a text: more than one if text
    was pasted."""
    prefix_length = common_prefix_length(text, edited_text)
    remainder, edited_remainder = text[prefix_length:][::-1], edited_text[prefix_length:][::-1]
    return len(edited_remainder) - common_prefix_length(remainder, edited_remainder)


def common_prefix_length(first: str, second: str) -> int:
    """Return the length of the common prefix of two strings."""
    shorter_length = min(len(first), len(second))
    return next((index for index in range(shorter_length) if first[index] != second[index]), shorter_length)


class TextLine(QLineEdit):
    """Line edit without its own undo shortcut. The window handles Ctrl+Z, which undoes the last
    change of the profile."""

    def event(self, event: QEvent) -> bool:
        return False if _is_undo(event) else super().event(event)


class FreeTextEdit(QPlainTextEdit):
    """Multi-line text edit without its own undo shortcut. The window handles Ctrl+Z, which undoes
    the last change of the profile."""

    def event(self, event: QEvent) -> bool:
        return False if _is_undo(event) else super().event(event)


def _is_undo(event: QEvent) -> bool:
    if event.type() != QEvent.Type.ShortcutOverride or not isinstance(event, QKeyEvent):
        return False
    return event.matches(QKeySequence.StandardKey.Undo) or event.matches(QKeySequence.StandardKey.Redo)


class LineEditor(Editor):
    """Editor for a number, a string, or a value with a unit."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self.line = TextLine()
        self.line.setPlaceholderText(format_value(spec.default) or format_example(spec.example))
        self.line.textEdited.connect(self._emit_text)
        self.line.editingFinished.connect(self._emit_finished)
        self._edited_text = ""
        self.focus_target = self.line
        layout = hbox((self.line, 1), within=self, spacing=GAP_TIGHT)
        if spec.kind == "path":
            layout.addWidget(self._create_browse_button())

    def show_value(self, value: Any) -> None:
        if isinstance(value, list) and self.spec.kind == "text":
            value = shlex.join(str(argument) for argument in value)
        if self._parsed_value() != value:
            self.line.setText(format_value(value))
            self.line.setCursorPosition(0)
        self._edited_text = self.line.text()

    def set_accessible_text(self, name: str, description: str) -> None:
        super().set_accessible_text(name, description)
        self.line.setAccessibleName(name)
        self.line.setAccessibleDescription(description)

    def _parsed_value(self) -> Any:
        return parse_value(self.spec, self.line.text())

    def _emit_edited(self) -> None:
        self.emit_edit(self._parsed_value())

    def _emit_text(self, text: str) -> None:
        is_pasted = count_inserted_characters(self._edited_text, text) > 1
        self._edited_text = text
        self._emit_edited()
        if is_pasted:
            self._emit_finished()

    def _emit_finished(self) -> None:
        self.edits.finished.emit(self.path)

    def _create_browse_button(self) -> QWidget:
        button = tool_button("…", "Choose file", tip="Choose file")
        button.clicked.connect(self._choose_file)
        return button

    def _choose_file(self) -> None:
        file_name, _ = QFileDialog.getOpenFileName(self, "Choose file", str(self.edits.directory))
        if file_name:
            self.set_file(Path(file_name))

    def set_file(self, path: Path) -> None:
        """Set the field to the path of a file. The path is relative if the file is inside the
        directory of the profile."""
        is_inside = path.is_relative_to(self.edits.directory)
        self.line.setText(str(path.relative_to(self.edits.directory) if is_inside else path))
        self._emit_edited()


class ChoiceEditor(Editor):
    """Editor for a choice. The first entry of an optional field resets the field to its default. A
    value that is not among the choices is also displayed."""

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self.box = WheelSafeComboBox()
        self.box.setPlaceholderText("Choose…")
        if not spec.is_required:
            default = format_value(spec.default)
            self.box.addItem(f"default: {default}" if default else "default", REMOVED)
        for choice, value in self._choices():
            self.box.addItem(choice, value)
            if choice != value and self.spec.kind != "yes_no":
                self.box.setItemData(self.box.count() - 1, value, Qt.ItemDataRole.ToolTipRole)
        self.box.setCurrentIndex(-1 if spec.is_required else 0)
        self.box.activated.connect(self._emit_edited)
        self.focus_target = self.box
        hbox((self.box, 1), within=self)

    def _choices(self) -> list[tuple[str, Any]]:
        if self.spec.kind == "yes_no":
            return [("yes", True), ("no", False)]
        return [(display_choice(self.spec.key, choice), choice) for choice in self.spec.choices]

    def show_value(self, value: Any) -> None:
        index = self._find_index(self.spec.default if value is REMOVED and self.spec.is_required else value)
        if index < 0 and value is not REMOVED:
            self.box.addItem(format_value(value), value)
            index = self.box.count() - 1
        self.box.setCurrentIndex(index)

    def _find_index(self, value: Any) -> int:
        values = (self.box.itemData(index) for index in range(self.box.count()))
        return next(
            (index for index, item in enumerate(values) if item is value or (item == value and value is not None)), -1
        )

    def set_accessible_text(self, name: str, description: str) -> None:
        super().set_accessible_text(name, description)
        self.box.setAccessibleName(name)
        self.box.setAccessibleDescription(description)

    def _emit_edited(self) -> None:
        self.emit_edit(self.box.currentData())


class CheckBoxEditor(Editor):
    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self.check_box = QCheckBox(
            "Confirm permission to load-test this host" if path[0] == "target" and spec.key == "permitted" else ""
        )
        self.check_box.setChecked(bool(spec.default))
        self.check_box.clicked.connect(self.emit_edit)
        self.focus_target = self.check_box
        hbox(self.check_box, 1, within=self)

    def show_value(self, value: Any) -> None:
        self.check_box.setChecked(bool(self.spec.default) if value is REMOVED else value is True)

    def set_accessible_text(self, name: str, description: str) -> None:
        super().set_accessible_text(name, description)
        self.check_box.setAccessibleName(name)
        self.check_box.setAccessibleDescription(description)


class YamlEditor(Editor):
    """Editor for arbitrary YAML, such as a request body or a length distribution.

    While the text is not valid YAML, the editor emits nothing and shows the error as its tooltip.
    """

    def __init__(self, spec: FieldSpec, path: KeyPath, edits: Edits) -> None:
        super().__init__(spec, path, edits)
        self.text = FreeTextEdit()
        self.text.setTabChangesFocus(True)
        self.text.setPlaceholderText(format_value(spec.default))
        self.text.textChanged.connect(self._emit_edited)
        self.text.document().documentLayout().documentSizeChanged.connect(self._fit_height)
        self.focus_target = self.text
        hbox((self.text, 1), within=self)
        self._is_updating = False
        self._fit_height()

    def show_value(self, value: Any) -> None:
        try:
            is_same = is_same_value(parse_value(self.spec, self.text.toPlainText()), value)
        except ProfileError:
            is_same = self.text.hasFocus()
        if not is_same:
            self._is_updating = True
            self.text.setPlainText("" if value is REMOVED else format_inline(value))
            self._is_updating = False

    def set_accessible_text(self, name: str, description: str) -> None:
        super().set_accessible_text(name, description)
        self.text.setAccessibleName(name)
        self.text.setAccessibleDescription(description)

    def _emit_edited(self) -> None:
        if self._is_updating:
            return
        try:
            value = parse_value(self.spec, self.text.toPlainText())
        except ProfileError as error:
            self.text.setToolTip(tool_tip_text(error.problem))
            return
        self.text.setToolTip("")
        self.emit_edit(value)

    def _fit_height(self) -> None:
        line_count = min(max(1, round(self.text.document().size().height())), _MAX_LINES)
        never, as_needed = Qt.ScrollBarPolicy.ScrollBarAlwaysOff, Qt.ScrollBarPolicy.ScrollBarAsNeeded
        self.text.setVerticalScrollBarPolicy(as_needed if line_count == _MAX_LINES else never)
        margins_px = 2 * (self.text.frameWidth() + round(self.text.document().documentMargin()))
        self.text.setFixedHeight(line_count * self.text.fontMetrics().lineSpacing() + margins_px)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_height()


def is_same_value(first: Any, second: Any) -> bool:
    """Return whether two values are equal and of the same type, so that `1` differs from `true`."""
    return first is second or (type(first) is type(second) and first == second)


class FocusReporter(QObject):
    """Event filter that emits `Edits.focused` when a field gets the keyboard focus."""

    def __init__(self, editor: Editor) -> None:
        super().__init__(editor)
        self._editor = editor
        editor.focus_target.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FocusIn:
            self._editor.edits.focused.emit(self._editor.spec)
        return super().eventFilter(watched, event)
