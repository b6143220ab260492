from __future__ import annotations

from collections.abc import Callable

import pynvml
import pytest

from app.telemetry.nvml_query import RETRY_INTERVAL_NS, MetricQuery, NvmlQueryRunner

Way = Callable[[object], tuple[float, ...]]


def refusing(code: int, calls: list[int]) -> Way:
    def way(handle: object) -> tuple[float, ...]:
        calls.append(code)
        raise pynvml.NVMLError(code)

    return way


def test_an_answer_is_under_the_names_of_its_metrics() -> None:
    assert NvmlQueryRunner().run(MetricQuery(("a", "b"), (lambda handle: (1.0, 2.0),)), None, 0) == {"a": 1.0, "b": 2.0}


def test_the_first_way_that_is_offered_is_kept() -> None:
    calls: list[int] = []
    ways = (refusing(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, calls), lambda handle: (1.0,))
    query, question = NvmlQueryRunner(), MetricQuery(("a",), ways)
    assert [query.run(question, None, at_ns)["a"] for at_ns in (0, 1, 2)] == [1.0] * 3
    assert len(calls) == 1


def test_all_ways_are_tried_again_after_a_while() -> None:
    calls: list[int] = []
    codes = (pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NOT_SUPPORTED)
    query, question = NvmlQueryRunner(), MetricQuery(("a",), tuple(refusing(code, calls) for code in codes))
    for at_ns in (0, 1, RETRY_INTERVAL_NS - 1, RETRY_INTERVAL_NS):
        assert query.run(question, None, at_ns) == {"a": None}
    assert calls == [*codes, *codes]


def test_a_hiccup_tries_no_other_way_and_is_asked_again_at_once() -> None:
    calls: list[int] = []
    ways = (refusing(pynvml.NVML_ERROR_TIMEOUT, calls), lambda handle: (1.0,))
    query, question = NvmlQueryRunner(), MetricQuery(("a",), ways)
    assert [query.run(question, None, at_ns)["a"] for at_ns in (0, 1)] == [None, None]
    assert len(calls) == 2


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED])
def test_a_lost_gpu_is_not_asked_again(code: int) -> None:
    calls: list[int] = []
    query, question = NvmlQueryRunner(), MetricQuery(("a",), (refusing(code, calls),))
    assert [query.run(question, None, at_ns)["a"] for at_ns in (0, RETRY_INTERVAL_NS)] == [None, None]
    assert query.is_lost
    assert len(calls) == 1


def test_a_binding_older_than_the_call_is_a_call_not_offered() -> None:
    ways = (lambda handle: pynvml.nvmlDeviceGetSomethingNew(handle), lambda handle: (1.0,))
    assert NvmlQueryRunner().run(MetricQuery(("a",), ways), None, 0) == {"a": 1.0}
