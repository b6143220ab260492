from __future__ import annotations

from collections.abc import Callable

import pynvml
import pytest

from app.telemetry.nvml_query import RETRY_INTERVAL_NS, MetricQuery, NvmlQueryRunner

QueryFunction = Callable[[object], tuple[float, ...]]


def build_refusing_function(code: int, calls: list[int]) -> QueryFunction:
    def query_function(handle: object) -> tuple[float, ...]:
        calls.append(code)
        raise pynvml.NVMLError(code)

    return query_function


def test_nvml_values_are_returned_by_metric_name() -> None:
    assert NvmlQueryRunner().run(MetricQuery(("a", "b"), (lambda handle: (1.0, 2.0),)), None, 0) == {"a": 1.0, "b": 2.0}


def test_first_supported_nvml_function_is_reused() -> None:
    calls: list[int] = []
    functions = (build_refusing_function(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, calls), lambda handle: (1.0,))
    runner, metric_query = NvmlQueryRunner(), MetricQuery(("a",), functions)
    assert [runner.run(metric_query, None, at_ns)["a"] for at_ns in (0, 1, 2)] == [1.0] * 3
    assert len(calls) == 1


def test_all_nvml_functions_are_retried_after_interval() -> None:
    calls: list[int] = []
    codes = (pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NOT_SUPPORTED)
    runner, metric_query = (
        NvmlQueryRunner(),
        MetricQuery(("a",), tuple(build_refusing_function(code, calls) for code in codes)),
    )
    for at_ns in (0, 1, RETRY_INTERVAL_NS - 1, RETRY_INTERVAL_NS):
        assert runner.run(metric_query, None, at_ns) == {"a": None}
    assert calls == [*codes, *codes]


def test_nvml_timeout_is_retried_at_next_reading_without_fallback() -> None:
    calls: list[int] = []
    functions = (build_refusing_function(pynvml.NVML_ERROR_TIMEOUT, calls), lambda handle: (1.0,))
    runner, metric_query = NvmlQueryRunner(), MetricQuery(("a",), functions)
    assert [runner.run(metric_query, None, at_ns)["a"] for at_ns in (0, 1)] == [None, None]
    assert len(calls) == 2


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED])
def test_lost_gpu_is_not_queried_again(code: int) -> None:
    calls: list[int] = []
    runner, metric_query = NvmlQueryRunner(), MetricQuery(("a",), (build_refusing_function(code, calls),))
    assert [runner.run(metric_query, None, at_ns)["a"] for at_ns in (0, RETRY_INTERVAL_NS)] == [None, None]
    assert runner.is_lost
    assert len(calls) == 1


def test_nvml_function_missing_in_binding_uses_fallback() -> None:
    functions = (lambda handle: pynvml.nvmlDeviceGetSomethingNew(handle), lambda handle: (1.0,))
    assert NvmlQueryRunner().run(MetricQuery(("a",), functions), None, 0) == {"a": 1.0}
