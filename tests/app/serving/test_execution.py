from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import MeasurementError, UsageError
from app.inference.session import open_session
from app.serving.batching import QueuedRequest
from app.serving.execution import find_batch_key, run_batch
from tests.fakes import onnx_models

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def build_request(feeds: dict[str, Any]) -> QueuedRequest:
    rows, joins = find_batch_key(feeds, is_batchable=True)
    return QueuedRequest(feeds, rows, joins, 0, asyncio.get_running_loop().create_future())


def get_values(outputs: Any) -> Any:
    return [output.tolist() for output in outputs]


def build_feeds(*numbers: int) -> dict[str, Any]:
    return {"id": np.array(numbers)}


async def test_each_request_of_a_batch_gets_its_own_rows(tmp_path: Path) -> None:
    run = open_session(onnx_models.lookup(tmp_path / "m.onnx"), "cpu", threads=1).run
    results = run_batch(
        run, [build_request(build_feeds(2)), build_request(build_feeds(0, 1)), build_request(build_feeds(1))]
    )
    assert [get_values(result) for result in results] == [[[[2, 20]]], [[[0, 0], [1, 10]]], [[[1, 10]]]]


async def test_request_rejected_by_the_model_does_not_fail_its_batch(tmp_path: Path) -> None:
    run = open_session(onnx_models.lookup(tmp_path / "m.onnx"), "cpu", threads=1).run
    first, bad, last = run_batch(
        run, [build_request(build_feeds(2)), build_request(build_feeds(99)), build_request(build_feeds(1))]
    )
    assert (get_values(first), get_values(last)) == ([[[2, 20]]], [[[1, 10]]])
    assert isinstance(bad, UsageError)


async def test_requests_of_a_model_that_mixes_rows_run_separately(tmp_path: Path) -> None:
    run = open_session(onnx_models.total(tmp_path / "m.onnx"), "cpu", threads=1).run
    ones, twos = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    results = run_batch(run, [build_request({"x": ones}), build_request({"x": twos})])
    assert [get_values(result) for result in results] == [[[[2, 2, 2]]], [[[4, 4, 4]]]]


async def test_unexpected_error_of_the_run_is_a_measurement_error() -> None:
    def run(feeds: Any) -> Any:
        raise ZeroDivisionError

    (result,) = run_batch(run, [build_request(build_feeds(1))])
    assert isinstance(result, MeasurementError)


@pytest.mark.parametrize("error", [MemoryError, ZeroDivisionError, MeasurementError])
async def test_failed_batch_is_repeated_request_by_request(error: type[Exception]) -> None:
    def run(feeds: Any) -> Any:
        if len(feeds["id"]) > 1:
            raise error("too large")
        return [feeds["id"]]

    results = run_batch(run, [build_request(build_feeds(1)), build_request(build_feeds(2))])
    assert [get_values(result) for result in results] == [[[1]], [[2]]]


def test_batch_keys_are_equal_for_inputs_that_differ_in_row_count() -> None:
    one_row = {"a": np.zeros((1, 3)), "b": np.zeros((1, 5))}
    two_rows = {"b": np.zeros((2, 5)), "a": np.zeros((2, 3))}
    longer = {"a": np.zeros((1, 4)), "b": np.zeros((1, 5))}
    assert find_batch_key(one_row, is_batchable=True)[0] == 1
    assert find_batch_key(two_rows, is_batchable=True)[0] == 2
    assert find_batch_key(one_row, is_batchable=True)[1] == find_batch_key(two_rows, is_batchable=True)[1]
    assert find_batch_key(one_row, is_batchable=True)[1] != find_batch_key(longer, is_batchable=True)[1]


def test_inputs_that_cannot_be_batched_have_no_batch_key() -> None:
    assert find_batch_key({"a": np.zeros((2, 3))}, is_batchable=False) == (1, None)
    assert find_batch_key({"a": np.zeros((2, 3)), "b": np.zeros((1, 3))}, is_batchable=True) == (1, None)
