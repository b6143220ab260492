"""State of the Plan page as plain records. Edits have the same format as the options of
`sizewise plan`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

import msgspec

from app.errors import DamagedFileError
from app.gui.plan.evidence_tables import PlanEvidence
from app.planning.what_if.relaxation import Relaxation
from app.records.plan import Fleet, Plan
from app.records.planning_inputs import PlanningInputs
from app.wiring.plan_changes import PRICE_PREFIX
from app.wiring.planning import PlanRequest

Values = tuple[tuple[str, str | None], ...]
"""Keys and values of `--set`. A value of `None` resets the key."""


class Change(msgspec.Struct, frozen=True):
    """Change of a plan that the user can undo in one step. Changes with the same `merge_id` (for
    example while a slider is dragged) are merged into one step, unless the ID is -1."""

    title: str
    values: Values = ()
    slo: tuple[str, ...] | None = None
    price_lists: tuple[Path, ...] | None = None
    merge_id: int = -1


class Edits(msgspec.Struct, frozen=True):
    """Edits of a plan by the user.

    `values` are keys and values of `--set`, including prices of offers. `slo` is `None` if the SLO
    is unchanged. `price_lists` are price lists in addition to those of the request.
    """

    values: tuple[tuple[str, str], ...] = ()
    slo: tuple[str, ...] | None = None
    price_lists: tuple[Path, ...] = ()

    def value(self, key: str) -> str | None:
        return dict(self.values).get(key)

    def is_set(self, key: str) -> bool:
        return self.slo is not None if key == "slo" else any(edited_key == key for edited_key, _ in self.values)

    @property
    def overrides(self) -> tuple[str, ...]:
        return tuple(f"{key}={value}" for key, value in self.values)

    @property
    def edited_prices(self) -> dict[str, str]:
        """Edited price of each offer in USD per hour, by offer key."""
        return {key.removeprefix(PRICE_PREFIX): value for key, value in self.values if key.startswith(PRICE_PREFIX)}

    def with_change(self, change: Change) -> Edits:
        values = dict(self.values)
        for key, value in change.values:
            values.pop(key, None)
            if value is not None:
                values[key] = value
        return Edits(
            tuple(values.items()),
            self.slo if change.slo is None else (change.slo or None),
            self.price_lists if change.price_lists is None else change.price_lists,
        )


NO_EDITS = Edits()


def apply_to_request(request: PlanRequest, edits: Edits) -> PlanRequest:
    """Return the request with all edits applied, as if the edits were command-line options. Edited
    values and an edited SLO replace those of the request; price lists are added."""
    overrides = {override.partition("=")[0]: override for override in request.overrides}
    for key, value in edits.values:
        overrides.pop(key, None)
        overrides[key] = f"{key}={value}"
    return msgspec.structs.replace(
        request,
        overrides=tuple(overrides.values()),
        slo=request.slo if edits.slo is None else edits.slo,
        offers=(*request.offers, *edits.price_lists),
    )


def build_command(request: PlanRequest) -> str:
    """Return the `sizewise plan` command line that is equivalent to a request."""
    arguments = ["sizewise", "plan", *request.sources]
    arguments += [] if request.traffic is None else ["--traffic", str(request.traffic)]
    for option, values in (("--slo", request.slo), ("--offers", request.offers), ("--set", request.overrides)):
        for value in values:
            arguments += [option, str(value)]
    return shlex.join(arguments)


Phase = Literal["empty", "loading", "failed", "planning", "preview", "simulated"]
SimulatorStatus = Literal["unknown", "compiling", "ready"]
TrafficSource = Literal["peak", "users", "trace"]


class LoadedSources(msgspec.Struct, frozen=True):
    """Plan inputs before any edits. `needs_refit` is true if the service models must be fitted
    again after a change of the SLO."""

    request: PlanRequest
    inputs: PlanningInputs
    traffic_source: TrafficSource
    needs_refit: bool
    is_traffic_assumed: bool = False
    """True if a peak rate was assumed, because the sources do not define the traffic."""
    damaged_evidence: tuple[DamagedFileError, ...] = ()
    """Files of the user's own evidence that cannot be read; empty without an assumed language model."""


class PlanState(msgspec.Struct, frozen=True, eq=False):
    """State of the Plan page.

    `inputs` are the plan inputs including the edits; `plan` is the result for these inputs if
    `is_current` is true. `error` is an error of the sources if the phase is `failed`, otherwise an
    error of the last edit. `computation_ms` is the computation time of the last result, in ms.
    """

    phase: Phase = "empty"
    loaded_sources: LoadedSources | None = None
    edits: Edits = NO_EDITS
    inputs: PlanningInputs | None = None
    plan: Plan | None = None
    is_current: bool = False
    computation_ms: float = 0.0
    simulator_status: SimulatorStatus = "unknown"
    error: Exception | None = None
    request_without_hardware: PlanRequest | None = None
    """Request whose sources do not record their hardware, so that the user must specify the
    hardware."""
    relaxations: tuple[Relaxation, ...] | None = None
    """Changes of the plan inputs that would each make an offer feasible; `None` until the
    changes have been computed."""
    refined_plan: Plan | None = None
    """Plan to show: `plan` with the offers that were simulated because they were selected. The
    ranking and the recommendation are those of `plan`, which is also what is exported."""
    simulating_offer: str | None = None
    """Offer that is being simulated because it was selected."""
    evidence: PlanEvidence | None = None
    """Measured loads that the last result is based on; `None` without an assumed language model."""


def find_fleet(plan: Plan, offer: str | None) -> Fleet | None:
    """Return the fleet of an offer, or the recommended fleet for `None` and for an offer that the
    plan does not have."""
    recommended_fleet = None if plan.recommendation is None else plan.recommendation.fleet
    if offer is None or (recommended_fleet is not None and recommended_fleet.offer == offer):
        return recommended_fleet
    return next((fleet for fleet in plan.offers if fleet.offer == offer), recommended_fleet)


def replace_fleet(plan: Plan, fleet: Fleet) -> Plan:
    """Return the plan with another fleet of the same offer."""
    offers = tuple(fleet if other.offer == fleet.offer else other for other in plan.offers)
    return msgspec.structs.replace(plan, offers=offers)
