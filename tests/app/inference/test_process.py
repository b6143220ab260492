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

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs the signals and limits of Linux")
TIMEOUT_S = 60.0
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

    def __call__(self, report: MeasurementStarted | CallRows) -> None:
        match report:
            case MeasurementStarted():
                self.began.append(report)
            case CallRows(packed=packed):
                self.rows += unpack_calls(0, packed).num_rows
                self.rows_before += 0 if self.began else unpack_calls(0, packed).num_rows
                self._on_calls(self.rows)


def test_opened_variant_reports_placements_and_cold_start_times(start: Start) -> None:
    running = start(DIGITS_MODEL)
    opened = running.wait_until_open(TIMEOUT_S)
    assert (opened.provider_used, opened.provider_reason) == ("cpu", None)
    assert {placement.operator for placement in opened.placements} >= {"Conv", "Gemm"}
    assert min(opened.library_load_ms, opened.session_build_ms, opened.first_inference_ms) > 0
    assert running.started_ns < opened.start_ns, "both processes use the same clock"


def test_one_process_measures_several_scenarios(start: Start) -> None:
    running = start(DIGITS_MODEL, batch=2)
    running.wait_until_open(TIMEOUT_S)
    for scenario in ("single-stream", "offline"):
        received = ReceivedReports()
        plan = plan_of(scenario, batch=2, streams=2, max_warmup_s=1.0)
        measured = running.measure(plan, received)
        (began,) = received.began
        assert 0 < received.rows_before < received.rows, "warm-up rows come first"
        assert measured.end_ns - began.start_ns >= 300_000_000
        assert measured.half_width is not None
        assert measured.peak_memory_bytes is not None
        assert measured.peak_memory_bytes > 2**20
        assert measured.fidelity is None, "there is no reference"


def test_fidelity_compares_measured_outputs_with_the_reference(start: Start, tmp_path: Path) -> None:
    running = start(DIGITS_MODEL)
    running.wait_until_open(TIMEOUT_S)
    computed = running.compute_outputs(64, TIMEOUT_S)
    outputs = np.frombuffer(computed.content, computed.dtype).reshape(computed.shape)
    assert outputs.shape == (64, 10)
    np.savez(tmp_path / "same.npz", outputs=outputs)
    np.savez(tmp_path / "other.npz", outputs=-outputs)
    for name, is_bound in (("same", True), ("other", False)):
        settings = SessionSettings(io_binding=is_bound)
        compared = start(DIGITS_MODEL, reference=str(tmp_path / f"{name}.npz"), settings=settings)
        compared.wait_until_open(TIMEOUT_S)
        fidelity = compared.measure(plan_of("single-stream"), ReceivedReports()).fidelity
        assert fidelity is not None
        assert fidelity.rows > 8
        assert fidelity.is_equal is (name == "same")


def test_labeled_rows_are_scored(start: Start) -> None:
    running = start(DIGITS_MODEL, rows=str(DIGITS_ROWS), label="label", batch=32)
    running.wait_until_open(TIMEOUT_S)
    scored = running.score(TIMEOUT_S)
    scores = np.frombuffer(scored.scores, np.float64)
    assert scored.metric == "top-1"
    record = msgspec.json.decode(DIGITS_MODEL.with_suffix(".json").read_bytes())
    assert (len(scores), scores.sum()) == (450, record["held_out_right"])


def test_class_index_outputs_are_scored(start: Start, tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.eye(3, dtype=np.float32), label=[0, 1, 0])
    running = start(onnx_models.doubling(tmp_path / "m.onnx"), rows=str(tmp_path / "r.npz"), label="label")
    running.wait_until_open(TIMEOUT_S)
    assert np.frombuffer(running.score(TIMEOUT_S).scores, np.float64).tolist() == [1, 1, 0]


def test_invalid_model_and_mismatched_batch_size_are_usage_errors(start: Start, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError, match="m\\.onnx is not a model") as error:
        start(tmp_path / "m.onnx").wait_until_open(TIMEOUT_S)
    assert error.value.hint is not None
    with pytest.raises(UsageError, match="has a fixed batch size of 1"):
        start(onnx_models.doubling(tmp_path / "one.onnx", rows=1), batch=2).wait_until_open(TIMEOUT_S)


def test_provider_outside_this_build_is_unavailable(start: Start) -> None:
    with pytest.raises(UnavailableError, match="has no rocm provider"):
        start(DIGITS_MODEL, provider="rocm").wait_until_open(TIMEOUT_S)


