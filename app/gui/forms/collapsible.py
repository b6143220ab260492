"""Collapsible section of a form, with content that is created when the section is first
expanded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QAbstractButton, QLayout, QToolButton, QVBoxLayout, QWidget

from app.gui.forms.row import create_problem_label
from app.gui.widgets import hbox, label, vbox


def chain_tab_order(previous: QWidget, container: QWidget) -> QWidget:
    """Set the tab order from `previous` through the widgets in `container`, in layout order. Return
    the last focusable widget."""
    for widget in _iter_widgets(container.layout()):
        # the popup list of a combo box is a separate window
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.window() is previous.window():
            QWidget.setTabOrder(previous, widget)
            previous = widget
    return previous


def _iter_widgets(layout: QLayout | None) -> Iterator[QWidget]:
    for index in range(0 if layout is None else layout.count()):
        item = layout.itemAt(index) if layout is not None else None
        widget = None if item is None else item.widget()
        if widget is not None:
            yield widget
            yield from _iter_widgets(widget.layout())
        elif item is not None:
            yield from _iter_widgets(item.layout())


class CollapsibleSection(QWidget):
    """Collapsible section. `create_content` creates the content on first expansion. `summary` is
    shown beside the heading while the section is collapsed, or always if `is_summary_permanent` is
    true."""

    toggled = Signal(bool)

    def __init__(
        self,
        heading: str,
        create_content: Callable[[], QWidget],
        *,
        indent: int = 0,
        role: str | None = None,
        is_summary_permanent: bool = False,
    ) -> None:
        super().__init__()
        self._is_summary_permanent = is_summary_permanent
        self._create_content, self._summary = create_content, ""
        self._content: QWidget | None = None
        self._leading_widgets: list[QWidget] = []
        self.head = QToolButton()
        self.head.setProperty("fold", "true")
        self.head.setCheckable(True)
        self.head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.head.setArrowType(Qt.ArrowType.RightArrow)
        self.head.toggled.connect(self._on_toggled)
        if role:
            self.head.setProperty("role", role)
        self.summary_label = label("", "muted", wrap=True)
        self.problem_label = create_problem_label()
        self.line = hbox(self.head, (self.summary_label, 1), spacing=6)
        self._content_layout = QVBoxLayout()
        self._content_layout.setContentsMargins(indent, 0, 0, 0)
        vbox(self.line, self.problem_label, self._content_layout, within=self, spacing=6)
        self.set_heading(heading)

    def set_heading(self, heading: str, summary: str = "") -> None:
        self.head.setText(heading)
        self.head.setAccessibleName(heading.replace("&", ""))
        self._summary = summary
        self._show_summary()

    def add_leading_widget(self, widget: QWidget) -> None:
        """Insert a widget above the content. The widget is hidden while the section is collapsed,
        but otherwise controls its own visibility."""
        container = QWidget()
        vbox(widget, within=container)
        self._leading_widgets.append(container)
        self._content_layout.insertWidget(len(self._leading_widgets) - 1, container)
        container.setVisible(self.is_open)

    @property
    def is_open(self) -> bool:
        return self.head.isChecked()

    def set_open(self, is_open: bool = True) -> None:
        self.head.setChecked(is_open)

    def content(self) -> QWidget:
        """Return the content of the section, creating the content if needed."""
        if self._content is None:
            self._content = self._create_content()
            self._content_layout.addWidget(self._content)
            self._content.setVisible(self.is_open)
            buttons = [widget for widget in _iter_widgets(self.line) if isinstance(widget, QAbstractButton)]
            previous: QWidget = buttons[-1]
            for widget in (*self._leading_widgets, self._content):
                previous = chain_tab_order(previous, widget)
        return self._content

    @property
    def has_content(self) -> bool:
        return self._content is not None

    def set_problem(self, text: str) -> None:
        self.problem_label.setText(text)
        self.problem_label.setVisible(bool(text))

    def focus(self) -> None:
        self.head.setFocus()

    def _on_toggled(self, is_open: bool) -> None:
        self.head.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        for widget in (*self._leading_widgets, self.content()):
            widget.setVisible(is_open)
        self._show_summary()
        self.toggled.emit(is_open)

    def _show_summary(self) -> None:
        is_shown = self._is_summary_permanent or not self.is_open
        self.summary_label.setText(self._summary if is_shown else "")
        if self._is_summary_permanent:
            self.head.setAccessibleDescription(self._summary)
