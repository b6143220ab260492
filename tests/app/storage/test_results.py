from __future__ import annotations

import re

import msgspec
import pytest
from msgspec.structs import replace

from app.records.result import Result
from app.storage.results import decode_result
from tests.fakes.results import full_run

WHOLE = full_run().result


def _with_metric(metric: str) -> Result:
    objective = replace(WHOLE.slo[0].objective, metric=metric, text=f"{metric}.p95 < 3")
    return replace(WHOLE, slo=(replace(WHOLE.slo[0], objective=objective),))


def test_a_result_is_read_as_it_was_written() -> None:
    assert decode_result(msgspec.json.encode(WHOLE)) == msgspec.json.decode(msgspec.json.encode(WHOLE), type=Result)


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (_with_metric("nonsense_ms"), r"nonsense_ms\.p95 < 3.* unknown metric"),
        (replace(WHOLE, clock=replace(WHOLE.clock, wall_start="yesterday")), "wall_start is not a valid time"),
    ],
)
def test_what_no_version_writes_is_a_decode_error(result: Result, why: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=why):
        decode_result(msgspec.json.encode(result))


@pytest.mark.parametrize(
    ("count", "changed"),
    [
        ('"completed":', '"completed":-'),
        ('"n":', '"n":-'),
        ('"errors":{', '"errors":{"timeout":-1,'),
    ],
)
def test_a_negative_count_is_a_decode_error(count: str, changed: str) -> None:
    content = re.sub(rf"{re.escape(count)}(?=[1-9\"])", changed, msgspec.json.encode(WHOLE).decode())
    with pytest.raises(msgspec.DecodeError, match="Expected `int` >= 0"):
        decode_result(content.encode())
