"""Status bar with the state of the load generator, machine, clock, disk and validity. A click on a
segment opens the dock or page with the details."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import (
    QSizePolicy,
    QStatusBar,
    QStyle,
    QStyleOptionToolButton,
    QStylePainter,
    QToolButton,
    QWidget,
)

from app.gui.background import LatestRunner
from app.gui.docks.job_queue import JobQueue
from app.gui.docks.job_text import format_job_time, format_phase
from app.gui.docks.machine_format import format_reading, gpu_title
from app.gui.docks.machine_watch import MachineState, MachineWatch
from app.gui.formatting import NOT_AVAILABLE, State, format_size, shorten, state_for_verdict
from app.gui.navigation import Navigation
from app.gui.widgets import restyle, tool_tip_text

LOW_DISK_BYTES = 2 * 2**30
_DISK_INTERVAL_MS = 30_000
_MIN_SEGMENT_CHARACTERS = 12
_STATE_SYMBOLS: dict[State, str] = {"warn": "▲ ", "bad": "✕ "}


class Segment(QToolButton):
    """Clickable text of the status bar, which is elided in a narrow window. The tooltip and the
    accessible name contain the full text."""

    def __init__(self) -> None:
        super().__init__(autoRaise=True)
        self.setProperty("role", "word")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:
        size = self.sizeHint()
        min_width_px = self.fontMetrics().averageCharWidth() * _MIN_SEGMENT_CHARACTERS
        return QSize(min(size.width(), min_width_px), size.height())

    def paintEvent(self, _: QPaintEvent) -> None:
        option = QStyleOptionToolButton()
        self.initStyleOption(option)
        option.text = self.elided_text()
        QStylePainter(self).drawComplexControl(QStyle.ComplexControl.CC_ToolButton, option)

    def elided_text(self) -> str:
        """Return the text as it is displayed."""
        missing_px = self.sizeHint().width() - self.width()
        if missing_px <= 0:
            return self.text()
        text_px = self.fontMetrics().horizontalAdvance(self.text())
        return self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, text_px - missing_px)


class StatusBar(QStatusBar):
    """Status bar of the window, with one clickable segment per topic."""

    explanation_requested = Signal(str)
    """Signal that is emitted when the user clicks a segment, with the dock or page to show: object
    name of the dock ("jobs-dock" or "gpu-dock") or key of the page ("home", "library", "live" or
    "results")."""

    def __init__(
        self, navigation: Navigation, queue: JobQueue, machine: MachineWatch, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setAccessibleName("Status")
        self.setSizeGripEnabled(False)
        self._navigation, self._queue = navigation, queue
        self._was_disk_low = False
        self._validity_page = "live"
        self.engine = self._add_segment("Benchmark", self._explain_engine)
        self.machine = self._add_segment("Machine", self._explain_machine)
        self.clock = self._add_segment("Clock", self._explain_clock)
        self.disk = self._add_segment("Disk", self._explain_disk)
        self.validity = self._add_segment("Validity", self._explain_validity)
        self._disk_reader: LatestRunner[int] = LatestRunner(self, self.show_disk, self._on_disk_error)
        self._disk_timer = QTimer(self, interval=_DISK_INTERVAL_MS)
        self._disk_timer.timeout.connect(self.read_disk)
        self._disk_timer.start()
        machine.add_viewer(self.machine)
        machine.changed.connect(self._show_machine)
        queue.changed.connect(self._show_engine)
        navigation.validity_changed.connect(self.show_validity)
        self._show_engine()
        self._show_machine(machine.state)
        self.show_validity(None)
        self._set_segment(self.disk, f"Disk {NOT_AVAILABLE}", "")
        self.read_disk()

    def show_validity(self, verdict: str | None, reason: str = "", page: str = "live") -> None:
        """Show the validity of the current run: VALID, WARN or INVALID, or None if there is no run.

        `page` is the key of the page that explains the validity.
        """
        self._validity_page = page
        text = verdict or NOT_AVAILABLE
        self._set_segment(self.validity, f"Validity: {text}", reason or "No run yet", state_for_verdict(text))

    def read_disk(self) -> None:
        self._disk_reader.request(_read_free_bytes)

    def show_disk(self, free_bytes: int) -> None:
        is_low = free_bytes < LOW_DISK_BYTES
        text = f"Disk {format_size(free_bytes)} free"
        self._set_segment(self.disk, text, "Free disk space for runs", "warn" if is_low else "plain")
        if is_low and not self._was_disk_low:
            self._navigation.notify(
                "warning",
                f"Only {format_size(free_bytes)} of disk space is left for runs.",
                "A run ends early if the disk is full.",
                "Delete runs in the Library and empty the trash.",
            )
        self._was_disk_low = is_low

    def _show_engine(self) -> None:
        job, waiting_count = self._queue.running_job, len(self._queue.waiting_jobs)
        text = "Benchmark: idle" if job is None else f"Benchmark: {shorten(job.launch.name)}"
        if waiting_count:
            text = f"{text}, {waiting_count} waiting"
        details = "No job running" if job is None else f"{format_phase(job)}, {format_job_time(job)}"
        self._set_segment(self.engine, text, details)

    def _show_machine(self, state: MachineState) -> None:
        readings = state.readings
        if readings is not None and readings.gpus:
            first_gpu = readings.gpus[0]
            temperature_text, utilization_text = (
                format_reading(first_gpu.temperature_c, "°C"),
                format_reading(first_gpu.utilization_percent, "%"),
            )
            text = f"{gpu_title(first_gpu)} {temperature_text}, {utilization_text}"
            more_gpu_count = len(readings.gpus) - 1
            text = f"{text} (and {more_gpu_count} more)" if more_gpu_count else text
            is_throttled = any(gpu.throttled_by for gpu in readings.gpus)
            self._set_segment(self.machine, text, shorten(first_gpu.name), "warn" if is_throttled else "plain")
        else:
            utilization_text = format_reading(None if readings is None else readings.cpu_percent, "%")
            self._set_segment(self.machine, f"CPU {utilization_text}", "No GPU detected")
        self._show_clock(state)

    def _show_clock(self, state: MachineState) -> None:
        checks = () if state.machine_info is None else state.machine_info.checks
        check = next((machine_check for machine_check in checks if machine_check.id == "clock_resolution"), None)
        if check is None:
            self._set_segment(self.clock, f"Clock {NOT_AVAILABLE}", "Not checked yet")
            return
        is_valid = check.verdict == "VALID"
        resolution_text = f"Resolution {check.value} ns"
        self._set_segment(
            self.clock,
            "Clock OK" if is_valid else "Coarse clock",
            check.hint or resolution_text,
            "plain" if is_valid else "warn",
        )

    def _add_segment(self, name: str, on_click: Callable[[], None]) -> Segment:
        segment = Segment()
        segment.setAccessibleName(name)
        segment.clicked.connect(on_click)
        self.addWidget(segment)
        return segment

    def _set_segment(self, segment: QToolButton, text: str, description: str, state: State = "plain") -> None:
        segment.setText(_STATE_SYMBOLS.get(state, "") + text)
        segment.setToolTip(tool_tip_text(f"{text}\n{description}" if description else text))
        segment.setAccessibleName(text)
        segment.setAccessibleDescription(description)
        restyle(segment, state)

    def _on_disk_error(self, _: Exception) -> None:
        self._set_segment(self.disk, f"Disk {NOT_AVAILABLE}", "The runs folder cannot be read", "warn")

    def _explain_engine(self) -> None:
        self.explanation_requested.emit("jobs-dock")

    def _explain_machine(self) -> None:
        self.explanation_requested.emit("gpu-dock")

    def _explain_clock(self) -> None:
        self.explanation_requested.emit("home")

    def _explain_disk(self) -> None:
        self.explanation_requested.emit("library")

    def _explain_validity(self) -> None:
        self.explanation_requested.emit(self._validity_page)


def _read_free_bytes() -> int:
    """Return the free space, in bytes, of the disk on which runs are stored."""
    from app.storage.run_directory import runs_home

    directory: Path = runs_home()
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return shutil.disk_usage(directory).free
