from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.errors import UsageError
from app.inference.datasets.labeled import select_calibration_rows
from app.inference.job import CallRows, ComputeOutputs, MeasurementStarted, Report, SessionSettings, VariantJob
from app.inference.probe import DIGITS_MODEL
from app.inference.variant import MAX_FED_ROWS, OpenVariant
from app.records.calls import unpack_calls
from tests.fakes import odd_models, onnx_models
from tests.fakes.callers import plan_of

BASE_JOB = VariantJob(model=str(DIGITS_MODEL), provider="cpu", batch=1)


def open_variant(**job: object) -> OpenVariant:
    return OpenVariant(msgspec.structs.replace(BASE_JOB, **job), process_start_ns=5, library_load_ms=7.0)


def test_opened_report_has_process_start_and_library_load_times() -> None:
    report = open_variant().build_opened_report()
    assert (report.start_ns, report.library_load_ms) == (5, 7.0)
    assert (report.provider_used, report.inputs[0].dtype) == ("cpu", "float32")


@pytest.mark.timing  # the number of windows depends on stalls of the machine
def test_rows_are_reported_per_window_with_copy_times_if_bound() -> None:
    for is_bound in (False, True):
        reports: list[Report] = []
        variant = open_variant(settings=SessionSettings(io_binding=is_bound))
        variant.measure(plan_of("single-stream", max_s=0.3, max_warmup_s=0.25), reports.append)
        kinds = [type(report) for report in reports]
        assert kinds == [CallRows, MeasurementStarted, CallRows, CallRows]
        rows = unpack_calls(0, b"".join(report.packed for report in reports if isinstance(report, CallRows)))
        assert (rows["copied_in_ns"].null_count == 0) is is_bound
        assert rows["scheduled_ns"].null_count == rows.num_rows


@pytest.mark.parametrize(("batch", "rows"), [(1, 100), (30, 90), (100, 100), (300, 300)])
def test_computed_outputs_cover_whole_batches_of_the_requested_rows(tmp_path: Path, batch: int, rows: int) -> None:
    model = str(onnx_models.doubling(tmp_path / "m.onnx"))
    batched, single = (
        open_variant(model=model, batch=size).compute_outputs(ComputeOutputs(rows=count))
        for size, count in ((batch, 100), (1, 300))
    )
    assert (batched.shape, single.shape) == ((rows, 3), (MAX_FED_ROWS, 3))
    shared = min(rows, MAX_FED_ROWS) * 3
    batched_values, single_values = (
        np.frombuffer(outputs.content, outputs.dtype)[:shared] for outputs in (batched, single)
    )
    assert np.array_equal(batched_values, single_values), "the batch size does not change the rows"


def test_string_outputs_cannot_be_a_reference(tmp_path: Path) -> None:
    from onnx import TensorProto

    model = onnx_models.echo(tmp_path / "m.onnx", TensorProto.STRING)
    with pytest.raises(UsageError, match="not numeric"):
        open_variant(model=str(model)).compute_outputs(ComputeOutputs(rows=4))


def test_output_without_rows_has_one_value_per_batch(tmp_path: Path) -> None:
    outputs = open_variant(model=str(onnx_models.total(tmp_path / "m.onnx")), batch=4).compute_outputs(
        ComputeOutputs(rows=8)
    )
    assert outputs.shape == (2, 3), "one output per batch, which no row can be compared with"


def test_score_without_labels_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no labeled rows"):
        open_variant().score()


def test_unlabeled_rows_are_measured_but_not_scored(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.arange(12, dtype=np.float32).reshape(4, 3))
    model = str(onnx_models.doubling(tmp_path / "m.onnx"))
    variant = open_variant(model=model, rows=str(tmp_path / "r.npz"), batch=2)
    assert variant.compute_outputs(ComputeOutputs(rows=4)).content == (2 * np.arange(12, dtype=np.float32)).tobytes()
    variant.measure(plan_of("single-stream", batch=2), lambda _: None)
    with pytest.raises(UsageError, match="no labeled rows"):
        variant.score()


