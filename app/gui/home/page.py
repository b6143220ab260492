"""Home page: quick check, three main actions, the most recent runs, and this machine."""

from __future__ import annotations

from datetime import UTC, datetime

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QPushButton, QVBoxLayout, QWidget

from app.gui.background import LatestRunner
from app.gui.docks.machine_watch import MachineState, MachineWatch
from app.gui.home.cards import LargeAction, MachineLines, RunRows
from app.gui.home.presenter import (
    QUICK_CHECK,
    RunLine,
    build_language_model_check,
    build_quick_check,
    find_language_model_problem,
    machine_lines,
    read_recent_runs,
)
from app.gui.home.unfinished import UnfinishedRuns
from app.gui.navigation import Navigation, PageKey
from app.gui.page import Page
from app.gui.recovery import Recovery
from app.gui.theme import GAP_GROUP, GAP_SECTION, ThemeController
from app.gui.widgets import button, card, hbox, label, scroll_area, vbox

_CHECK_DELAY_MS = 400
"""Delay, in ms, before this machine is checked. The check starts a child process; the delay lets
the window be painted first."""
_NARROW_CHARACTERS = 105
"""Page width, in characters, below which the cards are stacked instead of placed side by side."""


class HomePage(Page):
    """Home page of the window. `set_machine` sets the source of the machine data, and
    `set_recovery` sets the source of unfinished runs."""

    key: PageKey = "home"

    def __init__(self, navigation: Navigation, theme_controller: ThemeController) -> None:
        super().__init__(navigation, theme_controller)
        self._machine: MachineWatch | None = None
        self._run_reader: LatestRunner[tuple[RunLine, ...]] = LatestRunner(self, self._show_runs, self._show_runs_error)
        self.quick_check_button = button("Run the &quick check", self.start, primary=True)
        self.run_rows = RunRows(theme_controller)
        self.run_rows.comparison_requested.connect(navigation.comparison_requested)
        self.run_rows.run_selected.connect(navigation.open_run_requested)
        self._no_runs_label = label("Loading runs…", "muted", wrap=True)
        self._read_again_button = button("R&ead again", self._read_runs)
        self._read_again_button.hide()
        self.machine_lines = MachineLines()
        self._check_again_button = button("Check a&gain", self._check_machine_again)
        self._check_again_button.hide()
        self._action_row = self._create_action_row()
        self._lower_row = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._column = self._lay_out()
        self._check_timer = QTimer(self, singleShot=True, interval=_CHECK_DELAY_MS)
        self._check_timer.timeout.connect(self._refresh)
        navigation.library_changed.connect(self._read_runs)

    def set_machine(self, machine: MachineWatch) -> None:
        self._machine = machine
        machine.add_viewer(self.machine_lines)
        machine.changed.connect(self._show_machine)
        self._show_machine(machine.state)

    def set_recovery(self, recovery: Recovery) -> None:
        self._column.insertWidget(0, UnfinishedRuns(recovery))

    def enter(self) -> None:
        self.quick_check_button.setFocus(Qt.FocusReason.OtherFocusReason)
        self._check_timer.start()

    def leave(self) -> None:
        self._check_timer.stop()

    def start(self) -> bool:
        self.navigation.launch_requested.emit(build_quick_check())
        return True

    def command_line(self) -> str | None:
        return " ".join(("sizewise", *QUICK_CHECK))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Press the focused button on Enter. If no button has the focus, start the quick check."""
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)
            return
        focus_widget = self.focusWidget()
        pressed_button = (
            focus_widget
            if isinstance(focus_widget, QPushButton) and focus_widget.hasFocus()
            else self.quick_check_button
        )
        pressed_button.click()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        is_narrow = self.width() < _NARROW_CHARACTERS * self.fontMetrics().averageCharWidth()
        direction = QBoxLayout.Direction.TopToBottom if is_narrow else QBoxLayout.Direction.LeftToRight
        for layout in (self._action_row, self._lower_row):
            layout.setDirection(direction)

    def _lay_out(self) -> QVBoxLayout:
        content = QWidget()
        parts = (
            self._create_quick_check_card(),
            self._create_language_model_card(),
            self._action_row,
            self._lower_row,
        )
        column = vbox(*parts, 1, within=content, margins=(4, 4, 12, 12), spacing=GAP_SECTION)
        self._lower_row.setSpacing(GAP_SECTION)
        runs_card = card(label("Recent runs", "heading"), self._no_runs_label, self.run_rows)
        machine_card = card(label("This machine", "heading"), self.machine_lines)
        for frame, action_button in ((runs_card, self._read_again_button), (machine_card, self._check_again_button)):
            card_layout = frame.layout()
            assert isinstance(card_layout, QVBoxLayout)
            card_layout.addWidget(action_button, 0, Qt.AlignmentFlag.AlignLeft)
            card_layout.addStretch(1)
            self._lower_row.addWidget(frame, 1)
        area = scroll_area(content, focusable=False)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        vbox(area, within=self)
        return column

    def _create_quick_check_card(self) -> QFrame:
        button_row = hbox(self.quick_check_button, label("Enter or F5", "muted"), 1, spacing=GAP_GROUP)
        explanation = (
            "Find the max rate of a small built-in model with p95 latency below 50 ms, and plan a fleet for a day of "
            "traffic. This takes about a minute, and needs no GPU or network."
        )
        frame = card(label("Quick check of this machine", "title", wrap=True), label(explanation, wrap=True))
        layout = frame.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.setContentsMargins(20, 18, 20, 18)
        layout.setSpacing(10)
        layout.addLayout(button_row)
        return frame

    def _create_language_model_card(self) -> QFrame:
        explanation = (
            "Measure a small language model with 1 to 32 clients, and plan a fleet for it and GPUs for an 8B model. "
            "This takes about a minute and a half, and needs no GPU or network."
        )
        problem = find_language_model_problem()
        frame = card(label("Quick check of a language model", "heading", wrap=True), label(explanation, wrap=True))
        layout = frame.layout()
        assert isinstance(layout, QVBoxLayout)
        if problem is None:
            start_button = button("Chec&k a language model", self._start_language_model_check)
            layout.addWidget(start_button, 0, Qt.AlignmentFlag.AlignLeft)
        else:
            layout.addWidget(label(problem, "muted", wrap=True))
        return frame

    def _create_action_row(self) -> QBoxLayout:
        layout = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        layout.setSpacing(GAP_SECTION)
        model_text = "Measure an .onnx file on this machine: latency, throughput, precision, memory."
        endpoint_text = "Test a server that you have permission to load-test: max rate, bottleneck, errors."
        hardware_text = "Plan the GPU type, instance count and cost, based on measurements."
        layout.addWidget(LargeAction("&Benchmark a model", model_text, self._benchmark), 1)
        layout.addWidget(LargeAction("&Load-test an endpoint", endpoint_text, self._load_test), 1)
        layout.addWidget(LargeAction("Si&ze my hardware", hardware_text, self._plan_hardware), 1)
        return layout

    def _start_language_model_check(self) -> None:
        self.navigation.launch_requested.emit(build_language_model_check())

    def _benchmark(self) -> None:
        self.navigation.page_requested.emit("run")
        self.navigation.new_profile_requested.emit("local")

    def _load_test(self) -> None:
        self.navigation.page_requested.emit("run")
        self.navigation.new_profile_requested.emit("endpoint")

    def _plan_hardware(self) -> None:
        self.navigation.page_requested.emit("plan")

    def _refresh(self) -> None:
        self._read_runs()
        if self._machine is not None:
            self._machine.check()

    def _check_machine_again(self) -> None:
        if self._machine is not None:
            self._machine.check_again()

    def _show_machine(self, state: MachineState) -> None:
        self.machine_lines.show_lines(machine_lines(state))
        self._check_again_button.setVisible(state.machine_info is not None or state.problem is not None)

    def _read_runs(self) -> None:
        self._run_reader.request(lambda: read_recent_runs(datetime.now(UTC)))

    def _show_runs(self, lines: tuple[RunLine, ...]) -> None:
        self._read_again_button.hide()
        self._no_runs_label.setText(
            "There are no runs yet. Start with the quick check: its model is built in and already selected."
        )
        self._no_runs_label.setVisible(not lines)
        self.run_rows.setVisible(bool(lines))
        self.run_rows.show_lines(lines)

    def _show_runs_error(self, error: Exception) -> None:
        self._no_runs_label.setText("The recent runs could not be read. Read them again, or open the Library.")
        self._no_runs_label.show()
        self.run_rows.hide()
        self._read_again_button.show()
        self.navigation.notify_error(error)
