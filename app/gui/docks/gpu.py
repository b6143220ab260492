"""GPU dock: telemetry of each GPU, and CPU utilization and memory usage of the host, updated once a
second."""

from __future__ import annotations

from PySide6.QtWidgets import QDockWidget, QFrame, QProgressBar, QVBoxLayout, QWidget

from app.gui.docks.machine_format import (
    compute_fraction,
    format_reading,
    format_with_maximum,
    gpu_title,
    throttle_text,
)
from app.gui.docks.machine_watch import MachineState, MachineWatch
from app.gui.docks.scrolling import vertical_scroll_area
from app.gui.formatting import shorten
from app.gui.theme import CARD_MARGINS, GAP, GAP_LINE, PANEL_MARGINS
from app.gui.widgets import card, hbox, label, restyle, vbox
from app.records.machine import GpuState, MachineNow


class Gauge(QWidget):
    """Gauge for one reading, with a title, a text and a bar."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._text_label = label("")
        self._bar = QProgressBar()
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._bar.setMaximumHeight(6)
        self._bar.setAccessibleName(title)
        line = hbox((label(title, "muted"), 1), self._text_label)
        vbox(line, self._bar, within=self, spacing=GAP_LINE)

    def set_reading(self, text: str, fraction: float | None) -> None:
        """Set the text and the length of the bar. `fraction` is from 0 to 1; None hides the bar."""
        self._text_label.setText(text)
        self._bar.setVisible(fraction is not None)
        self._bar.setValue(round(1000 * min(1.0, max(0.0, fraction or 0.0))))
        self._bar.setAccessibleDescription(text)

    def text(self) -> str:
        return self._text_label.text()


class GpuDock(QDockWidget):
    def __init__(self, machine: MachineWatch, parent: QWidget | None = None) -> None:
        super().__init__("GPU", parent)
        self.setObjectName("gpu-dock")
        self.setAccessibleName("GPU and host")
        self.source_label = label("", "muted", wrap=True)
        self.no_gpu_label = label("", "muted", wrap=True)
        self.gpu_cards: dict[str, GpuCard] = {}
        self.cpu, self.memory = Gauge("CPU"), Gauge("Memory")
        self._cards = QVBoxLayout()
        content = QWidget()
        vbox(
            self.source_label,
            self._cards,
            self.no_gpu_label,
            card(label("Host", "heading"), self.cpu, self.memory),
            1,
            within=content,
            margins=PANEL_MARGINS,
            spacing=GAP,
        )
        self.setWidget(vertical_scroll_area(content))
        machine.add_viewer(content)
        machine.changed.connect(self._show)
        self._show(machine.state)

    def _show(self, state: MachineState) -> None:
        self.source_label.setText(
            "Sampling is paused while a run is measured. The values come from the telemetry of the run."
        )
        self.source_label.setVisible(state.is_from_run)
        readings = state.readings
        self._show_host(readings)
        gpus = () if readings is None else readings.gpus
        for gpu in gpus:
            if gpu.source not in self.gpu_cards:
                self.gpu_cards[gpu.source] = GpuCard()
                self._cards.addWidget(self.gpu_cards[gpu.source])
            self.gpu_cards[gpu.source].show_gpu(gpu)
        for source, gpu_card in self.gpu_cards.items():
            gpu_card.setVisible(any(gpu.source == source for gpu in gpus))
        self.no_gpu_label.setText(_format_no_gpu_reason(readings))
        self.no_gpu_label.setVisible(not gpus or (readings is not None and readings.gpu_note is not None))

    def _show_host(self, readings: MachineNow | None) -> None:
        cpu_percent = None if readings is None else readings.cpu_percent
        self.cpu.set_reading(format_reading(cpu_percent, "%"), None if cpu_percent is None else cpu_percent / 100)
        used_gib, total_gib = (None, None) if readings is None else (readings.memory_gib, readings.memory_total_gib)
        self.memory.set_reading(format_with_maximum(used_gib, total_gib, "GiB"), compute_fraction(used_gib, total_gib))


class GpuCard(QFrame):
    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.title, self.name = label("", "heading"), label("", "muted", wrap=True)
        self.utilization, self.memory, self.power = Gauge("Utilization"), Gauge("Memory"), Gauge("Power")
        self.temperature, self.clock = Gauge("Temperature"), Gauge("Clock")
        self.throttling = label("", "word", wrap=True)
        rows = (
            self.title,
            self.name,
            self.utilization,
            self.memory,
            self.power,
            self.temperature,
            self.clock,
            self.throttling,
        )
        vbox(*rows, within=self, margins=CARD_MARGINS, spacing=GAP)

    def show_gpu(self, gpu: GpuState) -> None:
        self.title.setText(gpu_title(gpu))
        self.name.setText(shorten(gpu.name))
        self.setAccessibleName(f"{gpu_title(gpu)}, {shorten(gpu.name)}")
        utilization = gpu.utilization_percent
        self.utilization.set_reading(
            format_reading(utilization, "%"), None if utilization is None else utilization / 100
        )
        self.memory.set_reading(
            format_with_maximum(gpu.memory_gib, gpu.memory_total_gib, "GiB"),
            compute_fraction(gpu.memory_gib, gpu.memory_total_gib),
        )
        self.power.set_reading(
            format_with_maximum(gpu.power_w, gpu.power_limit_w, "W"), compute_fraction(gpu.power_w, gpu.power_limit_w)
        )
        self.temperature.set_reading(format_reading(gpu.temperature_c, "°C"), None)
        self.clock.set_reading(
            format_with_maximum(gpu.clock_mhz, gpu.max_clock_mhz, "MHz"),
            compute_fraction(gpu.clock_mhz, gpu.max_clock_mhz),
        )
        self.throttling.setText(throttle_text(gpu))
        restyle(self.throttling, "warn" if gpu.throttled_by else "plain")


def _format_no_gpu_reason(readings: MachineNow | None) -> str:
    if readings is None:
        return "Reading machine data…"
    if readings.gpu_note is not None:
        return f"GPU driver: {shorten(readings.gpu_note)}"
    if readings.driver is None:
        return "No NVIDIA driver is installed. Only the host is shown."
    return "The NVIDIA driver reports no GPU."
