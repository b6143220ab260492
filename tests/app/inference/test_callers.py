from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.callers import BoundCaller, PlainCaller
from app.inference.job import SessionSettings
from app.inference.probe import DIGITS_MODEL
from app.inference.rows import Array, SyntheticRows
from app.inference.session import open_session
from tests.fakes import odd_models, onnx_models

CPU = ("cpu", 0)


class OutputRecorder:
    """An output handler that records the outputs of each call."""

    def __init__(self) -> None:
        self.outputs: list[Sequence[Array]] = []

    def __call__(self, outputs: Sequence[Array]) -> None:
        self.outputs.append(outputs)


def test_plain_call_has_timestamps_but_no_copy_times(tmp_path: Path) -> None:
    session = open_session(onnx_models.doubling(tmp_path / "m.onnx"), "cpu", threads=1)
    rows, recorder = SyntheticRows(session.inputs, 2), OutputRecorder()
    caller = PlainCaller(session, rows, 2, recorder)
    begin_ns, prepared_ns, copied_in_ns, executed_ns, copied_out_ns, end_ns = caller.call(4)
    assert begin_ns <= prepared_ns <= executed_ns <= end_ns
    assert (copied_in_ns, copied_out_ns) == (-1, -1)
    assert caller.outputs[0].tolist() == (2 * rows.batch(4, 2)["x"]).tolist()
    assert recorder.outputs == [caller.outputs]


def test_bound_call_has_separate_copy_times(tmp_path: Path) -> None:
    session = open_session(onnx_models.doubling(tmp_path / "m.onnx"), "cpu", threads=1)
    recorder = OutputRecorder()
    times = BoundCaller(session, SyntheticRows(session.inputs, 2), 2, recorder, CPU).call(0)
    assert min(times) > 0
    assert list(times) == sorted(times)
    assert len(recorder.outputs) == 1


@pytest.mark.parametrize("batch", [1, 8])
def test_bound_and_plain_calls_have_equal_outputs_that_are_not_overwritten(batch: int) -> None:
    session = open_session(DIGITS_MODEL, "cpu", threads=1)
    rows, recorder = SyntheticRows(session.inputs, batch), OutputRecorder()
    bound = BoundCaller(session, rows, batch, recorder, CPU)
    plain = PlainCaller(session, rows, batch, lambda _: None)
    for start in (0, 8, 16):
        bound.call(start)
    for start, (output,) in zip((0, 8, 16), recorder.outputs, strict=True):
        plain.call(start)
        assert np.array_equal(output, plain.outputs[0]), "a later call does not overwrite it"


def test_outputs_of_data_dependent_length_can_be_bound(tmp_path: Path) -> None:
    session = open_session(odd_models.detections(tmp_path / "m.onnx"), "cpu", threads=1)
    rows, recorder = SyntheticRows(session.inputs, 1), OutputRecorder()
    caller = BoundCaller(session, rows, 1, recorder, CPU)
    for start in range(4):
        caller.call(start)
        assert len(caller.outputs[0]) == (rows.batch(start, 1)["x"] > 0.5).sum()
    assert len({len(output) for (output,) in recorder.outputs}) > 1


@pytest.mark.parametrize(
    "make", [odd_models.with_state, odd_models.with_scalar, odd_models.nhwc, odd_models.token_sequences]
)
@pytest.mark.parametrize("is_bound", [False, True])
def test_plain_and_bound_calls_feed_inputs_of_many_kinds(tmp_path: Path, make: type, is_bound: bool) -> None:
    session = open_session(make(tmp_path / "m.onnx"), "cpu", 1, SessionSettings(axes={"sequence": 5}))
    rows = SyntheticRows(session.inputs, 3, {"sequence": 5})
    recorder = OutputRecorder()
    caller = BoundCaller(session, rows, 3, recorder, CPU) if is_bound else PlainCaller(session, rows, 3, recorder)
    caller.call(0)
    assert len(caller.outputs[0]) == 3


def test_string_inputs_need_plain_calls(tmp_path: Path) -> None:
    from onnx import TensorProto

    session = open_session(onnx_models.echo(tmp_path / "m.onnx", TensorProto.STRING), "cpu", threads=1)
    rows = SyntheticRows(session.inputs, 2)
    PlainCaller(session, rows, 2, lambda _: None).call(0)
    with pytest.raises(UsageError, match="string inputs"):
        BoundCaller(session, rows, 2, lambda _: None, CPU)
