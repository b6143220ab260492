"""Widgets of the Home page: large action buttons, cards of runs, and lines about this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QPushButton, QSizePolicy, QWidget

from app.gui.home.presenter import MachineLine, RunLine
from app.gui.sparkline import Sparkline
from app.gui.theme import GAP_LINE, ThemeController
from app.gui.widgets import Badge, button, clear, hbox, label, restyle, tool_tip_text, vbox

_STATE_SYMBOLS = {"warn": "▲ ", "bad": "✕ "}


class _MultilineButton(QPushButton):
    """Button that is as tall as the labels in its layout. By default, a Qt button has the height of
    one line, regardless of its contents."""

    def __init__(self) -> None:
        super().__init__()
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        layout = self.layout()
        return 0 if layout is None else layout.totalHeightForWidth(width)

    def sizeHint(self) -> QSize:
        layout = self.layout()
        return QSize() if layout is None else layout.totalSizeHint()

    def minimumSizeHint(self) -> QSize:
        layout = self.layout()
        return QSize() if layout is None else layout.totalMinimumSize()


class LargeAction(_MultilineButton):
    """Large button with a title and an explanation. `title` contains the mnemonic (&)."""

    def __init__(self, title: str, text: str, on_click: Callable[[], object]) -> None:
        super().__init__()
        self.setProperty("role", "action")
        self.setAccessibleName(title.replace("&", ""))
        self.setAccessibleDescription(text)
        heading, explanation = label(title, "heading", wrap=True), label(text, "muted", wrap=True)
        heading.setBuddy(self)
        layout = vbox(within=self, margins=(16, 14, 16, 14), spacing=6)
        for text_label in (heading, explanation):
            text_label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            layout.addWidget(text_label)
        layout.addStretch(1)
        self.clicked.connect(lambda: on_click())


class RunButton(_MultilineButton):
    """Button that opens a run, with its main number, the numbers of earlier comparable runs, and the
    change. The name of the run comes from a file, so the name is shown as plain text."""

    selected = Signal(object)
    """Signal that is emitted with the directory of the run (`Path`)."""

    def __init__(self, line: RunLine, theme_controller: ThemeController) -> None:
        super().__init__()
        self._directory = Path(line.directory)
        self.setProperty("role", "row")
        self.setAccessibleName(f"Open run {line.name}")
        self.setAccessibleDescription(line.description)
        self.setToolTip(tool_tip_text(line.started))
        header_row = hbox((label(line.name, wrap=True), 1))
        for badge_text in dict.fromkeys((line.outcome, line.validity or line.state)):  # show INVALID only once
            if badge_text:
                header_row.addWidget(Badge(badge_text), 0, Qt.AlignmentFlag.AlignTop)
        layout = vbox(header_row, within=self, margins=(10, 7, 10, 7), spacing=GAP_LINE)
        texts = vbox(spacing=1)
        if line.headline:
            texts.addWidget(label(line.headline, "strong", wrap=True))
        if line.change:
            change_label = label(line.change, "detail", wrap=True)
            restyle(change_label, line.change_state)
            texts.addWidget(change_label)
        texts.addWidget(label(line.age or line.started, "muted", wrap=True))
        number_row = hbox((texts, 1))
        if len(line.values) > 1:
            number_row.addWidget(Sparkline(line.values, theme_controller), 0, Qt.AlignmentFlag.AlignVCenter)
        layout.addLayout(number_row)
        for text_label in self.findChildren(QLabel):
            text_label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.clicked.connect(self._emit_selected)

    @property
    def directory(self) -> Path:
        return self._directory

    def _emit_selected(self) -> None:
        self.selected.emit(self._directory)


class RunRows(QWidget):
    """Cards of the most recent runs, newest first."""

    run_selected = Signal(object)
    """Signal that is emitted with the directory of the selected run (`Path`)."""
    comparison_requested = Signal(object)
    """Signal that is emitted with the directories of the runs to compare, baseline first (a tuple of
    `Path`)."""

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.setAccessibleName("Recent runs")
        self._theme_controller = theme_controller
        self._layout = vbox(within=self, spacing=6)
        self._lines: tuple[RunLine, ...] = ()

    def show_lines(self, lines: Sequence[RunLine]) -> None:
        """Show the cards. A card that has the focus keeps it if its run is still shown."""
        if tuple(lines) == self._lines:
            return
        focused = next((card for card in self.findChildren(RunButton) if card.hasFocus()), None)
        self._lines = tuple(lines)
        clear(self._layout)
        for line in lines:
            self._layout.addWidget(self._create_card(line, None if focused is None else focused.directory))

    def _create_card(self, line: RunLine, focused_directory: Path | None) -> QWidget:
        card_frame = QFrame(self)
        card_frame.setProperty("role", "card")
        open_button = RunButton(line, self._theme_controller)
        open_button.selected.connect(self.run_selected)
        row = hbox((open_button, 1), within=card_frame, spacing=0)
        if line.reference is not None:
            other = "the baseline" if line.is_baseline else "the previous run"
            paths = Path(line.reference), Path(line.directory)
            compare_button = button("Compare", partial(self.comparison_requested.emit, paths))
            compare_button.setAccessibleName(f"Compare run {line.name} with {other}")
            compare_button.setToolTip(f"Compare with {other}")
            row.addWidget(compare_button, 0, Qt.AlignmentFlag.AlignVCenter)
            row.setContentsMargins(0, 0, 10, 0)
        if focused_directory == open_button.directory:
            QTimer.singleShot(0, open_button, open_button.setFocus)
        return card_frame


class MachineLines(QWidget):
    """Lines about this machine, each with a title and a text. The title of a problem starts with a
    symbol."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("This machine")
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(14)
        self._grid.setVerticalSpacing(6)
        self._grid.setColumnStretch(1, 1)
        self._labels: list[tuple[QLabel, QLabel]] = []

    def show_lines(self, lines: Sequence[MachineLine]) -> None:
        """Show the lines. The labels are reused, so that the layout does not jump with each
        update."""
        while len(self._labels) < len(lines):
            self._add()
        for index, (title_label, text_label) in enumerate(self._labels):
            is_used = index < len(lines)
            title_label.setVisible(is_used)
            text_label.setVisible(is_used)
            if is_used:
                line = lines[index]
                title_label.setText(_STATE_SYMBOLS.get(line.state, "") + line.title)
                text_label.setText(line.text)
                restyle(title_label, line.state)
        self.setAccessibleDescription("; ".join(f"{line.title}: {line.text}" for line in lines))

    def text(self) -> str:
        """Return the titles and texts of all visible lines."""
        texts = [(title.text(), text.text()) for title, text in self._labels if not title.isHidden()]
        return "\n".join(f"{title}: {text}" for title, text in texts)

    def _add(self) -> None:
        title_label, text_label = label("", "word"), label("", wrap=True)
        row, align_top = len(self._labels), Qt.AlignmentFlag.AlignTop
        self._grid.addWidget(title_label, row, 0, align_top)
        self._grid.addWidget(text_label, row, 1, align_top)
        self._labels.append((title_label, text_label))
