"""Decode stored results from untrusted bytes."""

from __future__ import annotations

from datetime import datetime

import msgspec

from app.records.metrics import METRICS, RUN_METRICS
from app.records.result import SCHEMA, Result
from loadgen.decoding import decode_json, json_decoder

_decode = json_decoder(Result)


def describe_other_schema(content: bytes) -> str | None:
    """Return, as a clause of a message, which schema a result or a run's first event has if it differs from this
    version's.

    Return `None` if the schema is this version's, or if nothing can be read. A document without a number has schema 1.
    """
    try:
        document = decode_json(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    schema = document.get("schema", 1) if isinstance(document, dict) else SCHEMA
    if schema == SCHEMA or not isinstance(schema, int):
        return None
    return f"it has schema {schema}, but this version of Sizewise reads schema {SCHEMA}"


def decode_result(content: bytes) -> Result:
    """Decode a result.

    Raises msgspec.DecodeError if it is not a result of this version, if an objective uses an unknown metric, or if the
    start is not a time.
    """
    result = _decode(content)
    for evaluated in (*result.slo, *result.gates):
        if evaluated.objective.metric not in METRICS and evaluated.objective.metric not in RUN_METRICS:
            raise msgspec.ValidationError(f"the objective {evaluated.objective.text!r} has an unknown metric")
    try:
        datetime.fromisoformat(result.clock.wall_start)
    except ValueError as error:
        raise msgspec.ValidationError(f"clock.wall_start is not a valid time: {error}") from error
    return result
