"""A stored result, decoded from bytes that anybody may have written."""

from __future__ import annotations

from datetime import datetime

import msgspec

from app.records.metrics import METRICS, RUN_METRICS
from app.records.result import SCHEMA, Result
from loadgen.decoding import decode_json, json_decoder

_decode = json_decoder(Result)


def other_schema(content: bytes) -> str | None:
    """Which schema a result, or the first event of a run, is of where it is not this version's, as a clause of a
    message; None where it is this one's, or nothing can be read. Without a number it is schema 1."""
    try:
        document = decode_json(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    schema = document.get("schema", 1) if isinstance(document, dict) else SCHEMA
    if schema == SCHEMA or not isinstance(schema, int):
        return None
    return f"it is of schema {schema}, and this version of Sizewise reads schema {SCHEMA}"


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
