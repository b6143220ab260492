"""What a run found that its target carries, in a few words."""

from __future__ import annotations

from app.records.result import Result
from app.reporting.local import answering_by_variant
from app.reporting.local_arrivals import arrivals_of
from app.reporting.local_front import fastest_stage
from app.reporting.local_names import names_of
from app.reporting.quantities import quantity, stage_quantity
from reports import formatting
from reports.model import Quantity


def carried_words(result: Result) -> str | None:
    """As in `238/s`, or of a local model `2,080/s, int8-static, batch 16`; None where nothing was found."""
    found = result.max_rate
    if found is not None and found.per_s.value is not None:
        return _shown(quantity(found.per_s, "sessions/s" if found.sessions else "1/s"))
    local = result.local
    if local is None or local.best is None:
        return None
    stages = answering_by_variant(result)[local.best]
    facts, fastest = next(one for one in local.variants if one.variant == local.best), fastest_stage(stages)
    arrivals = arrivals_of(facts, stages)
    if arrivals is not None and arrivals.value is not None:
        most = arrivals
    elif fastest is not None:
        most = stage_quantity(fastest, "throughput_per_s")
    else:
        return None
    return f"{_shown(most)}, {names_of([one.variant for one in local.variants])[local.best]}"


def _shown(one: Quantity) -> str:
    return formatting.value_unit(one).replace(formatting.THIN, " ")
