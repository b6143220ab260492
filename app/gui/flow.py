"""Qt layout that wraps widgets onto further lines when the window is narrow or the text is
large."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRect, QSize, Qt
from PySide6.QtWidgets import QLayout, QLayoutItem, QSizePolicy, QWidget

from app.gui.theme import GAP, GAP_GROUP, GAP_TIGHT, NO_MARGINS


class FlowLayout(QLayout):
    """Layout that arranges widgets from left to right and wraps them onto further lines. `gap` is
    the space between two widgets on a line, `line_gap` the space between lines (default: `gap`),
    both in pixels. A layout that `prefers_one_line` requests the width for all widgets on one line
    from the layout around it."""

    def __init__(
        self,
        parent: QWidget | None = None,
        gap: int = GAP,
        line_gap: int | None = None,
        *,
        prefers_one_line: bool = False,
    ) -> None:
        super().__init__(parent)
        self._prefers_one_line = prefers_one_line
        self._items: list[QLayoutItem] = []
        self._gap, self._line_gap = gap, gap if line_gap is None else line_gap
        self.setContentsMargins(*NO_MARGINS)

    def addItem(self, item: QLayoutItem) -> None:
        self._items.append(item)

    def count(self) -> int:
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:
        # Qt expects None past the last item
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:
        return self._items.pop(index) if 0 <= index < len(self._items) else None

    def expandingDirections(self) -> Qt.Orientation:
        return Qt.Orientation(0)

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._arrange_items(QRect(0, 0, width, 0), is_moving=False)

    def setGeometry(self, rect: QRect) -> None:
        super().setGeometry(rect)
        self._arrange_items(rect, is_moving=True)

    def sizeHint(self) -> QSize:
        if not self._prefers_one_line:
            return self.minimumSize()
        sizes = [_size_hint(item) for item in self._items if not item.isEmpty()]
        width = sum(size.width() for size in sizes) + self._gap * max(len(sizes) - 1, 0)
        return QSize(width, max((size.height() for size in sizes), default=0))

    def minimumSize(self) -> QSize:
        size = QSize()
        for item in self._items:
            size = size.expandedTo(item.minimumSize())
        return size

    def _arrange_items(self, rect: QRect, *, is_moving: bool) -> int:
        """Arrange the items in lines, each as high as its tallest item, and return the total
        height. If `is_moving` is false, only the height is computed."""
        x, y, line_height = rect.x(), rect.y(), 0
        for item in self._items:
            if item.isEmpty():
                continue
            size = _size_hint(item).boundedTo(QSize(max(rect.width(), item.minimumSize().width()), 1 << 20))
            if x > rect.x() and x + size.width() > rect.right() + 1:
                x, y, line_height = rect.x(), y + line_height + self._line_gap, 0
            if is_moving:
                item.setGeometry(QRect(QPoint(x, y), size))
            x += size.width() + self._gap
            line_height = max(line_height, size.height())
        return y + line_height - rect.y()


def set_flow_layout(
    widget: QWidget, gap: int = GAP_GROUP, line_gap: int = GAP_TIGHT, *, prefers_one_line: bool = False
) -> FlowLayout:
    """Set a FlowLayout on `widget`, and a size policy with exactly the height that the wrapped
    lines need. Return the layout."""
    policy = widget.sizePolicy()
    policy.setHeightForWidth(True)
    policy.setVerticalPolicy(QSizePolicy.Policy.Minimum)
    widget.setSizePolicy(policy)
    return FlowLayout(widget, gap, line_gap, prefers_one_line=prefers_one_line)


def _size_hint(item: QLayoutItem) -> QSize:
    """Return the size hint of the widget itself, because the hint of the layout item may have been
    cached before the style sheet was applied."""
    widget = item.widget()
    if widget is None:
        return item.sizeHint()
    widget.ensurePolished()
    return widget.sizeHint()
