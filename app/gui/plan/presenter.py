"""Presenter of the Plan page: applies edits, computes the plan in the background, and emits the
state of the page."""

from __future__ import annotations

import datetime
import itertools
from functools import partial
from pathlib import Path
from threading import Event

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from app.errors import SizewiseError
from app.gui.background import LatestRunner, submit
from app.gui.plan.hardware_choices import replace_hardware
from app.gui.plan.planning_tasks import PlanOutcome, apply_edits, compile_simulator, compute_plan, load_sources
from app.gui.plan.state import NO_EDITS, Change, Edits, LoadedSources, PlanState, apply_to_request, build_command
from app.planning.slo_objectives import always_continue
from app.records.planning_inputs import PlanningInputs
from app.wiring.dependencies import get_utc_now
from app.wiring.planning import NoHardwareError, PlanRequest

SIMULATION_DELAY_MS = 300
"""Time from the last edit to the start of the simulation, in ms."""
_merge_ids = itertools.count(1)


def create_merge_id() -> int:
    return next(_merge_ids)


class PlanPresenter(QObject):
    """Presenter of a plan. An analytical estimate is computed after each edit, a simulation after a
    pause in editing. Results of outdated inputs are discarded."""

    changed = Signal(object)
    """Emitted with the new PlanState after each change."""

    def __init__(self, parent: QObject | None = None, delay_ms: int = SIMULATION_DELAY_MS) -> None:
        super().__init__(parent)
        self.state = PlanState()
        self.undo = QUndoStack(self)
        self._opened_request: PlanRequest | None = None
        self._loader: LatestRunner[LoadedSources] = LatestRunner(self, self._on_loaded, self._on_load_error)
        self._estimator: LatestRunner[tuple[Edits, PlanOutcome]] = LatestRunner(self, self._on_estimate, self._on_error)
        self._simulator: LatestRunner[tuple[Edits, PlanOutcome]] = LatestRunner(
            self, self._on_simulation, self._on_error
        )
        self._simulation_canceled = Event()
        self._pause_timer = QTimer(self, singleShot=True)
        self.set_simulation_delay(delay_ms)
        self._pause_timer.timeout.connect(self._simulate)

    @property
    def today(self) -> datetime.date:
        return get_utc_now().date()

    def set_simulation_delay(self, delay_ms: int) -> None:
        """Set the time from the last edit to the start of the simulation, in ms."""
        self._pause_timer.setInterval(delay_ms)

    def prepare_simulator(self) -> None:
        """Compile the simulator in the background, once."""
        if self.state.simulator_status == "unknown":
            self._update(simulator_status="compiling")
            submit(self, compile_simulator, self._on_compiled, self._on_compile_error)

    def open(self, request: PlanRequest) -> None:
        """Open other sources. The edits and their undo history are discarded, since they refer to
        the previous sources."""
        self._cancel_pending()
        self.undo.clear()
        self.state = PlanState(phase="loading", simulator_status=self.state.simulator_status)
        self._opened_request = request
        self._emit_state()
        today = self.today
        self._loader.request(lambda: load_sources(request, today))

    def set_hardware(self, hardware: tuple[str, ...]) -> None:
        """Reopen the sources that do not record their hardware, with the given hardware: keys of
        `target.hardware` with their values, in the format of `--set`."""
        if self.state.request_without_hardware is not None:
            self.open(replace_hardware(self.state.request_without_hardware, hardware))

    def close(self) -> None:
        """Close the sources and discard all edits, so that the page shows its empty state."""
        self._cancel_pending()
        self._loader.cancel()
        self.undo.clear()
        self.state = PlanState(simulator_status=self.state.simulator_status)
        self._emit_state()

    def apply_change(self, change: Change) -> None:
        """Apply a change as one undo step. A change that has no effect is ignored."""
        new_edits = self.state.edits.with_change(change)
        if self.state.loaded is not None and new_edits != self.state.edits:
            self.undo.push(_EditCommand(self, change, self.state.edits, new_edits))

    def reset(self) -> None:
        """Reset all edits, as one undo step."""
        if self.state.edits != NO_EDITS:
            self.undo.push(_EditCommand(self, Change("Reset all edits"), self.state.edits, NO_EDITS))

    def add_prices(self, path: Path) -> None:
        title = f"Price list {path.name}"
        remaining = tuple(other_path for other_path in self.state.edits.prices if other_path != path)
        self.apply_change(Change(title, prices=(*remaining, path)))

    def request(self) -> PlanRequest | None:
        """Return the request with all edits applied, or None if no sources are loaded."""
        loaded = self.state.loaded
        return None if loaded is None else apply_to_request(loaded.request, self.state.edits)

    def command_line(self) -> str | None:
        request = self.request()
        return None if request is None else build_command(request)

    def set_edits(self, edits: Edits) -> None:
        """Set the edits and recompute the plan. The undo stack calls this method."""
        loaded = self.state.loaded
        if loaded is None:
            return
        self._cancel_pending()
        plan_inputs = self.state.inputs
        try:
            plan_inputs = apply_edits(self._replace_catalog(loaded.inputs, edits), edits)
        except SizewiseError as error:
            # with price lists, the edit may refer to an offer that is loaded with the next result
            if not edits.prices:
                self._update(edits=edits, error=error, is_current=False)
                return
        self._update(edits=edits, inputs=plan_inputs, error=None, is_current=False, relaxations=None)
        self._estimate()

    def _replace_catalog(self, plan_inputs: PlanningInputs, edits: Edits) -> PlanningInputs:
        """Return the plan inputs with the catalog of the last result, which includes the price
        lists of the edits."""
        if not edits.prices or self.state.inputs is None:
            return plan_inputs
        return msgspec.structs.replace(plan_inputs, catalog=self.state.inputs.catalog)

    def _estimate(self) -> None:
        assert self.state.loaded is not None
        self._estimator.request(partial(_compute, self.state.loaded, self.state.edits, self.today, True))
        self._pause_timer.start()

    def _simulate(self) -> None:
        if self.state.loaded is not None:
            self._simulation_canceled = Event()
            self._simulator.request(
                partial(_compute, self.state.loaded, self.state.edits, self.today, False, self._simulation_canceled)
            )

    def _cancel_pending(self) -> None:
        self._pause_timer.stop()
        self._simulation_canceled.set()
        self._estimator.cancel()
        self._simulator.cancel()

    def _on_loaded(self, loaded: LoadedSources) -> None:
        self._update(phase="planning", loaded=loaded, inputs=loaded.inputs, error=None)
        self._estimate()

    def _on_load_error(self, error: Exception) -> None:
        request_without_hardware = self._opened_request if isinstance(error, NoHardwareError) else None
        self._update(phase="failed", error=error, request_without_hardware=request_without_hardware)

    def _on_estimate(self, outcome: tuple[Edits, PlanOutcome]) -> None:
        edits, result = outcome
        has_simulation = self.state.phase == "simulated" and self.state.is_current
        if edits == self.state.edits and not has_simulation:
            self._show(result, "preview")

    def _on_simulation(self, outcome: tuple[Edits, PlanOutcome]) -> None:
        edits, result = outcome
        if edits == self.state.edits:
            self._show(result, "simulated")

    def _show(self, outcome: PlanOutcome, phase: str) -> None:
        relaxations = outcome.relaxations if phase == "simulated" else None
        self._update(
            phase=phase,
            inputs=outcome.inputs,
            plan=outcome.plan,
            is_current=True,
            computation_ms=outcome.computation_ms,
            error=None,
            relaxations=relaxations,
        )

    def _on_error(self, error: Exception) -> None:
        self._pause_timer.stop()
        self._update(error=error, is_current=False)

    def _on_compiled(self, _: None) -> None:
        self._update(simulator_status="ready")

    def _on_compile_error(self, error: Exception) -> None:
        self._update(simulator_status="ready", error=error)

    def _update(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)
        self._emit_state()

    def _emit_state(self) -> None:
        self.changed.emit(self.state)


def _compute(
    loaded: LoadedSources, edits: Edits, today: datetime.date, is_estimate: bool, canceled: Event | None = None
) -> tuple[Edits, PlanOutcome]:
    """Compute a plan. A simulation stops early when `canceled` is set, so that the CPU is free for
    the next analytical estimate."""
    should_continue = always_continue if canceled is None else lambda: not canceled.is_set()
    return edits, compute_plan(loaded, edits, today, is_estimate=is_estimate, should_continue=should_continue)


class _EditCommand(QUndoCommand):
    def __init__(self, presenter: PlanPresenter, change: Change, old_edits: Edits, new_edits: Edits) -> None:
        super().__init__(change.title)
        self._presenter, self._merge_id = presenter, change.merge_id
        self._old_edits, self._new_edits = old_edits, new_edits

    def id(self) -> int:
        return self._merge_id

    def mergeWith(self, other: QUndoCommand) -> bool:
        if not isinstance(other, _EditCommand) or other._merge_id != self._merge_id:
            return False
        self._new_edits = other._new_edits
        self.setText(other.text())
        return True

    def redo(self) -> None:
        self._presenter.set_edits(self._new_edits)

    def undo(self) -> None:
        self._presenter.set_edits(self._old_edits)
