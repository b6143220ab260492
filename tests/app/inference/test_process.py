from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.errors import MeasurementError, UnavailableError, UsageError
from app.inference.job import CallRows, MeasurementStarted, SessionSettings, VariantJob
from app.inference.parent import ChildKilledError
from app.inference.probe import DIGITS_MODEL, DIGITS_ROWS
from app.inference.process import VariantProcess
from app.records.calls import unpack_calls
from app.records.local import GenerationTest
from tests.fakes import decoders, odd_models, onnx_models
from tests.fakes.callers import plan_of

pytestmark = pytest.mark.process

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="signals and limits as Linux has them")
WITHIN_S = 60.0
Start = Callable[..., VariantProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[VariantProcess] = []

    def begin(model: Path, *, environment: dict[str, str] | None = None, **job: object) -> VariantProcess:
        plain = VariantJob(model=str(model), provider="cpu", batch=1)
        running = VariantProcess(model.stem, msgspec.structs.replace(plain, **job), environment=environment)
        started.append(running)
        return running

    yield begin
    for running in started:
        running.close()


class ReceivedReports:
    def __init__(self, on_calls: Callable[[int], None] = lambda _: None) -> None:
        self.began: list[MeasurementStarted] = []
        self.rows_before = self.rows = 0
        self._on_calls = on_calls

    def __call__(self, reported: MeasurementStarted | CallRows) -> None:
        match reported:
            case MeasurementStarted():
                self.began.append(reported)
            case CallRows(packed=packed):
                self.rows += unpack_calls(0, packed).num_rows
                self.rows_before += 0 if self.began else unpack_calls(0, packed).num_rows
                self._on_calls(self.rows)


def test_variant_says_what_it_is_and_how_cold_it_started(start: Start) -> None:
    running = start(DIGITS_MODEL)
    opened = running.wait_until_open(WITHIN_S)
    assert (opened.provider_used, opened.provider_reason) == ("cpu", None)
    assert {one.operator for one in opened.placements} >= {"Conv", "Gemm"}
    assert min(opened.library_load_ms, opened.session_build_ms, opened.first_inference_ms) > 0
    assert running.started_ns < opened.start_ns, "one clock for both processes"


def test_scenarios_follow_each_other_in_one_process(start: Start) -> None:
    running = start(DIGITS_MODEL, batch=2)
    running.wait_until_open(WITHIN_S)
    for scenario in ("single-stream", "offline"):
        received = ReceivedReports()
        plan = plan_of(scenario, batch=2, streams=2, warmup_most_s=1.0)
        measured = running.measure(plan, received)
        (began,) = received.began
        assert 0 < received.rows_before < received.rows, "warm-up comes before"
        assert measured.end_ns - began.start_ns >= 300_000_000
        assert measured.half_width is not None
        assert measured.peak_memory_bytes is not None
        assert measured.peak_memory_bytes > 2**20
        assert measured.fidelity is None, "there is no reference"


def test_outputs_are_a_reference_for_those_of_the_measured_run(start: Start, tmp_path: Path) -> None:
    running = start(DIGITS_MODEL)
    running.wait_until_open(WITHIN_S)
    given = running.compute_outputs(64, WITHIN_S)
    outputs = np.frombuffer(given.content, given.dtype).reshape(given.shape)
    assert outputs.shape == (64, 10)
    np.savez(tmp_path / "same.npz", outputs=outputs)
    np.savez(tmp_path / "other.npz", outputs=-outputs)
    for name, is_bound in (("same", True), ("other", False)):
        settings = SessionSettings(io_binding=is_bound)
        held = start(DIGITS_MODEL, reference=str(tmp_path / f"{name}.npz"), settings=settings)
        held.wait_until_open(WITHIN_S)
        fidelity = held.measure(plan_of("single-stream"), ReceivedReports()).fidelity
        assert fidelity is not None
        assert fidelity.rows > 8
        assert fidelity.is_equal is (name == "same")


def test_labelled_rows_are_scored(start: Start) -> None:
    running = start(DIGITS_MODEL, rows=str(DIGITS_ROWS), label="label", batch=32)
    running.wait_until_open(WITHIN_S)
    scored = running.score(WITHIN_S)
    scores = np.frombuffer(scored.scores, np.float64)
    assert scored.metric == "top-1"
    record = msgspec.json.decode(DIGITS_MODEL.with_suffix(".json").read_bytes())
    assert (len(scores), scores.sum()) == (450, record["held_out_right"])


def test_class_labels_as_output_are_accuracy_too(start: Start, tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.eye(3, dtype=np.float32), label=[0, 1, 0])
    running = start(onnx_models.doubling(tmp_path / "m.onnx"), rows=str(tmp_path / "r.npz"), label="label")
    running.wait_until_open(WITHIN_S)
    assert np.frombuffer(running.score(WITHIN_S).scores, np.float64).tolist() == [1, 1, 0]


def test_model_that_is_none_and_batch_that_does_not_fit_are_usage_errors(start: Start, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError, match="m\\.onnx is not a model") as caught:
        start(tmp_path / "m.onnx").wait_until_open(WITHIN_S)
    assert caught.value.hint is not None
    with pytest.raises(UsageError, match="has a fixed batch size of 1"):
        start(onnx_models.doubling(tmp_path / "one.onnx", rows=1), batch=2).wait_until_open(WITHIN_S)


def test_provider_outside_this_build_is_unavailable(start: Start) -> None:
    with pytest.raises(UnavailableError, match="has no rocm provider"):
        start(DIGITS_MODEL, provider="rocm").wait_until_open(WITHIN_S)


@pytest.mark.parametrize("make", [odd_models.only_a_sequence, odd_models.takes_a_sequence])
def test_model_without_plain_tensors_is_refused_in_a_sentence(
    start: Start, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    with pytest.raises(UsageError, match="plain tensor"):
        start(make(tmp_path / "m.onnx")).wait_until_open(WITHIN_S)


@LINUX
def test_crash_is_reported_by_its_signal_and_rows_reported_before_it_stay_reported(start: Start) -> None:
    running = start(DIGITS_MODEL)
    running.wait_until_open(WITHIN_S)
    received = ReceivedReports(on_calls=lambda _: os.kill(running.pid, signal.SIGSEGV))
    with pytest.raises(ChildKilledError, match=r"digits crashed \(SIGSEGV\)"):
        running.measure(plan_of("single-stream", most_s=30.0), received)
    assert received.rows > 0
    with pytest.raises(ChildKilledError, match="SIGSEGV"):
        running.measure(plan_of("single-stream"), received)  # nor does closing it raise


@LINUX
def test_a_child_that_is_stopped_is_not_waited_for_as_a_slow_model_is(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen.child._MAX_SUSPENDED_S", 0.5)
    running = start(DIGITS_MODEL)
    running.wait_until_open(WITHIN_S)
    stop = ReceivedReports(on_calls=lambda _: os.kill(running.pid, signal.SIGSTOP))
    with pytest.raises(ChildKilledError, match=f"process {running.pid} is suspended"):
        running.measure(plan_of("single-stream", most_s=30.0), stop)


@LINUX
def test_killed_child_is_reported_as_that(start: Start) -> None:
    running = start(DIGITS_MODEL)
    running.wait_until_open(WITHIN_S)
    with pytest.raises(ChildKilledError, match="was killed, possibly out of memory"):
        running.measure(plan_of("single-stream", most_s=30.0), ReceivedReports(on_calls=lambda _: running.kill()))


@LINUX
def test_model_that_takes_more_memory_than_it_may_ends_with_that_reason(start: Start, tmp_path: Path) -> None:
    running = start(odd_models.hungry(tmp_path / "m.onnx"), memory_limit_bytes=2**31)
    with pytest.raises(MeasurementError, match="ran out of memory") as caught:
        running.wait_until_open(WITHIN_S)
    assert caught.value.hint == "Increase limits.memory, free memory, or use a smaller batch."


@LINUX
@pytest.mark.parametrize("mib", [16, 20, 60])
def test_limit_too_small_to_begin_with_says_what_to_do(start: Start, mib: int) -> None:
    """Libraries that do not load say so in words of their own, or end the process."""
    with pytest.raises(MeasurementError) as caught:
        start(DIGITS_MODEL, memory_limit_bytes=mib * 2**20).wait_until_open(WITHIN_S)
    assert caught.value.hint == "Increase limits.memory, free memory, or use a smaller batch."


def test_model_that_never_ends_is_stopped(start: Start, tmp_path: Path) -> None:
    running = start(odd_models.endless(tmp_path / "m.onnx"))
    with pytest.raises(ChildKilledError, match="m did not finish within 0\\.5 s and was stopped"):
        running.wait_until_open(0.5)


def test_model_that_refuses_a_row_amid_the_measurement_is_reported_with_its_code(start: Start, tmp_path: Path) -> None:
    ids = np.concatenate([np.zeros(40, np.int64), [7]])
    np.savez(tmp_path / "r.npz", id=ids, label=np.zeros(41, np.int64))
    running = start(onnx_models.lookup(tmp_path / "m.onnx"), rows=str(tmp_path / "r.npz"), label="label")
    running.wait_until_open(WITHIN_S)
    with pytest.raises(UsageError, match="out of data bounds"):
        running.measure(plan_of("single-stream"), ReceivedReports())


@LINUX
def test_silent_fall_back_is_reported_with_its_fallbacks(start: Start, nvml_stand_in: Path) -> None:
    opened = start(DIGITS_MODEL, provider="cuda", environment={"LD_LIBRARY_PATH": str(nvml_stand_in)}).wait_until_open(
        WITHIN_S
    )
    assert opened.provider_used == "cpu"
    assert opened.provider_reason is not None
    strays = {one.operator for one in opened.placements if one.is_fallback}
    assert {"Gemm", "Conv"} <= strays


def test_a_test_may_take_as_long_as_its_warm_up_shows(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repetition takes longer than all durations of the plan and the margin together, as on a slow machine."""
    monkeypatch.setattr("app.inference.process._GRACE_S", 0.0)
    running = start(decoders.contiguous(tmp_path / "model"), is_language_model=True)
    running.wait_until_open(WITHIN_S)
    plan = msgspec.structs.replace(plan_of("generation", most_s=0.001), test=GenerationTest(0, 1500))
    received = ReceivedReports()
    assert running.measure(plan, received).half_width is None, "one repetition"
    assert (len(received.began), received.rows_before, received.rows) == (1, 1500, 3000)
    hung = msgspec.structs.replace(plan, max_repetition_s=0.001)
    with pytest.raises(ChildKilledError, match=r"model did not finish the warm-up of tg1500 within 0\.001 s") as caught:
        running.measure(hung, received)
    assert caught.value.hint == "Use a shorter test, a smaller batch, or a smaller model."
