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
from app.gui.plan.planning_tasks import (
    PlanOutcome,
    apply_edits,
    compile_simulator,
    compute_plan,
    load_sources,
    simulate_estimated_offer,
)
from app.gui.plan.state import (
    NO_EDITS,
    Change,
    Edits,
    LoadedSources,
    PlanState,
    apply_to_request,
    build_command,
    replace_fleet,
)
from app.planning.sizing.slo_objectives import ShouldContinue, always_continue
from app.records.plan import Fleet
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
    """Signal that is emitted with the new PlanState after each change."""

    def __init__(self, parent: QObject | None = None, delay_ms: int = SIMULATION_DELAY_MS) -> None:
        super().__init__(parent)
        self.state = PlanState()
        self.undo_stack = QUndoStack(self)
        self._opened_request: PlanRequest | None = None
        self._loader: LatestRunner[LoadedSources] = LatestRunner(self, self._on_loaded, self._on_load_error)
        self._estimator: LatestRunner[tuple[Edits, PlanOutcome]] = LatestRunner(self, self._on_estimate, self._on_error)
        self._simulator: LatestRunner[tuple[Edits, PlanOutcome]] = LatestRunner(
            self, self._on_simulation, self._on_error
        )
        self._requested_offers: tuple[str, ...] = ()
        self._simulated_offers: set[str] = set()
        self._offer_simulator: LatestRunner[tuple[str, Fleet | None]] = LatestRunner(
            self, self._on_offer_simulated, self._on_offer_error
        )
        self._simulation_cancel_event = Event()
        self._offer_cancel_event = Event()
        self._simulation_timer = QTimer(self, singleShot=True)
        self.set_simulation_delay(delay_ms)
        self._simulation_timer.timeout.connect(self._start_simulation)

    @property
    def today(self) -> datetime.date:
        return get_utc_now().date()

    def set_simulation_delay(self, delay_ms: int) -> None:
        """Set the time from the last edit to the start of the simulation, in ms."""
        self._simulation_timer.setInterval(delay_ms)

    def prepare_simulator(self) -> None:
        """Compile the simulator in the background, once."""
        if self.state.simulator_status == "unknown":
            self._update_state(simulator_status="compiling")
            submit(self, compile_simulator, self._on_compiled, self._on_compile_error)

    def open(self, request: PlanRequest) -> None:
        """Open other sources. The edits and their undo history are discarded, since they refer to
        the previous sources."""
        self._cancel_pending()
        self.undo_stack.clear()
        self.state = PlanState(phase="loading", simulator_status=self.state.simulator_status)
        self._opened_request = request
        self._emit_state()
        today = self.today
        self._loader.request(lambda: load_sources(request, today))

    def reload(self) -> None:
        """Read the sources again, since measurements that the plan is based on have changed. The edits and their undo
        history are kept."""
        if self.state.loaded_sources is not None:
            self._cancel_pending()
            self._update_state(is_current=False)
            request, today = self.state.loaded_sources.request, self.today
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
        self.undo_stack.clear()
        self.state = PlanState(simulator_status=self.state.simulator_status)
        self._emit_state()

    def apply_change(self, change: Change) -> None:
        """Apply a change as one undo step. A change that has no effect is ignored."""
        new_edits = self.state.edits.with_change(change)
        if self.state.loaded_sources is not None and new_edits != self.state.edits:
            self.undo_stack.push(_EditCommand(self, change, self.state.edits, new_edits))

    def reset(self) -> None:
        """Reset all edits, as one undo step."""
        if self.state.edits != NO_EDITS:
            self.undo_stack.push(_EditCommand(self, Change("Reset all edits"), self.state.edits, NO_EDITS))

    def add_price_list(self, path: Path) -> None:
        title = f"Price list {path.name}"
        other_price_lists = tuple(other_path for other_path in self.state.edits.price_lists if other_path != path)
        self.apply_change(Change(title, price_lists=(*other_price_lists, path)))

    def simulate_offers(self, offers: tuple[str, ...]) -> None:
        """Simulate the given offers in the background, one after the other, if the plan only
        estimates them. The next call cancels what is not finished."""
        if offers != self._requested_offers:
            self._requested_offers = offers
            self._simulate_next_offer()

    def request(self) -> PlanRequest | None:
        """Return the request with all edits applied, or None if no sources are loaded."""
        loaded_sources = self.state.loaded_sources
        return None if loaded_sources is None else apply_to_request(loaded_sources.request, self.state.edits)

    def command_line(self) -> str | None:
        request = self.request()
        return None if request is None else build_command(request)

    def set_edits(self, edits: Edits) -> None:
        """Set the edits and recompute the plan. The undo stack calls this method."""
        loaded_sources = self.state.loaded_sources
        if loaded_sources is None:
            return
        self._cancel_pending()
        plan_inputs = self.state.inputs
        try:
            plan_inputs = apply_edits(self._replace_catalog(loaded_sources.inputs, edits), edits)
        except SizewiseError as error:
            # with price lists, the edit may refer to an offer that is loaded with the next result
            if not edits.price_lists:
                self._update_state(edits=edits, error=error, is_current=False)
                return
        self._update_state(edits=edits, inputs=plan_inputs, error=None, is_current=False, relaxations=None)
        self._start_estimate()

    def _replace_catalog(self, plan_inputs: PlanningInputs, edits: Edits) -> PlanningInputs:
        """Return the plan inputs with the catalog of the last result, which includes the price
        lists of the edits."""
        if not edits.price_lists or self.state.inputs is None:
            return plan_inputs
        return msgspec.structs.replace(plan_inputs, catalog=self.state.inputs.catalog)

    def _start_estimate(self) -> None:
        assert self.state.loaded_sources is not None
        self._estimator.request(partial(_compute, self.state.loaded_sources, self.state.edits, self.today, True))
        self._simulation_timer.start()

    def _start_simulation(self) -> None:
        if self.state.loaded_sources is not None:
            self._simulation_cancel_event = Event()
            self._simulator.request(
                partial(
                    _compute,
                    self.state.loaded_sources,
                    self.state.edits,
                    self.today,
                    False,
                    self._simulation_cancel_event,
                )
            )

    def _simulate_next_offer(self) -> None:
        """Start the simulation of the first requested offer for which the simulated plan has only
        an analytical estimate."""
        self._cancel_offer_simulation()
        state = self.state
        offer = None
        if state.phase == "simulated" and state.is_current and state.plan is not None:
            estimated = {
                fleet.offer
                for fleet in state.plan.offers
                if fleet.sizing_method == "formula" and fleet.rejected is None
            }
            offers = (offer for offer in self._requested_offers if offer in estimated - self._simulated_offers)
            offer = next(offers, None)
        if offer != state.simulating_offer:
            self._update_state(simulating_offer=offer)
        if offer is not None and state.inputs is not None:
            self._offer_cancel_event = cancel_event = Event()
            self._offer_simulator.request(
                partial(_simulate_offer, state.inputs, offer, lambda: not cancel_event.is_set())
            )

    def _on_offer_simulated(self, offer_and_fleet: tuple[str, Fleet | None]) -> None:
        offer, fleet = offer_and_fleet
        self._simulated_offers.add(offer)
        shown_plan = self.state.refined_plan or self.state.plan
        if fleet is not None and shown_plan is not None:
            self._update_state(refined_plan=replace_fleet(shown_plan, fleet))
        self._simulate_next_offer()

    def _on_offer_error(self, error: Exception) -> None:
        self._update_state(error=error, simulating_offer=None)

    def _cancel_offer_simulation(self) -> None:
        self._offer_cancel_event.set()
        self._offer_simulator.cancel()

    def _cancel_pending(self) -> None:
        self._cancel_offer_simulation()
        self._simulation_timer.stop()
        self._simulation_cancel_event.set()
        self._estimator.cancel()
        self._simulator.cancel()

    def _on_loaded(self, loaded_sources: LoadedSources) -> None:
        inputs = self.state.inputs or loaded_sources.inputs
        self.state = msgspec.structs.replace(self.state, phase="planning", loaded_sources=loaded_sources, inputs=inputs)
        self.set_edits(self.state.edits)

    def _on_load_error(self, error: Exception) -> None:
        request_without_hardware = self._opened_request if isinstance(error, NoHardwareError) else None
        self._update_state(phase="failed", error=error, request_without_hardware=request_without_hardware)

    def _on_estimate(self, edits_and_outcome: tuple[Edits, PlanOutcome]) -> None:
        edits, outcome = edits_and_outcome
        has_simulation = self.state.phase == "simulated" and self.state.is_current
        if edits == self.state.edits and not has_simulation:
            self._show_outcome(outcome, "preview")

    def _on_simulation(self, edits_and_outcome: tuple[Edits, PlanOutcome]) -> None:
        edits, outcome = edits_and_outcome
        if edits == self.state.edits:
            self._show_outcome(outcome, "simulated")

    def _show_outcome(self, outcome: PlanOutcome, phase: str) -> None:
        relaxations = outcome.relaxations if phase == "simulated" else None
        self._update_state(
            phase=phase,
            inputs=outcome.inputs,
            plan=outcome.plan,
            is_current=True,
            computation_ms=outcome.computation_ms,
            evidence=outcome.evidence,
            error=None,
            relaxations=relaxations,
            refined_plan=None,
            simulating_offer=None,
        )
        self._simulated_offers = set()
        self._simulate_next_offer()

    def _on_error(self, error: Exception) -> None:
        self._simulation_timer.stop()
        self._update_state(error=error, is_current=False)

    def _on_compiled(self, _: None) -> None:
        self._update_state(simulator_status="ready")

    def _on_compile_error(self, error: Exception) -> None:
        self._update_state(simulator_status="ready", error=error)

    def _update_state(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)
        self._emit_state()

    def _emit_state(self) -> None:
        self.changed.emit(self.state)


def _compute(
    loaded_sources: LoadedSources,
    edits: Edits,
    today: datetime.date,
    is_estimate: bool,
    cancel_event: Event | None = None,
) -> tuple[Edits, PlanOutcome]:
    """Compute a plan. A simulation stops early when `cancel_event` is set, so that the CPU is free
    for the next analytical estimate."""
    should_continue = always_continue if cancel_event is None else lambda: not cancel_event.is_set()
    return edits, compute_plan(loaded_sources, edits, today, is_estimate=is_estimate, should_continue=should_continue)


def _simulate_offer(
    plan_inputs: PlanningInputs, offer: str, should_continue: ShouldContinue
) -> tuple[str, Fleet | None]:
    return offer, simulate_estimated_offer(plan_inputs, offer, should_continue)


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
