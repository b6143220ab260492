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


class Seen:
    """What a call's outputs are handed to."""

    def __init__(self) -> None:
        self.outputs: list[Sequence[Array]] = []

    def __call__(self, outputs: Sequence[Array]) -> None:
        self.outputs.append(outputs)


def test_plain_call_times_its_parts_and_leaves_copies_to_the_execution(tmp_path: Path) -> None:
    session = open_session(onnx_models.doubling(tmp_path / "m.onnx"), "cpu", threads=1)
    rows, seen = SyntheticRows(session.inputs, 2), Seen()
    caller = PlainCaller(session, rows, 2, seen)
    begin_ns, prepared_ns, copied_in_ns, executed_ns, copied_out_ns, end_ns = caller.call(4)
    assert begin_ns <= prepared_ns <= executed_ns <= end_ns
    assert (copied_in_ns, copied_out_ns) == (-1, -1)
    assert caller.outputs[0].tolist() == (2 * rows.batch(4, 2)["x"]).tolist()
    assert seen.outputs == [caller.outputs]


def test_bound_call_times_its_copies_apart(tmp_path: Path) -> None:
    session = open_session(onnx_models.doubling(tmp_path / "m.onnx"), "cpu", threads=1)
    seen = Seen()
    times = BoundCaller(session, SyntheticRows(session.inputs, 2), 2, seen, CPU).call(0)
    assert min(times) > 0
    assert list(times) == sorted(times)
    assert len(seen.outputs) == 1


@pytest.mark.parametrize("batch", [1, 8])
def test_bound_and_plain_calls_give_the_same_and_outputs_stay_as_they_were(batch: int) -> None:
    session = open_session(DIGITS_MODEL, "cpu", threads=1)
    rows, seen = SyntheticRows(session.inputs, batch), Seen()
    bound = BoundCaller(session, rows, batch, seen, CPU)
    plain = PlainCaller(session, rows, batch, lambda _: None)
    for start in (0, 8, 16):
        bound.call(start)
    for start, (output,) in zip((0, 8, 16), seen.outputs, strict=True):
        plain.call(start)
        assert np.array_equal(output, plain.outputs[0]), "a later call has not written over it"


def test_outputs_as_long_as_what_is_found_can_be_bound(tmp_path: Path) -> None:
    session = open_session(odd_models.found(tmp_path / "m.onnx"), "cpu", threads=1)
    rows, seen = SyntheticRows(session.inputs, 1), Seen()
    caller = BoundCaller(session, rows, 1, seen, CPU)
    for start in range(4):
        caller.call(start)
        assert len(caller.outputs[0]) == (rows.batch(start, 1)["x"] > 0.5).sum()
    assert len({len(output) for (output,) in seen.outputs}) > 1


@pytest.mark.parametrize(
    "make", [odd_models.with_state, odd_models.with_scalar, odd_models.nhwc, odd_models.of_sequences]
)
@pytest.mark.parametrize("is_bound", [False, True])
def test_inputs_of_many_kinds_are_fed(tmp_path: Path, make: type, is_bound: bool) -> None:
    session = open_session(make(tmp_path / "m.onnx"), "cpu", 1, SessionSettings(axes={"sequence": 5}))
    rows = SyntheticRows(session.inputs, 3, {"sequence": 5})
    nothing = Seen()
    caller = BoundCaller(session, rows, 3, nothing, CPU) if is_bound else PlainCaller(session, rows, 3, nothing)
    caller.call(0)
    assert len(caller.outputs[0]) == 3


def test_strings_cannot_be_bound_and_the_plain_call_takes_them(tmp_path: Path) -> None:
    from onnx import TensorProto

    session = open_session(onnx_models.echo(tmp_path / "m.onnx", TensorProto.STRING), "cpu", threads=1)
    rows = SyntheticRows(session.inputs, 2)
    PlainCaller(session, rows, 2, lambda _: None).call(0)
    with pytest.raises(UsageError, match="string inputs"):
        BoundCaller(session, rows, 2, lambda _: None, CPU)
