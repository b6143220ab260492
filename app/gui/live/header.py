"""Header of the Live page: name of the run, its progress, and the stop button."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QProgressBar, QSizePolicy

from app.analysis.run_progress import compute_done_share
from app.gui.formatting import NOT_AVAILABLE, State, format_elapsed
from app.gui.live.state import LiveState, RunStatus
from app.gui.widgets import Badge, button, hbox, label, restyle, tool_tip_text, vbox

_PROGRESS_STEPS = 200
"""Number of steps of the progress bar. A higher number would cost more repaints, since the bar
repaints at each step."""


class RunHeader(QFrame):
    """Header with the progress of a run. `stop_requested` is emitted when the stop button is
    pressed."""

    stop_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Run")
        self.name = label("", "title")
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.badge = Badge()
        self.status = label("", "word")
        self.message = label("", "muted", wrap=True)
        self.progress = label("")
        self.times = label("", "muted")
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress")
        self.bar.setRange(0, _PROGRESS_STEPS)
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(self.fontMetrics().height() // 2 + 2)
        self.stop = button("S&top", self.stop_requested.emit)
        self.stop.setToolTip("Stop the run and store the results so far (Esc Esc)")
        title_row = hbox((self.name, 1), self.badge, self.status, self.stop, spacing=12)
        progress_row = hbox((self.message, 1), self.progress, self.times, spacing=16)
        vbox(title_row, progress_row, self.bar, within=self, spacing=4)

    def show_state(self, state: LiveState) -> None:
        self.name.setText(state.name or "Run")
        self.name.setToolTip("" if state.directory is None else tool_tip_text(str(state.directory)))
        text, text_state = _format_status(state.status)
        self.status.setText(text)
        restyle(self.status, text_state)
        _set_badge(self.badge, state.validity or "", "\n".join(state.reasons))
        self.message.setText(_format_message(state))
        self.progress.setText(_format_progress(state))
        self.times.setText(_format_times(state))
        done_share = compute_done_share(state.elapsed_s, state.eta_s)  # as in the Jobs dock
        self.bar.setValue(round(_PROGRESS_STEPS * (done_share or 0.0)))
        self.bar.setVisible(state.is_running and done_share is not None)
        self.stop.setVisible(state.is_running)
        self.stop.setText("S&top now (cancel in-flight requests)" if state.status == "stopping" else "S&top")
        self.stop.setAccessibleName(self.stop.text().replace("&", ""))


def _set_badge(badge: Badge, validity: str, tool_tip: str) -> None:
    if (badge.text(), badge.toolTip()) != (validity, tool_tip):
        badge.show_verdict(validity, tool_tip)


def _format_status(status: RunStatus) -> tuple[str, State]:
    styled_texts: dict[RunStatus, tuple[str, State]] = {
        "idle": ("", "plain"),
        "starting": ("Starting…", "plain"),
        "running": ("▶ Running", "plain"),
        "stopping": ("■ Stopping…", "warn"),
        "finished": ("Finished", "plain"),
        "lost": ("✕ Process lost", "bad"),
        "failed": ("✕ Start failed", "bad"),
    }
    return styled_texts[status]


def _format_message(state: LiveState) -> str:
    if state.status == "starting":
        return (
            "The benchmark is starting. "
            "Checking this machine and calibrating the load generator can take half a minute."
        )
    if state.is_running:
        return f"{state.phase}: {state.message}"
    return ""


def _format_progress(state: LiveState) -> str:
    if state.total_count is not None:
        return f"{state.completed_count} of {state.total_count} done"
    return f"Completed stages: {state.completed_count}" if state.completed_count else ""


def _format_times(state: LiveState) -> str:
    elapsed_text = format_elapsed(state.elapsed_s)
    if not state.is_running:
        return f"Duration {elapsed_text}" if state.elapsed_s else ""
    remaining_text = NOT_AVAILABLE if state.eta_s is None else format_elapsed(state.eta_s)
    return f"Elapsed {elapsed_text}   Remaining {remaining_text}"
