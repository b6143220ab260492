"""What this machine does, once a second, for whatever shows it; nothing is asked while nobody looks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QWidget

from app.gui.background import Latest, submit
from app.records.machine import MachineFacts, MachineNow

if TYPE_CHECKING:
    from app.records.result import Environment
    from app.storage.following import StreamFollower
    from app.telemetry.machine_now import MachineReader

EVERY_MS = 1_000
_MOST_BATCHES = 50


class MachineState(msgspec.Struct, frozen=True):
    """`facts` are None until they are known; `problem` is why they are not. `of_run` tells that `now` comes from the
    telemetry of the run that goes on."""

    now: MachineNow | None = None
    facts: MachineFacts | None = None
    problem: str | None = None
    of_run: bool = False


class MachineWatch(QObject):
    """Reads only while one of the watching widgets is visible. While a run measures on this machine it asks the machine
    nothing: what is shown then was read by the run."""

    changed = Signal(object)
    """A MachineState."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.state = MachineState()
        self._watching: list[QWidget] = []
        self._reader: MachineReader | None = None
        self._run: _RunReadings | None = None
        self._is_looking = False
        self._reading = Latest(self, self._take_now, self._stay_silent)
        self._timer = QTimer(self, interval=EVERY_MS)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def watch_for(self, widget: QWidget) -> None:
        """From now on it is kept up to date while it is visible."""
        self._watching.append(widget)

    def follow_run(self, directory: Path | None) -> None:
        """A run measures here now; None: it has ended. Nothing happens where that is known."""
        if directory == (None if self._run is None else self._run.directory):
            return
        self._run = None if directory is None else _RunReadings(directory)
        self._reading.forget()
        self._say(msgspec.structs.replace(self.state, of_run=directory is not None))
        if directory is not None:
            self._let_go()

    def look(self) -> None:
        """What the machine can do: asked for once a session, and not while a run measures."""
        if self._is_looking or self.state.facts is not None or self._run is not None:
            return
        self._is_looking = True
        submit(self, _look, self._take_facts, self._miss_facts)

    def look_again(self) -> None:
        self._say(msgspec.structs.replace(self.state, facts=None, problem=None))
        self.look()

    def close(self) -> None:
        """The drivers are closed; nothing is read any more."""
        self._timer.stop()
        self._reading.forget()
        self._let_go()

    def _beat(self) -> None:
        if self._reading.is_busy or not any(_is_seen(widget) for widget in self._watching):
            return
        if self._run is not None:
            self._reading.ask(self._run.read)
        else:
            self._reading.ask(self._read_here)

    def _read_here(self) -> MachineNow:
        """In a thread: importing the drivers' bindings takes a while, and opening them another."""
        from app.telemetry.machine_now import MachineReader

        if self._reader is None:
            self._reader = MachineReader()
        return self._reader.read()

    def _let_go(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            submit(self, reader.close, _nothing, self._stay_silent)

    def _take_now(self, now: MachineNow) -> None:
        self._say(msgspec.structs.replace(self.state, now=now))

    def _take_facts(self, facts: MachineFacts) -> None:
        self._is_looking = False
        self._say(msgspec.structs.replace(self.state, facts=facts, problem=None))

    def _miss_facts(self, error: Exception) -> None:
        self._is_looking = False
        self._say(msgspec.structs.replace(self.state, problem=str(error)))

    def _stay_silent(self, _: Exception) -> None:
        """A reading that failed is shown as not available; the next one is tried in a second."""
        self._say(msgspec.structs.replace(self.state, now=None))

    def _say(self, state: MachineState) -> None:
        if state != self.state:
            self.state = state
            self.changed.emit(state)


class _RunReadings:
    """The last readings in a run's telemetry. One thread reads at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._follower: StreamFollower | None = None
        self._environment: Environment | None = None
        self._last: dict[str, dict[str, float | None]] = {}

    def read(self) -> MachineNow:
        from app.errors import UsageError
        from app.storage.following import StreamFollower
        from app.storage.run_directory import TELEMETRY, StoredRun
        from app.telemetry.machine_now import machine_in_run

        if self._follower is None:
            self._follower = StreamFollower(self.directory / TELEMETRY)
        if self._environment is None:
            try:
                self._environment = StoredRun(self.directory).environment
            except UsageError:  # it is not written yet
                self._environment = None
        for batch in self._follower.take(_MOST_BATCHES):
            columns = (batch[name].to_pylist() for name in ("source", "metric", "value"))
            for source, metric, value in zip(*columns, strict=True):
                self._last.setdefault(source, {})[metric] = value
        return machine_in_run(self._last, self._environment)


def _look() -> MachineFacts:
    from app.wiring.machine import look_at_machine

    return look_at_machine()


def _is_seen(widget: QWidget) -> bool:
    return widget.isVisible() and not widget.visibleRegion().isEmpty()


def _nothing(_: object) -> None:
    pass
