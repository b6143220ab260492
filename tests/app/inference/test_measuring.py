from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from app.errors import InstrumentError, UnavailableError, UsageError
from app.inference.bundled import DIGITS_MODEL, DIGITS_ROWS
from app.inference.measurement import Accuracy, LocalMeasurement
from app.inference.measuring import measure_model
from tests.fakes import onnx_models


def measured(model: Path, provider: str = "cpu", rows: Path | None = None, timeout_s: float = 60) -> LocalMeasurement:
    return measure_model(model, provider, threads=1, batches=(1, 2), seconds=0.1, rows=rows, timeout_s=timeout_s)


def test_digits_are_timed_batch_by_batch_and_held_against_their_labels() -> None:
    found = measured(DIGITS_MODEL, rows=DIGITS_ROWS)
    assert [batch.batch for batch in found.batches] == [1, 2]
    for batch in found.batches:
        assert batch.end_ns - batch.start_ns >= 100_000_000
        assert 0.8 * (batch.end_ns - batch.start_ns) < sum(batch.latencies_ns) <= batch.end_ns - batch.start_ns
    assert found.batches[0].end_ns <= found.batches[1].start_ns
    record = json.loads(DIGITS_MODEL.with_suffix(".json").read_text(encoding="utf-8"))
    assert found.accuracy == Accuracy(record["held_out_right"], 450)


def test_measurement_says_what_was_measured() -> None:
    found = measured(DIGITS_MODEL)
    assert (found.name, found.size_bytes) == ("digits", DIGITS_MODEL.stat().st_size)
    assert found.model_sha256 == hashlib.sha256(DIGITS_MODEL.read_bytes()).hexdigest()
    assert (found.provider_requested, found.provider_used, found.nodes_elsewhere) == ("cpu", "cpu", ())
    assert min(found.library_load_ms, found.session_build_ms, found.first_inference_ms) > 0
    assert found.accuracy is None


def test_class_labels_as_output_are_accuracy_too(tmp_path: Path) -> None:
    model = onnx_models.doubling(tmp_path / "m.onnx")
    np.savez(tmp_path / "r.npz", x=np.eye(3, dtype=np.float32), label=[0, 1, 0])
    assert measured(model, rows=tmp_path / "r.npz").accuracy == Accuracy(2, 3)


def test_model_that_is_none_and_batch_that_does_not_fit_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError, match=r"m\.onnx is not a model"):
        measured(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="takes 1 rows at a time"):
        measured(onnx_models.doubling(tmp_path / "one.onnx", rows=1))


def test_provider_outside_this_build_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="has no rocm provider"):
        measured(DIGITS_MODEL, "rocm")


def test_measurement_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(InstrumentError, match=r"the measurement of digits\.onnx did not end"):
        measured(DIGITS_MODEL, timeout_s=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is a Linux library")
def test_silent_fall_back_is_told(nvml_stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_stand_in))
    found = measured(DIGITS_MODEL, "cuda")
    assert (found.provider_requested, found.provider_used) == ("cuda", "cpu")
    assert "Gemm on CPUExecutionProvider" in found.nodes_elsewhere
    assert found.provider_reason is not None
