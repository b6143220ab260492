"""Preview of a max-rate search for an assumed capacity. All functions are pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.gui.formatting import shorten
from app.gui.forms.arrangement import display_path
from app.records.planned_work import PlannedSearch
from app.records.search import SearchSpec

DEFAULTS: Mapping[str, Any] = {
    "arrivals": "poisson",
    "start": "10/s",
    "step_duration": "10s",
    "repeats": 3,
    "max_duration": "5m",
}
_ASSUMED_CAPACITY_FACTOR = 8.0


class SearchView(msgspec.Struct, frozen=True):
    """Preview of a max-rate search. `rates_per_s` are the rates that the search would probe, in
    order, if the target had the assumed capacity."""

    rates_per_s: tuple[float, ...] = ()
    assumed_capacity_per_s: float = 0.0
    planned_search: PlannedSearch | None = None
    problem: str | None = None


def preview_search(search: Mapping[str, Any], slo: Sequence[Any]) -> SearchView:
    from pydantic import TypeAdapter, ValidationError

    from app.analysis.objectives import parse_objective
    from app.errors import UsageError
    from app.profiles.load import SearchKeys
    from app.wiring.planned_work import estimate_search, simulate_probes

    try:
        adapter: TypeAdapter[SearchSpec] = TypeAdapter(SearchKeys)
        planned_search = adapter.validate_python({key: value for key, value in search.items() if value is not None})
    except ValidationError as error:
        first_error = error.errors()[0]
        cause = first_error.get("ctx", {}).get("error")
        location = display_path(first_error["loc"])
        return SearchView(problem=shorten(f"{location}: {cause or first_error['msg']}", 300))
    objectives = []
    for text in slo:
        try:
            objectives.append(parse_objective(str(text)))
        except UsageError as error:
            return SearchView(problem=shorten(f"SLO: {error}", 300))
    capacity_per_s = planned_search.start_per_s * _ASSUMED_CAPACITY_FACTOR
    parsed_objectives = tuple(objectives)
    return SearchView(
        simulate_probes(planned_search, parsed_objectives, capacity_per_s),
        capacity_per_s,
        estimate_search(planned_search, parsed_objectives, 60.0),
    )


def read_slo(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def can_fail_rate(slo: Sequence[Any]) -> bool:
    """Return whether the SLO has an objective that can fail a probed rate. Objectives that only
    warn cannot."""
    return any("|" not in str(objective) or str(objective).split("|")[-1].strip() == "fail" for objective in slo)


def format_search(planned_search: PlannedSearch) -> str:
    from app.gui.formatting import format_count, format_duration, format_number

    min_rate_per_s, max_rate_per_s = planned_search.assumed_per_s
    min_duration, max_duration = map(format_duration, planned_search.duration_s)
    min_requests, max_requests = (format_count(round(count)) for count in planned_search.requests)
    return (
        f"If the max rate is {format_number(min_rate_per_s)} to {format_number(max_rate_per_s)} req/s, "
        f"the search needs {planned_search.probes[0]} to {planned_search.probes[1]} probes, "
        f"{min_duration} to {max_duration}, and {min_requests} to {max_requests} requests. "
        "A max rate further from the start rate needs more probes."
    )
