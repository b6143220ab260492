"""Toolbar section of the current run: start button, stop button and progress."""

from __future__ import annotations

from PySide6.QtCore import QObject, QSize, Qt
from PySide6.QtWidgets import QSizePolicy, QToolBar, QToolButton, QWidget

from app.gui.formatting import format_elapsed
from app.gui.icons import icon
from app.gui.live.state import LiveState
from app.gui.theme import Theme, ThemeController
from app.gui.widgets import Badge, hbox, label, tool_button


class RunBar(QObject):
    def __init__(self, toolbar: QToolBar, theme_controller: ThemeController) -> None:
        super().__init__(toolbar)
        self._toolbar = toolbar
        self.start_button = _create_button("Start", "Start run (F5)")
        self.stop_button = _create_button("Stop", "Stop the current run (Esc Esc on Live)")
        self.stop_button.setEnabled(False)
        self.progress, self.validity = label("", "muted"), Badge()
        spacer = QWidget()
        spacer.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        status = QWidget()  # a toolbar makes its direct children visible again, even an empty badge
        hbox(self.progress, self.validity, within=status)
        for widget in (self.start_button, self.stop_button, spacer, status):
            toolbar.addWidget(widget)
        theme_controller.changed.connect(self._recolor)
        self._recolor(theme_controller.theme)

    def show_state(self, state: LiveState) -> None:
        self.stop_button.setEnabled(state.is_running)
        self.progress.setText(progress_line(state) if state.is_running else "")
        self.validity.show_verdict(state.validity or "" if state.is_running else "", "\n".join(state.reasons))

    def _recolor(self, theme: Theme) -> None:
        size_px = self._toolbar.fontMetrics().height()
        self._toolbar.setIconSize(QSize(size_px, size_px))
        self.start_button.setIcon(icon("start", theme.good, size_px))
        self.stop_button.setIcon(icon("stop", theme.bad, size_px))


def progress_line(state: LiveState) -> str:
    """Format the progress of a run on one line, such as "chat: stages, 12/40, 1:05, 2:10 left"."""
    parts = [state.phase] if state.phase else []
    if state.total_count is not None:
        parts.append(f"{state.completed_count}/{state.total_count}")
    elif state.completed_count:
        parts.append(f"{state.completed_count} done")
    parts.append(format_elapsed(state.elapsed_s))
    if state.eta_s is not None:
        parts.append(f"{format_elapsed(state.eta_s)} left")
    return f"{state.name}: {', '.join(parts)}"


def _create_button(text: str, tip: str) -> QToolButton:
    result = tool_button(text, tip=tip)
    result.setAccessibleDescription(tip)
    result.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    result.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return result
