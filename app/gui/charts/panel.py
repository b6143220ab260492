"""Frame shared by all charts: title, legend, data table, export, and a message if there is nothing
to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QFocusEvent,
    QFont,
    QGuiApplication,
    QKeySequence,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QShortcut,
)
from PySide6.QtWidgets import QGridLayout, QLabel, QMenu, QWidget

from app.gui.charts import export
from app.gui.charts.axes import Axis
from app.gui.charts.legend import Legend
from app.gui.charts.plot import PlotView
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Notice
from app.gui.theme import GAP_LINE, Theme, ThemeController, small_font
from app.gui.widgets import label, stacked_widget, tool_button, vbox

if TYPE_CHECKING:
    import pandas as pd

    from app.gui.tables import FrameTable

_MIN_PLOT_PX = 70
_MIN_PLOT_ROWS = 4
_MAX_LEGEND_SHARE = 0.25
"""Maximum share of the height of a chart that the legend takes."""


class _Heading(QLabel):
    """Title of a chart, which prefers one line. Qt itself wraps a long title even if there is room."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)

    def sizeHint(self) -> QSize:
        return QSize(self.fontMetrics().horizontalAdvance(self.text()) + 2, self.fontMetrics().height())


class Panel(QWidget):
    """Base class of charts. Subclasses implement `frame`, `describe`, `apply_changes` and
    `restyle`."""

    def __init__(self, title: str, x_axis: Axis, y_axis: Axis, theme_controller: ThemeController) -> None:
        super().__init__()
        self.title, self.x_axis, self.y_axis, self.theme_controller = title, x_axis, y_axis, theme_controller
        self.setAccessibleName(title)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.legend = Legend(theme_controller.theme)
        self.plot = PlotView(x_axis, y_axis, theme_controller.theme)
        self._message_label = label("", "muted", wrap=True)
        self._message_label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._table: FrameTable | None = None
        self._table_notes = label("", "muted", wrap=True)
        self._table_box = QWidget()
        self._stack = stacked_widget(self.plot, self._message_label, self._table_box)
        self._is_table_shown = self._is_legend_below = False
        self._message = ""
        self._strip: MessageStrip | None = None
        self._build()
        self._on_font_changed()
        theme_controller.changed.connect(self.apply_theme)

    def frame(self) -> pd.DataFrame:
        """Return the plotted data as a DataFrame."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return a description of the plotted data for screen readers."""
        raise NotImplementedError

    def apply_changes(self) -> None:
        """Apply all pending changes to the plot."""
        raise NotImplementedError

    def restyle(self, theme: Theme) -> None:
        """Repaint the chart with the colors of `theme`."""
        raise NotImplementedError

    def set_message(self, text: str) -> None:
        """Show a message instead of the plot, such as an error or a note that there is no data. An
        empty text shows the plot again."""
        if text == self._message:
            return
        self._message = text
        self._message_label.setText(text)
        self._show_page()
        self.refresh_description()

    def refresh_description(self) -> None:
        text = self._message or self.describe()
        if text != self.accessibleDescription():  # screen readers announce every change
            self.setAccessibleDescription(text)

    @property
    def is_plot_shown(self) -> bool:
        return not self._is_table_shown and not self._message

    def show_table(self, is_shown: bool) -> None:
        self._is_table_shown = is_shown
        self.table_button.setChecked(is_shown)
        if is_shown:
            self._fill_table()
        self._show_page()
        if self._table is not None and is_shown and self.hasFocus():
            self._table.setFocus(Qt.FocusReason.OtherFocusReason)
        elif not is_shown and self._table is not None and self._table.hasFocus():
            self.setFocus(Qt.FocusReason.OtherFocusReason)

    def table(self) -> FrameTable | None:
        """Return the data table, or `None` if the table has never been shown."""
        return self._table

    def fill_menu(self, menu: QMenu) -> None:
        """Add the entries of the subclass to the context menu, above the export entries."""

    def refresh_table(self) -> None:
        if self._is_table_shown:
            self._fill_table()

    def _build(self) -> None:
        self._heading = _Heading(self.title)
        self.table_button = tool_button(
            "Table", f"Show as a table: {self.title}", tip="Show as a table (T)", flat=True, checkable=True
        )
        self.table_button.clicked.connect(self.show_table)
        self.export_button = tool_button("Export", f"Export: {self.title}", flat=True, menu=self._create_export_menu())
        for widget in (self.legend, self.table_button, self.export_button):
            widget.setProperty("role", "small")
        self._grid = grid = QGridLayout(self)
        grid.setContentsMargins(6, 4, 6, 4)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(GAP_LINE)
        grid.addWidget(self._heading, 1, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.legend, 1, 1, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.table_button, 1, 2, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.export_button, 1, 3, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self._stack, 3, 0, 1, 4)
        grid.setColumnStretch(1, 1)
        grid.setRowStretch(3, 1)
        self._table_layout = vbox(within=self._table_box)
        table_shortcut = QShortcut(QKeySequence(Qt.Key.Key_T), self)
        table_shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        table_shortcut.activated.connect(self._toggle_table)

    def _create_export_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.addAction("Save as &PNG…", lambda: self._save("png", "PNG images (*.png)"))
        menu.addAction("Save as &SVG…", lambda: self._save("svg", "SVG images (*.svg)"))
        menu.addAction("Save as &CSV…", lambda: self._save("csv", "CSV files (*.csv)"))
        menu.addAction("Copy &image", self.copy_image)
        return menu

    def _save(self, suffix: export.Suffix, file_filter: str) -> None:
        path = export.choose_path(self, self.title, suffix, file_filter)
        if path is None:
            return
        try:
            export.SAVERS[suffix](self, path)
        except OSError as error:
            summary = f"The chart cannot be saved as {path}."
            self._show_notice(Notice("error", summary, str(error), "Choose another folder."))

    def notice_text(self) -> str:
        """Return the text of the notice above the chart, such as a failed export; empty if there is
        none."""
        return "" if self._strip is None else self._strip.text()

    def _show_notice(self, notice: Notice) -> None:
        if self._strip is None:
            self._strip = MessageStrip()
            self._grid.addWidget(self._strip, 0, 0, 1, 4)
        self._strip.show_notice(notice)

    def copy_image(self) -> None:
        QGuiApplication.clipboard().setImage(export.render_image(self))

    def _toggle_table(self) -> None:
        if not self._message:
            self.show_table(not self._is_table_shown)

    def _fill_table(self) -> None:
        if self._table is None:
            from app.gui.tables import FrameModel, FrameTable

            self._table = FrameTable(FrameModel(), f"{self.title} (table)")
            self._table.horizontalHeader().setStretchLastSection(False)
            self._table_layout.addWidget(self._table)
            self._table_layout.addWidget(self._table_notes)
        self._table.set_frame(self.frame())
        self._table_notes.setText(self.notes())
        self._table_notes.setVisible(bool(self._table_notes.text()))

    def notes(self) -> str:
        """Return a description of the limit, bands, markers and region, which are not part of the
        table; empty if there are none."""
        return ""

    def _show_page(self) -> None:
        has_message = bool(self._message)
        page: QWidget = self._message_label if has_message else self._table_box if self._is_table_shown else self.plot
        self._stack.setCurrentWidget(page)
        for widget in (self.legend, self.table_button, self.export_button):
            widget.setVisible(not has_message)

    def apply_theme(self, theme: Theme) -> None:
        """Show the chart in the colors of a theme."""
        self.legend.theme = theme
        self._on_font_changed()  # the font changes with the theme, but its change event may arrive before the new font
        self.legend.update()
        self.restyle(theme)
        self.update()

    def _on_font_changed(self) -> None:
        heading_font = QFont(self.font())
        heading_font.setWeight(QFont.Weight.DemiBold)
        self._heading.setFont(heading_font)
        self.plot.apply_theme(self.theme_controller.theme, self.small_font())
        self.plot.setMinimumHeight(max(_MIN_PLOT_PX, _MIN_PLOT_ROWS * self.fontMetrics().height()))
        self.legend.updateGeometry()
        self.place_legend()

    def place_legend(self) -> None:
        """Place the legend beside the title if there is enough space, otherwise below the title
        across the full width."""
        widgets = (self._heading, self.table_button, self.export_button)
        margins, gap = self._grid.contentsMargins(), self._grid.horizontalSpacing()
        used_px = sum(widget.sizeHint().width() + gap for widget in widgets) + margins.left() + margins.right()
        self.legend.set_max_rows(max(1, int(_MAX_LEGEND_SHARE * self.height() / self.legend.row_height())))
        is_below = self.legend.single_line_width_px() > self.width() - used_px
        if is_below != self._is_legend_below:
            self._is_legend_below = is_below
            self._grid.removeWidget(self.legend)
            cell = (2, 0, 1, 4) if is_below else (1, 1, 1, 1)
            self._grid.addWidget(self.legend, *cell, Qt.AlignmentFlag.AlignTop)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.place_legend()

    def small_font(self) -> QFont:
        return small_font(self.font())

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._on_font_changed()
            self.restyle(self.theme_controller.theme)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if self.is_plot_shown:
            self.fill_menu(menu)
        menu.addAction("Show as a &table\tT").triggered.connect(self._toggle_table)
        menu.addSeparator()
        menu.addActions(self.export_button.menu().actions())
        menu.popup(event.globalPos())

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if not self.hasFocus():
            return
        painter = QPainter(self)
        painter.setPen(QPen(QColor(self.theme_controller.theme.accent), 2))
        painter.drawRect(QRectF(self.rect()).adjusted(1, 1, -1, -1))
        painter.end()