@pytest.mark.parametrize("make", [odd_models.sequence_output, odd_models.sequence_input])
def test_model_without_plain_tensors_is_a_usage_error(
    start: Start, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    with pytest.raises(UsageError, match="plain tensor"):
        start(make(tmp_path / "m.onnx")).wait_until_open(TIMEOUT_S)


@LINUX
def test_crashed_variant_is_reported_with_its_signal_after_its_rows(start: Start) -> None:
    running = start(DIGITS_MODEL)
    running.wait_until_open(TIMEOUT_S)
    received = ReceivedReports(on_calls=lambda _: os.kill(running.pid, signal.SIGSEGV))
    with pytest.raises(ChildKilledError, match=r"digits crashed \(SIGSEGV\)"):
        running.measure(plan_of("single-stream", max_s=30.0), received)
    assert received.rows > 0
    with pytest.raises(ChildKilledError, match="SIGSEGV"):
        running.measure(plan_of("single-stream"), received)  # closing it does not raise, either


@LINUX
def test_suspended_variant_process_is_reported(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.child._MAX_SUSPENDED_S", 0.5)
    running = start(DIGITS_MODEL)
    running.wait_until_open(TIMEOUT_S)
    stop = ReceivedReports(on_calls=lambda _: os.kill(running.pid, signal.SIGSTOP))
    with pytest.raises(ChildKilledError, match=f"process {running.pid} is suspended"):
        running.measure(plan_of("single-stream", max_s=30.0), stop)


@LINUX
def test_killed_variant_process_is_reported(start: Start) -> None:
    running = start(DIGITS_MODEL)
    running.wait_until_open(TIMEOUT_S)
    with pytest.raises(ChildKilledError, match="was killed, possibly out of memory"):
        running.measure(plan_of("single-stream", max_s=30.0), ReceivedReports(on_calls=lambda _: running.kill()))


@LINUX
def test_model_above_its_memory_limit_is_reported_as_out_of_memory(start: Start, tmp_path: Path) -> None:
    running = start(odd_models.memory_hungry(tmp_path / "m.onnx"), memory_limit_bytes=2**31)
    with pytest.raises(MeasurementError, match="ran out of memory") as error:
        running.wait_until_open(TIMEOUT_S)
    assert error.value.hint == "Increase limits.memory, free memory, or use a smaller batch."


@LINUX
@pytest.mark.parametrize("mib", [16, 20, 60])
def test_memory_limit_too_small_for_the_libraries_has_a_hint(start: Start, mib: int) -> None:
    """Libraries that cannot be loaded print their own message or end the process."""
    with pytest.raises(MeasurementError) as error:
        start(DIGITS_MODEL, memory_limit_bytes=mib * 2**20).wait_until_open(TIMEOUT_S)
    assert error.value.hint == "Increase limits.memory, free memory, or use a smaller batch."


def test_model_that_does_not_open_in_time_is_stopped(start: Start, tmp_path: Path) -> None:
    running = start(odd_models.endless(tmp_path / "m.onnx"))
    with pytest.raises(ChildKilledError, match="m did not finish within 0\\.5 s and was stopped"):
        running.wait_until_open(0.5)


def test_row_rejected_by_the_model_during_measurement_is_a_usage_error(start: Start, tmp_path: Path) -> None:
    ids = np.concatenate([np.zeros(40, np.int64), [7]])
    np.savez(tmp_path / "r.npz", id=ids, label=np.zeros(41, np.int64))
    running = start(onnx_models.lookup(tmp_path / "m.onnx"), rows=str(tmp_path / "r.npz"), label="label")
    running.wait_until_open(TIMEOUT_S)
    with pytest.raises(UsageError, match="out of data bounds"):
        running.measure(plan_of("single-stream"), ReceivedReports())


@LINUX
def test_provider_fallback_is_reported_with_its_operators(start: Start, simulated_nvml: Path) -> None:
    opened = start(DIGITS_MODEL, provider="cuda", environment={"LD_LIBRARY_PATH": str(simulated_nvml)}).wait_until_open(
        TIMEOUT_S
    )
    assert opened.provider_used == "cpu"
    assert opened.provider_reason is not None
    fallbacks = {placement.operator for placement in opened.placements if placement.is_fallback}
    assert {"Gemm", "Conv"} <= fallbacks


def test_repetition_timeout_is_based_on_the_warm_up(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a slow machine, a repetition takes longer than all durations of the plan and the margin together."""
    monkeypatch.setattr("app.inference.process._GRACE_S", 0.0)
    running = start(decoders.contiguous(tmp_path / "model"), is_language_model=True)
    running.wait_until_open(TIMEOUT_S)
    plan = msgspec.structs.replace(plan_of("generation", max_s=0.001), test=GenerationTest(0, 1500))
    received = ReceivedReports()
    assert running.measure(plan, received).half_width is None, "one repetition"
    assert (len(received.began), received.rows_before, received.rows) == (1, 1500, 3000)
    hung = msgspec.structs.replace(plan, max_repetition_s=0.001)
    with pytest.raises(ChildKilledError, match=r"model did not finish the warm-up of tg1500 within 0\.001 s") as error:
        running.measure(hung, received)
    assert error.value.hint == "Use a shorter test, a smaller batch, or a smaller model."
