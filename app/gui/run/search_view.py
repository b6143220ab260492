"""What a search for the highest rate would try, for a supposed answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.records.planned_work import PlannedSearch

DEFAULTS: Mapping[str, Any] = {"arrivals": "poisson", "start": "10/s", "hold": "10s", "repeats": 3}
_SUPPOSED = 8.0


class SearchView(msgspec.Struct, frozen=True):
    """`rates_per_s` in the order they would be tried, of a target that carries `supposed_per_s` and no more."""

    rates_per_s: tuple[float, ...] = ()
    supposed_per_s: float = 0.0
    planned: PlannedSearch | None = None
    problem: str | None = None


def search_view(search: Mapping[str, Any], slo: Sequence[Any]) -> SearchView:
    from pydantic import ValidationError

    from app.analysis.objectives import parse_objective
    from app.errors import UsageError
    from app.profiles.load import SearchSettings
    from app.wiring.planned_work import planned_search, probes_of
    from app.wiring.stages import search_of

    try:
        wanted = search_of(SearchSettings.model_validate({key: of for key, of in search.items() if of is not None}))
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        place = ".".join(str(part) for part in first["loc"])
        return SearchView(problem=f"{place}: {cause or first['msg']}"[:300])
    assert wanted is not None
    objectives = []
    for text in slo:
        try:
            objectives.append(parse_objective(str(text)))
        except UsageError as error:
            return SearchView(problem=f"slo: {error}"[:300])
    supposed = wanted.start_per_s * _SUPPOSED
    judged = tuple(objectives)
    return SearchView(probes_of(wanted, judged, supposed), supposed, planned_search(wanted, judged, 60.0))


def slo_of(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def can_judge(slo: Sequence[Any]) -> bool:
    """Whether an objective fails a rate: those that only warn do not."""
    return any("|" not in str(one) or str(one).split("|")[-1].strip() == "fail" for one in slo)


def search_words(planned: PlannedSearch) -> str:
    from app.gui.formatting import count, number, seconds

    low, high = planned.supposed_per_s
    shortest, longest = map(seconds, planned.duration_s)
    fewest, most = (count(round(requests)) for requests in planned.requests)
    return (
        f"{planned.probes[0]} to {planned.probes[1]} probes, {shortest} to {longest}, {fewest} to {most} requests: "
        f"the more, the further the answer lies from the start (here between {number(low)}/s and {number(high)}/s)."
    )