@pytest.mark.parametrize(
    "settings",
    [SessionSettings(), SessionSettings(io_binding=True), SessionSettings(io_binding=True, cuda_graph=True)],
    ids=["plain", "bound", "captured"],
)
def test_labels_out_of_range_are_rejected_when_the_variant_opens(tmp_path: Path, settings: SessionSettings) -> None:
    np.savez(tmp_path / "r.npz", x=np.eye(3, dtype=np.float32), label=[0, 1, 2], wrong=[0, 1, 3])
    job = {"model": str(onnx_models.doubling(tmp_path / "m.onnx")), "rows": str(tmp_path / "r.npz"), "batch": 2}
    open_variant(**job, settings=settings, label="label")
    with pytest.raises(UsageError, match="label 3 is out of range: the model's 3 classes are 0 to 2"):
        open_variant(**job, settings=settings, label="wrong")


def test_calibration_rows_are_not_scored(tmp_path: Path) -> None:
    labels = np.arange(100) % 3
    np.savez(tmp_path / "r.npz", x=np.eye(3, dtype=np.float32)[(labels + labels % 7 // 2) % 3], label=labels)
    job = {"model": str(onnx_models.doubling(tmp_path / "m.onnx")), "rows": str(tmp_path / "r.npz"), "label": "label"}
    all_scores, held_out_scores = (
        np.frombuffer(open_variant(**job, batch=32, unscored_rows=count).score().scores) for count in (0, 20)
    )
    assert (len(all_scores), all_scores.sum()) == (100, 67)
    assert np.array_equal(held_out_scores, np.delete(all_scores, select_calibration_rows(100, 20)))


def test_axis_lengths_of_the_settings_are_used(tmp_path: Path) -> None:
    model = str(odd_models.token_sequences(tmp_path / "m.onnx"))
    variant = open_variant(model=model, settings=SessionSettings(axes={"sequence": 20}))
    assert variant.compute_outputs(ComputeOutputs(rows=2)).shape == (2, 20, 2)
    assert variant.build_opened_report().notes == ()


def test_optimized_model_is_cached_and_reused(tmp_path: Path) -> None:
    cached_model = tmp_path / "kept.onnx"
    settings = SessionSettings(cached_model_path=str(cached_model))
    first = open_variant(settings=settings).compute_outputs(ComputeOutputs(rows=4))
    assert cached_model.exists()
    written_ns = cached_model.stat().st_mtime_ns
    assert open_variant(settings=settings).compute_outputs(ComputeOutputs(rows=4)) == first
    assert cached_model.stat().st_mtime_ns == written_ns


def test_string_inputs_with_io_binding_are_a_usage_error(tmp_path: Path) -> None:
    from onnx import TensorProto

    model = str(onnx_models.echo(tmp_path / "m.onnx", TensorProto.STRING))
    variant = open_variant(model=model, settings=SessionSettings(io_binding=True))
    with pytest.raises(UsageError, match="string inputs"):
        variant.measure(plan_of("single-stream"), lambda _: None)


def compute_accuracy(tmp_path: Path, *, output: str | None = None, more_scores: bool = False) -> float:
    model = onnx_models.classifier(tmp_path / "m.onnx", more_scores=more_scores)
    rows = onnx_models.labelled(tmp_path / "r.npz")
    variant = open_variant(model=str(model), rows=str(rows), label="label", output=output, batch=8)
    variant.measure(plan_of("single-stream", batch=8), lambda _: None)
    scored = variant.score()
    assert scored.chance_accuracy is not None
    assert 0.25 <= scored.chance_accuracy < 0.6
    return float(np.frombuffer(scored.scores, np.float64).mean())


@pytest.mark.parametrize("output", [None, "label", "probabilities"])
def test_classifier_is_scored_by_its_class_or_its_scores(tmp_path: Path, output: str | None) -> None:
    assert compute_accuracy(tmp_path, output=output) == 0.75


def test_model_with_two_score_outputs_needs_an_output_name(tmp_path: Path) -> None:
    assert compute_accuracy(tmp_path, output="probabilities", more_scores=True) == 0.75
    with pytest.raises(UsageError, match="2 outputs of the model may contain the classes") as error:
        compute_accuracy(tmp_path, more_scores=True)
    assert error.value.hint is not None
    assert "workload.output" in error.value.hint
    with pytest.raises(UsageError, match="no output 'logits'"):
        compute_accuracy(tmp_path, output="logits", more_scores=True)
