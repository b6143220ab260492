"""YAML editor for the profile, with line numbers and error markers."""

from __future__ import annotations

import re

from PySide6.QtCore import QEvent, QRect, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QSyntaxHighlighter,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
)  # fmt: skip
from PySide6.QtWidgets import QApplication, QPlainTextEdit, QTextEdit, QWidget

from app.gui.forms.scalars import FreeTextEdit, common_prefix_length
from app.gui.theme import Theme, ThemeController, fixed_font
from app.gui.widgets import vbox

_KEY_PATTERN = re.compile(r"^\s*(?:- )?([A-Za-z_][\w-]*):(?=\s|$)|([{,]\s*)([A-Za-z_][\w-]*):(?=\s)")
_COMMENT_PATTERN = re.compile(r"(?:^|\s)#.*$")


class SourceView(QWidget):
    edited = Signal(str)

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.yaml_edit = _YamlEdit(theme_controller)
        self.yaml_edit.setAccessibleName("Profile YAML")
        self.yaml_edit.textChanged.connect(self._emit_text)
        self._is_updating = False
        vbox((self.yaml_edit, 1), within=self)

    def show_text(self, text: str) -> None:
        """Set the text. Only the differing part is replaced, so that the cursor and the scroll
        position are preserved."""
        current_text = self.yaml_edit.toPlainText()
        if current_text == text:
            return
        start = common_prefix_length(current_text, text)
        suffix_length = common_prefix_length(current_text[start:][::-1], text[start:][::-1])
        cursor = QTextCursor(self.yaml_edit.document())
        cursor.setPosition(_count_utf16_units(current_text[:start]))
        cursor.setPosition(
            _count_utf16_units(current_text[: len(current_text) - suffix_length]), QTextCursor.MoveMode.KeepAnchor
        )
        self._is_updating = True
        cursor.insertText(text[start : len(text) - suffix_length])
        self._is_updating = False

    def show_errors(self, lines: tuple[int, ...]) -> None:
        """Mark lines with errors (numbered from 1)."""
        self.yaml_edit.mark_lines(lines)

    def go_to_line(self, line: int) -> None:
        block = self.yaml_edit.document().findBlockByNumber(line - 1)
        self.yaml_edit.setTextCursor(QTextCursor(block))
        self.yaml_edit.centerCursor()
        self.yaml_edit.setFocus()

    def _emit_text(self) -> None:
        if not self._is_updating:
            self.edited.emit(self.yaml_edit.toPlainText())


class _YamlEdit(FreeTextEdit):
    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._theme_controller = theme_controller
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.setUndoRedoEnabled(False)
        self.setTabChangesFocus(True)
        self._error_lines: tuple[int, ...] = ()
        self._highlighter = _Highlighter(self.document(), theme_controller.theme)
        self._line_numbers = _LineNumbers(self)
        self.blockCountChanged.connect(self._update_margin)
        self.updateRequest.connect(self._scroll_line_numbers)
        theme_controller.changed.connect(self._apply_theme)
        self._apply_theme(theme_controller.theme)

    def mark_lines(self, lines: tuple[int, ...]) -> None:
        self._error_lines = lines
        selections = []
        for line in lines:
            selection = QTextEdit.ExtraSelection()
            color = QColor(self._theme_controller.theme.bad)
            color.setAlpha(48)
            selection.format.setBackground(color)
            selection.format.setProperty(QTextFormat.Property.FullWidthSelection, True)
            selection.cursor = QTextCursor(self.document().findBlockByNumber(line - 1))
            selections.append(selection)
        self.setExtraSelections(selections)
        self._line_numbers.update()

    def line_number_width(self) -> int:
        digit_count = max(2, len(str(self.blockCount())))
        return self.fontMetrics().horizontalAdvance("9" * digit_count + "● ")

    def paint_line_numbers(self, event: QPaintEvent) -> None:
        painter, theme = QPainter(self._line_numbers), self._theme_controller.theme
        painter.fillRect(event.rect(), QColor(theme.card))
        painter.setFont(self.font())
        block = self.firstVisibleBlock()
        top = self.blockBoundingGeometry(block).translated(self.contentOffset()).top()
        height, width = self.fontMetrics().height(), self._line_numbers.width() - 6
        while block.isValid() and top <= event.rect().bottom():
            line_number = block.blockNumber() + 1
            has_error = line_number in self._error_lines
            painter.setPen(QColor(theme.bad if has_error else theme.muted))
            painter.drawText(
                0, round(top), width, height, Qt.AlignmentFlag.AlignRight, f"{'●' * has_error} {line_number}"
            )
            top += self.blockBoundingRect(block).height()
            block = block.next()
        painter.end()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        content_rect = self.contentsRect()
        self._line_numbers.setGeometry(
            QRect(content_rect.left(), content_rect.top(), self.line_number_width(), content_rect.height())
        )

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_line_numbers"):
            self._update_margin()

    def _update_margin(self) -> None:
        self.setViewportMargins(self.line_number_width(), 0, 0, 0)

    def _scroll_line_numbers(self, rect: QRect, dy_px: int) -> None:
        if dy_px:
            self._line_numbers.scroll(0, dy_px)
        else:
            self._line_numbers.update(0, rect.y(), self._line_numbers.width(), rect.height())

    def _apply_theme(self, theme: Theme) -> None:
        self.setFont(fixed_font(QApplication.font()))
        self._update_margin()
        self._highlighter.set_theme(theme)
        self.mark_lines(self._error_lines)


class _LineNumbers(QWidget):
    def __init__(self, yaml_edit: _YamlEdit) -> None:
        super().__init__(yaml_edit)
        self._yaml_edit = yaml_edit

    def sizeHint(self) -> QSize:
        return QSize(self._yaml_edit.line_number_width(), 0)

    def paintEvent(self, event: QPaintEvent) -> None:
        self._yaml_edit.paint_line_numbers(event)


class _Highlighter(QSyntaxHighlighter):
    """Syntax highlighter for keys and comments."""

    def __init__(self, document: QTextDocument, theme: Theme) -> None:
        super().__init__(document)
        self._key_format, self._comment_format = QTextCharFormat(), QTextCharFormat()
        self.set_theme(theme)

    def set_theme(self, theme: Theme) -> None:
        self._key_format.setForeground(QColor(theme.accent))
        self._comment_format.setForeground(QColor(theme.muted))
        self._comment_format.setFontItalic(True)
        self.rehighlight()

    def highlightBlock(self, text: str) -> None:
        for match in _KEY_PATTERN.finditer(text):
            group = 1 if match[1] is not None else 3
            self.setFormat(match.start(group), len(match[group]), self._key_format)
        comment = _COMMENT_PATTERN.search(text)
        if comment is not None:
            self.setFormat(comment.start(), len(text) - comment.start(), self._comment_format)


def _count_utf16_units(text: str) -> int:
    """Return the length of a string in UTF-16 code units, the unit of text positions in Qt."""
    return len(text.encode("utf-16-le")) // 2
