"""A stored result, decoded from bytes that anybody may have written."""

from __future__ import annotations

from datetime import datetime

import msgspec

from app.records.metrics import METRICS, RUN_METRICS
from app.records.result import Result
from loadgen.decoding import json_decoder

_decode = json_decoder(Result)


def decode_result(content: bytes) -> Result:
    """Raises msgspec.DecodeError for what is not a result of this version: also for an objective of a metric that this
    version does not know, and for a start that is not a time."""
    result = _decode(content)
    for judged in (*result.slo, *result.gates):
        if judged.objective.metric not in METRICS and judged.objective.metric not in RUN_METRICS:
            raise msgspec.ValidationError(f"the objective {judged.objective.text!r} is of an unknown metric")
    try:
        datetime.fromisoformat(result.clock.wall_start)
    except ValueError as error:
        raise msgspec.ValidationError(f"clock.wall_start is not a time: {error}") from error
    return result
