"""How a run is carried out, beside what it asks."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, PlainSerializer, PlainValidator

from app.analysis.abort import ABORTABLE
from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.profiles import units
from app.profiles.problems import BadValueError
from app.profiles.settings import Settings
from app.records.abort import AbortRule

_GRAMMAR = re.compile(r"(?P<objective>.*\S)\s+after\s+(?P<after>\S+)\s*", re.DOTALL)
_FORM = 'Write it like "error_rate > 20% after 15s": the time counts from the start of each stage.'


def _read_abort(value: object) -> AbortRule:
    parts = _GRAMMAR.fullmatch(value) if isinstance(value, str) else None
    if not isinstance(value, str) or parts is None:
        raise BadValueError(f"cannot read {value!r}: it says no time after which to look", hint=_FORM)
    try:
        objective = parse_objective(parts["objective"])
    except UsageError as error:
        raise BadValueError(str(error), hint=error.hint) from error
    if objective.metric not in ABORTABLE:
        hint = f"There are {' and '.join(ABORTABLE)}."
        raise BadValueError(f"{objective.metric} is not known while a stage runs", hint=hint)
    if objective.comparator in ("<", "<=") or objective.level == "warn":
        raise BadValueError(f'"{objective.text}" is no reason to give up', hint=_FORM)
    return AbortRule(" ".join(value.split()), objective, units.parse_duration_s(parts["after"]))


class RunOptions(Settings):
    """`abort_when` is looked at while each stage runs, from its `after` on; the run ends with what it has by then."""

    abort_when: Annotated[AbortRule, PlainValidator(_read_abort), PlainSerializer(lambda rule: rule.text)] | None = (
        Field(default=None, examples=["error_rate > 20% after 15s"])
    )
    """Gives up early, like error_rate > 20% after 15s; the time counts from each stage's start."""
