"""Simulate one day of a plan: read the plan from a file or compute it from runs, and apply the
settings of the day."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import msgspec

from app import __version__
from app.errors import UsageError
from app.planning.days.planned_day import DayOptions, simulate_day
from app.planning.days.planned_fleet import (
    PlannedFleet,
    compute_day_rates_per_s,
    find_busiest_date,
    prepare_fleet,
    prepare_replica,
)
from app.planning.fleets import plan_fleets
from app.profiles.scaling import DaySettings, build_autoscaler, build_operations, load_day_settings
from app.records.day import SimulatedDay
from app.records.planning_inputs import PlanningInputs
from app.storage.plan_file import is_plan_file
from app.wiring.plan_files import PlanFile, read_plan
from app.wiring.planning import PlanRequest, build_plan_inputs

BUSIEST = "busiest"
_MAX_DAYS = 5 * 366
_PLAN_SUFFIXES = (".yaml", ".yml")


class DayRequest(msgspec.Struct, frozen=True):
    """Request for the simulation of one day.

    `source` is a plan file or any source of a plan. `day` is a date or `busiest`. `overrides`
    contains `key=value` strings.
    """

    source: str
    day: str = BUSIEST
    autoscaler: str = "none"
    overrides: tuple[str, ...] = ()
    instances: int | None = None
    offer: str | None = None
    seed: int = 1


def simulate_plan_day(
    request: DayRequest, today: datetime.date, on_progress: Callable[[float], None] | None = None
) -> SimulatedDay:
    """Simulate one day of a plan. `on_progress` is called with the simulated fraction of the day,
    from 0 to 1.

    Raises UsageError or ProfileError for an invalid source, day or setting.
    """
    settings = load_day_settings(request.autoscaler, request.overrides)  # Parsed first, because planning may take long.
    date = None if request.day == BUSIEST else _parse_date(request.day)
    plan_file = load_or_compute_plan(request.source, today)
    plan, plan_inputs = plan_file.plan, plan_file.inputs
    if date is not None and not 0 <= (date - plan_inputs.today).days <= _MAX_DAYS:
        offset_text = (
            "before the day of the plan"
            if date < plan_inputs.today
            else "more than five years after the day of the plan"
        )
        raise UsageError(
            f"--day {date} is {offset_text}, {plan_inputs.today}",
            hint="Use a date within five years of the day of the plan, or busiest.",
        )
    fleet = prepare_fleet(plan, plan_inputs, request.offer, request.instances)
    day_options = _build_day_options(request, settings, fleet, plan_inputs, date or find_busiest_date(plan_inputs))
    day = simulate_day(fleet, plan_inputs, day_options, on_progress)
    return msgspec.structs.replace(day, notes=(*plan_file.notes, *day.notes))


def load_or_compute_plan(source: str, today: datetime.date) -> PlanFile:
    """Return the contents of a plan file. For any other source, compute the plan as `sizewise plan`
    does."""
    path = Path(source)
    if is_plan_file(path):
        return read_plan(path)
    if path.suffix in _PLAN_SUFFIXES and not path.exists():
        raise UsageError(
            f"{source} does not exist", hint="Create a plan file with `sizewise plan RUN --out plan.yaml`."
        )
    plan_inputs = build_plan_inputs(PlanRequest((source,)), today)
    return PlanFile(f"sizewise {__version__}", plan_fleets(plan_inputs), plan_inputs)


def _build_day_options(
    request: DayRequest, settings: DaySettings, fleet: PlannedFleet, plan_inputs: PlanningInputs, date: datetime.date
) -> DayOptions:
    replica = prepare_replica(fleet, compute_day_rates_per_s(plan_inputs, date))
    operations = build_operations(settings, fleet.replicas_per_instance)
    return DayOptions(
        date=date,
        autoscaler=build_autoscaler(settings.autoscaler, replica, operations.cold_start.median_s),
        operations=operations,
        timeout_s=settings.timeout_s,
        queue_limit=settings.queue_limit,
        router=settings.router,
        seed=request.seed,
    )


def _parse_date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        hint = "Use a date such as 2026-12-01, or busiest for the busiest day of the next 12 months."
        raise UsageError(f"--day {text} is not a valid date", hint=hint) from None
