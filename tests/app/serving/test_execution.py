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


def waiting(feeds: dict[str, Any]) -> QueuedRequest:
    rows, joins = find_batch_key(feeds, is_batchable=True)
    return QueuedRequest(feeds, rows, joins, 0, asyncio.get_running_loop().create_future())


def values(answer: Any) -> Any:
    return [output.tolist() for output in answer]


def ids(*numbers: int) -> dict[str, Any]:
    return {"id": np.array(numbers)}


async def test_each_request_gets_its_own_rows(tmp_path: Path) -> None:
    run = open_session(onnx_models.lookup(tmp_path / "m.onnx"), "cpu", threads=1).run
    answers = run_batch(run, [waiting(ids(2)), waiting(ids(0, 1)), waiting(ids(1))])
    assert [values(answer) for answer in answers] == [[[[2, 20]]], [[[0, 0], [1, 10]]], [[[1, 10]]]]


async def test_request_that_the_model_refuses_does_not_spoil_the_others(tmp_path: Path) -> None:
    run = open_session(onnx_models.lookup(tmp_path / "m.onnx"), "cpu", threads=1).run
    first, bad, last = run_batch(run, [waiting(ids(2)), waiting(ids(99)), waiting(ids(1))])
    assert (values(first), values(last)) == ([[[2, 20]]], [[[1, 10]]])
    assert isinstance(bad, UsageError)


async def test_rows_are_not_joined_for_a_model_that_mixes_them(tmp_path: Path) -> None:
    run = open_session(onnx_models.total(tmp_path / "m.onnx"), "cpu", threads=1).run
    ones, twos = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    answers = run_batch(run, [waiting({"x": ones}), waiting({"x": twos})])
    assert [values(answer) for answer in answers] == [[[[2, 2, 2]]], [[[4, 4, 4]]]]


async def test_bug_in_the_run_is_an_answer_too() -> None:
    def run(feeds: Any) -> Any:
        raise ZeroDivisionError

    (answer,) = run_batch(run, [waiting(ids(1))])
    assert isinstance(answer, MeasurementError)


@pytest.mark.parametrize("error", [MemoryError, ZeroDivisionError, MeasurementError])
async def test_batch_that_cannot_run_is_run_request_by_request(error: type[Exception]) -> None:
    def run(feeds: Any) -> Any:
        if len(feeds["id"]) > 1:
            raise error("too large")
        return [feeds["id"]]

    answers = run_batch(run, [waiting(ids(1)), waiting(ids(2))])
    assert [values(answer) for answer in answers] == [[[1]], [[2]]]


def test_rows_join_when_all_but_their_number_is_equal() -> None:
    one = {"a": np.zeros((1, 3)), "b": np.zeros((1, 5))}
    two = {"b": np.zeros((2, 5)), "a": np.zeros((2, 3))}
    longer = {"a": np.zeros((1, 4)), "b": np.zeros((1, 5))}
    assert find_batch_key(one, is_batchable=True)[0] == 1
    assert find_batch_key(two, is_batchable=True)[0] == 2
    assert find_batch_key(one, is_batchable=True)[1] == find_batch_key(two, is_batchable=True)[1]
    assert find_batch_key(one, is_batchable=True)[1] != find_batch_key(longer, is_batchable=True)[1]


def test_what_cannot_be_batched_joins_nothing() -> None:
    assert find_batch_key({"a": np.zeros((2, 3))}, is_batchable=False) == (1, None)
    assert find_batch_key({"a": np.zeros((2, 3)), "b": np.zeros((1, 3))}, is_batchable=True) == (1, None)
