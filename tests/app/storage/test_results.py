from __future__ import annotations

import re

import msgspec
import pytest
from msgspec.structs import replace

from app.records.result import Result
from app.storage.results import decode_result
from tests.fakes.results import full_run

RESULT = full_run().result


def _with_metric(metric: str) -> Result:
    objective = replace(RESULT.slo[0].objective, metric=metric, text=f"{metric}.p95 < 3")
    return replace(RESULT, slo=(replace(RESULT.slo[0], objective=objective),))


def test_result_survives_a_round_trip() -> None:
    assert decode_result(msgspec.json.encode(RESULT)) == msgspec.json.decode(msgspec.json.encode(RESULT), type=Result)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (_with_metric("nonsense_ms"), r"nonsense_ms\.p95 < 3.* unknown metric"),
        (replace(RESULT, clock=replace(RESULT.clock, wall_start="yesterday")), "wall_start is not a valid time"),
    ],
)
def test_result_with_invalid_values_is_a_decode_error(result: Result, message: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=message):
        decode_result(msgspec.json.encode(result))


@pytest.mark.parametrize(
    ("count", "changed"),
    [
        ('"completed":', '"completed":-'),
        ('"n":', '"n":-'),
        ('"errors":{', '"errors":{"timeout":-1,'),
    ],
)
def test_negative_count_in_a_result_is_a_decode_error(count: str, changed: str) -> None:
    content = re.sub(rf"{re.escape(count)}(?=[1-9\"])", changed, msgspec.json.encode(RESULT).decode())
    with pytest.raises(msgspec.DecodeError, match="Expected `int` >= 0"):
        decode_result(content.encode())
