"""How long a target that was started or woken took to answer, and to answer steadily."""

from __future__ import annotations

from app.records.result import Result
from app.reporting.quantities import quantity
from reports import model


def cold_start_parts(result: Result) -> tuple[model.Named, ...]:
    """Empty where the target was up already."""
    found = result.cold_start
    if found is None:
        return ()
    parts = {"ready": found.ready_ms, "first answer": found.first_answer_ms, "steady answers": found.steady_ms}
    return tuple(model.Named(name=name, quantity=quantity(one, "ms")) for name, one in parts.items())
