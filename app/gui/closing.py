"""What is to become of a run when its window closes: asked once a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from PySide6.QtWidgets import QDialog, QHBoxLayout, QVBoxLayout, QWidget

from app.gui.widgets import button, label

Choice = Literal["stop", "leave", "cancel"]


class ClosingDialog(QDialog):
    """Modal, since what is measured would be lost by a wrong guess."""

    def __init__(self, parent: QWidget, run_name: str, waiting: int) -> None:
        super().__init__(parent)
        self.choice: Choice = "cancel"
        self.setWindowTitle("A run goes on")
        self.setModal(True)
        text = label(_question(run_name, waiting), wrap=True)
        text.setMinimumWidth(text.fontMetrics().averageCharWidth() * 60)
        leave = button("&Leave it running", self._leave, primary=True)
        leave.setDefault(True)
        line = QHBoxLayout()
        line.addWidget(button("&Stop it", self._stop))
        line.addStretch(1)
        line.addWidget(button("&Cancel", self.reject))
        line.addWidget(leave)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 16, 18, 14)
        layout.setSpacing(16)
        layout.addWidget(text)
        layout.addLayout(line)
        leave.setFocus()

    def _stop(self) -> None:
        self.choice = "stop"
        self.accept()

    def _leave(self) -> None:
        self.choice = "leave"
        self.accept()


class Closing:
    """`may_close(run_name, waiting, stop)` whenever the window is asked to close."""

    def __init__(self, window: QWidget) -> None:
        self._window = window
        self._remembered: Choice | None = None

    def may_close(self, run_name: str | None, waiting: int, stop: Callable[[], object]) -> bool:
        """`run_name` is of the run that goes on, None where none does: then nothing is asked. `stop` is called where
        that is chosen. What is chosen is remembered for the session, but for Cancel."""
        if run_name is None:
            return True
        choice = self._remembered or self._ask(run_name, waiting)
        if choice == "cancel":
            return False
        self._remembered = choice
        if choice == "stop":
            stop()
        return True

    def _ask(self, run_name: str, waiting: int) -> Choice:
        dialog = ClosingDialog(self._window, run_name, waiting)
        dialog.exec()
        choice = dialog.choice
        dialog.deleteLater()
        return choice


def _question(run_name: str, waiting: int) -> str:
    lines = [
        f"{run_name} is still being measured.",
        "Left running, it goes on without the window, and the next window attaches to it again.",
        "Stopped, what was measured so far is kept, and can be opened.",
    ]
    if waiting:
        lines.append(f"Jobs that wait are kept: {waiting}. They are offered again at the next start.")
    return "\n\n".join((lines[0], "\n".join(lines[1:])))
