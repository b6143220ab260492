"""A plan's question from what the user names: stored runs, other tools' results, a typed curve, or a plan file."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.analysis.curve import came_at_random, capacity_curve, rungs_of
from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.planning.measured import measured_target
from app.planning.service_speed import faster_target
from app.profiles.catalogue import find_offer, load_catalogue
from app.profiles.loading import load_planning, load_profile, load_traffic
from app.profiles.local import LocalProfile
from app.profiles.plan import plan_limits_of
from app.profiles.price_list import load_offers
from app.profiles.problems import BadValueError
from app.profiles.traffic import traffic_of
from app.profiles.units import parse_usd_per_hour
from app.records.offers import Catalogue
from app.records.plan_question import MeasuredTarget, PlanQuestion
from app.records.result import Objective
from app.records.traffic import Traffic
from app.storage.plan_file import is_plan_file, read_plan
from app.storage.run_directory import EVENTS, SPEC, StoredRun, find_run
from app.wiring.hardware import hardware_named, named_hardware

_KEYS = ("traffic", "plan", "target.hardware", "slo")


class PlanRequest(msgspec.Struct, frozen=True):
    """`sources` are runs, result files or folders of one other tool, or one plan file; `overrides` are `key=value`."""

    sources: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    traffic: Path | None = None
    slo: tuple[str, ...] = ()
    offers: tuple[Path, ...] = ()
    what_if: tuple[str, ...] = ()


def question_of(request: PlanRequest, today: datetime.date) -> PlanQuestion:
    """Raises UsageError with what is lacking."""
    paths = [Path(source) for source in request.sources]
    if any(is_plan_file(path) for path in paths):
        if len(paths) > 1:
            raise UsageError("a plan file holds every fact already, so it is planned alone")
        return _changed(read_plan(paths[0]).question, request, today)
    catalogue = load_offers(request.offers, today) if request.offers else load_catalogue()
    runs, foreign = _sorted(request.sources)
    said = _said(runs, request)
    slo = tuple(parse_objective(text) for text in request.slo) or said.slo
    targets = [_of_run(run, said, catalogue) for run in runs]
    if foreign:
        targets.append(_of_foreign(foreign, slo, said, catalogue))
    traffic = said.traffic if request.traffic is None else traffic_of(load_traffic(request.traffic))
    if traffic is None:
        raise UsageError(
            "there is no traffic to plan for", hint="Give it: --traffic traffic.yaml, or --set traffic.peak=900/s."
        )
    return PlanQuestion(tuple(targets), traffic, slo, said.limits, catalogue, today)


def changed(question: PlanQuestion, change: str) -> PlanQuestion:
    """The question with one thing otherwise: `key=value` of a plan, `price.OFFER=USD/h` or `speed=1.3`."""
    key, equals, value = change.partition("=")
    if not equals:
        raise UsageError(f"--what-if {change} is not key=value", hint="Like --what-if traffic.peak=2000/s.")
    if key == "speed":
        return _faster(question, value)
    if key.startswith("price."):
        return _priced(question, key.removeprefix("price."), value)
    return _overridden(question, (change,))


