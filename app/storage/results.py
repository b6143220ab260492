"""Decode stored results. The content is untrusted and is validated."""

from __future__ import annotations

from datetime import datetime

import msgspec

from app.records.metrics import METRICS, RUN_METRICS
from app.records.result import SCHEMA, Result
from loadgen.decoding import decode_json, json_decoder

_decode = json_decoder(Result)


def describe_other_schema(content: bytes) -> str | None:
    """Return a clause for an error message if this version cannot read the schema of `content`,
    which is a result or the first event of a run. The clause states the schema number.

    Return `None` if this version can read the schema, or if the content cannot be parsed. A
    document without a schema number has schema 1.
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

    Raises msgspec.DecodeError if the content is not a result of this version, if an objective uses
    an unknown metric, or if the start of the run is not a valid time.
    """
    result = _decode(content)
    for objective_result in (*result.slo, *result.gates):
        if objective_result.objective.metric not in METRICS and objective_result.objective.metric not in RUN_METRICS:
            raise msgspec.ValidationError(f"the objective {objective_result.objective.text!r} has an unknown metric")
    try:
        datetime.fromisoformat(result.clock.wall_start)
    except ValueError as error:
        raise msgspec.ValidationError(f"clock.wall_start is not a valid time: {error}") from error
    return result
