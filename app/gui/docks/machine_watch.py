"""Telemetry of this machine, read once a second for the widgets that show readings. Nothing is read
while all these widgets are hidden."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QWidget

from app.gui.background import LatestRunner, submit
from app.records.machine import MachineInfo, MachineNow

if TYPE_CHECKING:
    from app.records.result import Environment
    from app.storage.following import StreamFollower
    from app.telemetry.machine_state import MachineReader

INTERVAL_MS = 1_000
_MAX_BATCHES = 50


class MachineState(msgspec.Struct, frozen=True):
    """Current telemetry and hardware of this machine.

    `machine_info` is None until the machine has been checked; `problem` is the error message if the
    check failed. `is_from_run` is true if `readings` come from the telemetry of the current run.
    """

    readings: MachineNow | None = None
    machine_info: MachineInfo | None = None
    problem: str | None = None
    is_from_run: bool = False


class MachineWatch(QObject):
    """Reader of the telemetry of this machine, active while at least one registered widget is
    visible.

    During a run on this machine, the telemetry recorded by the run is shown instead, so that a
    second sampling does not disturb the measurement.
    """

    changed = Signal(object)
    """Signal that is emitted with the new `MachineState`."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.state = MachineState()
        self._viewers: list[QWidget] = []
        self._machine_reader: MachineReader | None = None
        self._run_reader: _RunTelemetryReader | None = None
        self._is_checking = False
        self._telemetry_reader = LatestRunner(self, self._set_readings, self._on_reading_failed)
        self._timer = QTimer(self, interval=INTERVAL_MS)
        self._timer.timeout.connect(self._on_timer)
        self._timer.start()

    def add_viewer(self, widget: QWidget) -> None:
        """Register a widget. Telemetry is read while any registered widget is visible."""
        self._viewers.append(widget)

    def follow_run(self, directory: Path | None) -> None:
        """Show the telemetry of the run in `directory`, or read the telemetry of this machine again
        if `directory` is None. If `directory` is unchanged, the call has no effect."""
        if directory == (None if self._run_reader is None else self._run_reader.directory):
            return
        self._run_reader = None if directory is None else _RunTelemetryReader(directory)
        self._telemetry_reader.cancel()
        self._set_state(msgspec.structs.replace(self.state, is_from_run=directory is not None))
        if directory is not None:
            self._close_machine_reader()

    def check(self) -> None:
        """Check the hardware of this machine, unless the hardware is known, a check is in progress,
        or a run is being followed."""
        if self._is_checking or self.state.machine_info is not None or self._run_reader is not None:
            return
        self._is_checking = True
        submit(self, _check_machine, self._set_machine_info, self._on_check_failed)

    def check_again(self) -> None:
        self._set_state(msgspec.structs.replace(self.state, machine_info=None, problem=None))
        self.check()

    def close(self) -> None:
        """Stop reading telemetry, and close the GPU drivers."""
        self._timer.stop()
        self._telemetry_reader.cancel()
        self._close_machine_reader()

    def _on_timer(self) -> None:
        if self._telemetry_reader.is_busy or not any(_is_visible(widget) for widget in self._viewers):
            return
        if self._run_reader is not None:
            self._telemetry_reader.request(self._run_reader.read)
        else:
            self._telemetry_reader.request(self._read_machine)

    def _read_machine(self) -> MachineNow:
        """Read the telemetry of this machine. The method runs in a worker thread, because importing
        the driver bindings and opening the drivers are slow."""
        from app.telemetry.machine_state import MachineReader

        if self._machine_reader is None:
            self._machine_reader = MachineReader()
        return self._machine_reader.read()

    def _close_machine_reader(self) -> None:
        reader, self._machine_reader = self._machine_reader, None
        if reader is not None:
            submit(self, reader.close, _ignore, self._on_reading_failed)

    def _set_readings(self, readings: MachineNow) -> None:
        self._set_state(msgspec.structs.replace(self.state, readings=readings))

    def _set_machine_info(self, machine_info: MachineInfo) -> None:
        self._is_checking = False
        self._set_state(msgspec.structs.replace(self.state, machine_info=machine_info, problem=None))

    def _on_check_failed(self, error: Exception) -> None:
        self._is_checking = False
        self._set_state(msgspec.structs.replace(self.state, problem=str(error)))

    def _on_reading_failed(self, _: Exception) -> None:
        """Clear the readings after a failed reading. The next reading is attempted a second
        later."""
        self._set_state(msgspec.structs.replace(self.state, readings=None))

    def _set_state(self, state: MachineState) -> None:
        if state != self.state:
            self.state = state
            self.changed.emit(state)


class _RunTelemetryReader:
    """Reader of the latest values in the telemetry of a run. Only one thread may read at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._follower: StreamFollower | None = None
        self._environment: Environment | None = None
        self._latest_values: dict[str, dict[str, float | None]] = {}

    def read(self) -> MachineNow:
        from app.errors import UsageError
        from app.storage.following import StreamFollower
        from app.storage.run_directory import TELEMETRY, StoredRun
        from app.telemetry.machine_state import build_state_in_run

        if self._follower is None:
            self._follower = StreamFollower(self.directory / TELEMETRY)
        if self._environment is None:
            try:
                self._environment = StoredRun(self.directory).environment
            except UsageError:  # the environment has not been written yet
                self._environment = None
        for batch in self._follower.read_batches(_MAX_BATCHES):
            columns = (batch[name].to_pylist() for name in ("source", "metric", "value"))
            for source, metric, value in zip(*columns, strict=True):
                self._latest_values.setdefault(source, {})[metric] = value
        return build_state_in_run(self._latest_values, self._environment)


def _check_machine() -> MachineInfo:
    from app.wiring.machine import read_machine_info

    return read_machine_info()


def _is_visible(widget: QWidget) -> bool:
    return widget.isVisible() and not widget.visibleRegion().isEmpty()


def _ignore(_: object) -> None:
    pass
