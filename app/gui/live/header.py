"""Header of the Live page: name of the run, its progress, and the stop button."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QLabel, QProgressBar, QSizePolicy, QWidget

from app.analysis.run_progress import RunStep, compute_done_share
from app.gui.flow import set_flow_layout
from app.gui.formatting import NOT_AVAILABLE, State, format_elapsed
from app.gui.live.state import LiveState, RunStatus, StepCell
from app.gui.theme import GAP_GROUP, GAP_SECTION, GAP_TIGHT
from app.gui.widgets import button, hbox, label, restyle, tool_tip_text, vbox

_PROGRESS_STEPS = 200
"""Number of steps of the progress bar. A higher number would cost more repaints, since the bar
repaints at each step."""


_STEP_TITLES: dict[RunStep, str] = {
    "check": "Check machine",
    "target": "Prepare target",
    "calibrate": "Calibrate",
    "warmup": "Warm up",
    "measure": "Measure",
    "report": "Report",
}


class StepBar(QWidget):
    """Steps of the run in a row. The running step is emphasized."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Steps")
        self._cells: tuple[StepCell, ...] = ()
        self._labels: list[QLabel] = []
        self._layout = set_flow_layout(self)

    def show_steps(self, cells: tuple[StepCell, ...]) -> None:
        if cells == self._cells:
            return
        self._cells = cells
        while len(self._labels) < len(cells):
            self._labels.append(label("", "step"))
            self._layout.addWidget(self._labels[-1])
        for index, step_label in enumerate(self._labels):
            step_label.setVisible(index < len(cells))
            if index < len(cells):
                step_label.setText(_format_step(cells[index]))
                _restyle_step(step_label, cells[index])
        running = next((index for index, cell in enumerate(cells) if cell.state == "running"), None)
        description = (
            "" if running is None else f"Step {running + 1} of {len(cells)}: {_STEP_TITLES[cells[running].step]}"
        )
        self.setAccessibleDescription(description)


def _restyle_step(step_label: QLabel, cell: StepCell) -> None:
    if step_label.property("step") != cell.state:
        step_label.setProperty("step", cell.state)
        step_label.style().unpolish(step_label)
        step_label.style().polish(step_label)


_STEP_MARKS = {"done": "✓", "running": "●", "waiting": "○", "skipped": "–"}


def _format_step(cell: StepCell) -> str:
    return f"{_STEP_MARKS[cell.state]} {_STEP_TITLES[cell.step]}{_format_step_time(cell)}"


def _format_step_time(cell: StepCell) -> str:
    """Return the time of the running step. The remaining time of the measurement is that of the
    run, which the header shows."""
    if cell.state != "running" or cell.step == "measure":
        return ""
    if cell.remaining_s is None:
        return f", {format_elapsed(cell.elapsed_s)}"
    prefix = "at most " if cell.step == "warmup" else "about "
    return f", {prefix}{format_elapsed(cell.remaining_s)} left"


class RunHeader(QFrame):
    """Header with the progress of a run. `stop_requested` is emitted when the stop button is
    pressed."""

    stop_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Run")
        self.name = label("", "title")
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.status = label("", "word")
        self.steps = StepBar()
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
        title_row = hbox((self.name, 1), self.status, self.stop, spacing=GAP_GROUP)
        position_row = hbox((self.message, 1), self.progress, self.times, spacing=GAP_SECTION)
        vbox(title_row, self.steps, position_row, self.bar, within=self, spacing=GAP_TIGHT)

    def show_state(self, state: LiveState) -> None:
        self.name.setText(state.name or "Run")
        self.name.setToolTip("" if state.directory is None else tool_tip_text(str(state.directory)))
        text, text_state = _format_status(state.status)
        self.status.setText(text)
        restyle(self.status, text_state)
        self.steps.show_steps(state.steps)
        self.message.setText(_format_message(state))
        self.progress.setText(_format_progress(state))
        self.times.setText(_format_times(state))
        done_share = compute_done_share(state.elapsed_s, state.eta_s)  # as in the Jobs dock
        self.bar.setValue(round(_PROGRESS_STEPS * (done_share or 0.0)))
        self.bar.setVisible(state.is_running and done_share is not None)
        self.stop.setVisible(state.is_running)
        is_draining = state.status == "stopping" and not state.is_local
        self.stop.setText("S&top now (cancel in-flight requests)" if is_draining else "S&top")
        self.stop.setAccessibleName(self.stop.text().replace("&", ""))


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
    if not state.is_running:
        return ""
    has_position = bool(state.position) and (not state.message or state.phase == "stages")
    text = state.position if has_position else f"{state.phase}: {state.message}"
    return text[:1].upper() + text[1:]


def _format_progress(state: LiveState) -> str:
    if state.total_count is not None:
        noun = "variants " if state.is_local else ""
        return f"{state.completed_count} of {state.total_count} {noun}done"
    return f"Completed stages: {state.completed_count}" if state.completed_count else ""


def _format_times(state: LiveState) -> str:
    elapsed_text = format_elapsed(state.elapsed_s)
    if not state.is_running:
        return f"Duration {elapsed_text}" if state.elapsed_s else ""
    remaining_text = NOT_AVAILABLE if state.eta_s is None else format_elapsed(state.eta_s)
    return f"Elapsed {elapsed_text}   Remaining {remaining_text}"
