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

PLAIN = VariantJob(model=str(DIGITS_MODEL), provider="cpu", batch=1)


def opened(**job: object) -> OpenVariant:
    return OpenVariant(msgspec.structs.replace(PLAIN, **job), process_start_ns=5, library_load_ms=7.0)


def test_cold_start_is_reported_with_what_went_before() -> None:
    reported = opened().build_opened_report()
    assert (reported.start_ns, reported.library_load_ms) == (5, 7.0)
    assert (reported.provider_used, reported.inputs[0].dtype) == ("cpu", "float32")


@pytest.mark.timing  # a stalled machine has more or fewer windows
def test_rows_are_reported_window_by_window_and_the_copies_apart_where_they_are_bound() -> None:
    for is_bound in (False, True):
        reported: list[Report] = []
        variant = opened(settings=SessionSettings(io_binding=is_bound))
        variant.measure(plan_of("single-stream", most_s=0.3, warmup_most_s=0.25), reported.append)
        kinds = [type(one) for one in reported]
        assert kinds == [CallRows, MeasurementStarted, CallRows, CallRows]
        rows = unpack_calls(0, b"".join(one.packed for one in reported if isinstance(one, CallRows)))
        assert (rows["copied_in_ns"].null_count == 0) is is_bound
        assert rows["scheduled_ns"].null_count == rows.num_rows


@pytest.mark.parametrize(("batch", "rows"), [(1, 100), (30, 90), (100, 100), (300, 300)])
def test_outputs_given_are_of_whole_batches_of_the_rows_wanted(tmp_path: Path, batch: int, rows: int) -> None:
    model = str(onnx_models.doubling(tmp_path / "m.onnx"))
    given, whole = (
        opened(model=model, batch=size).compute_outputs(ComputeOutputs(rows=count))
        for size, count in ((batch, 100), (1, 300))
    )
    assert (given.shape, whole.shape) == ((rows, 3), (MAX_FED_ROWS, 3))
    shared = min(rows, MAX_FED_ROWS) * 3
    first, alone = (np.frombuffer(one.content, one.dtype)[:shared] for one in (given, whole))
    assert np.array_equal(first, alone), "the same rows, whatever the batch"


def test_outputs_in_text_are_no_reference(tmp_path: Path) -> None:
    from onnx import TensorProto

    model = onnx_models.echo(tmp_path / "m.onnx", TensorProto.STRING)
    with pytest.raises(UsageError, match="not numeric"):
        opened(model=str(model)).compute_outputs(ComputeOutputs(rows=4))


def test_a_single_number_is_an_output_too(tmp_path: Path) -> None:
    given = opened(model=str(onnx_models.total(tmp_path / "m.onnx")), batch=4).compute_outputs(ComputeOutputs(rows=8))
    assert given.shape == (2, 3), "one a batch, which no row can be held against"


def test_nothing_is_scored_without_labels() -> None:
    with pytest.raises(UsageError, match="no labeled rows"):
        opened().score()


def test_rows_without_labels_are_fed_and_not_scored(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.arange(12, dtype=np.float32).reshape(4, 3))
    model = str(onnx_models.doubling(tmp_path / "m.onnx"))
    variant = opened(model=model, rows=str(tmp_path / "r.npz"), batch=2)
    assert variant.compute_outputs(ComputeOutputs(rows=4)).content == (2 * np.arange(12, dtype=np.float32)).tobytes()
    variant.measure(plan_of("single-stream", batch=2), lambda _: None)
    with pytest.raises(UsageError, match="no labeled rows"):
        variant.score()


@pytest.mark.parametrize(
    "settings",
    [SessionSettings(), SessionSettings(io_binding=True), SessionSettings(io_binding=True, cuda_graph=True)],
    ids=["plain", "bound", "captured"],
)
def test_labels_of_another_model_end_it_before_anything_is_timed(tmp_path: Path, settings: SessionSettings) -> None:
    np.savez(tmp_path / "r.npz", x=np.eye(3, dtype=np.float32), label=[0, 1, 2], wrong=[0, 1, 3])
    job = {"model": str(onnx_models.doubling(tmp_path / "m.onnx")), "rows": str(tmp_path / "r.npz"), "batch": 2}
    opened(**job, settings=settings, label="label")
    with pytest.raises(UsageError, match="label 3 is out of range: the model's 3 classes are 0 to 2"):
        opened(**job, settings=settings, label="wrong")


def test_rows_that_calibrated_are_not_scored(tmp_path: Path) -> None:
    labels = np.arange(100) % 3
    np.savez(tmp_path / "r.npz", x=np.eye(3, dtype=np.float32)[(labels + labels % 7 // 2) % 3], label=labels)
    job = {"model": str(onnx_models.doubling(tmp_path / "m.onnx")), "rows": str(tmp_path / "r.npz"), "label": "label"}
    every, some = (np.frombuffer(opened(**job, batch=32, unscored_rows=count).score().scores) for count in (0, 20))
    assert (len(every), every.sum()) == (100, 67)
    assert np.array_equal(some, np.delete(every, select_calibration_rows(100, 20)))


def test_lengths_of_axes_are_as_they_were_given(tmp_path: Path) -> None:
    model = str(odd_models.of_sequences(tmp_path / "m.onnx"))
    reported = opened(model=model, settings=SessionSettings(axes={"sequence": 20}))
    assert reported.compute_outputs(ComputeOutputs(rows=2)).shape == (2, 20, 2)
    assert reported.build_opened_report().notes == ()


def test_optimised_model_is_kept_and_read_again(tmp_path: Path) -> None:
    kept = tmp_path / "kept.onnx"
    settings = SessionSettings(cached_model_path=str(kept))
    first = opened(settings=settings).compute_outputs(ComputeOutputs(rows=4))
    assert kept.exists()
    written_ns = kept.stat().st_mtime_ns
    assert opened(settings=settings).compute_outputs(ComputeOutputs(rows=4)) == first
    assert kept.stat().st_mtime_ns == written_ns


def test_bound_inputs_of_text_are_refused_in_our_words(tmp_path: Path) -> None:
    from onnx import TensorProto

    model = str(onnx_models.echo(tmp_path / "m.onnx", TensorProto.STRING))
    variant = opened(model=model, settings=SessionSettings(io_binding=True))
    with pytest.raises(UsageError, match="string inputs"):
        variant.measure(plan_of("single-stream"), lambda _: None)


def _scored(tmp_path: Path, *, output: str | None = None, more_scores: bool = False) -> float:
    model = onnx_models.classifier(tmp_path / "m.onnx", more_scores=more_scores)
    rows = onnx_models.labelled(tmp_path / "r.npz")
    variant = opened(model=str(model), rows=str(rows), label="label", output=output, batch=8)
    variant.measure(plan_of("single-stream", batch=8), lambda _: None)
    scored = variant.score()
    assert scored.chance_accuracy is not None
    assert 0.25 <= scored.chance_accuracy < 0.6
    return float(np.frombuffer(scored.scores, np.float64).mean())


@pytest.mark.parametrize("output", [None, "label", "probabilities"])
def test_a_model_that_gives_the_class_is_scored_by_it(tmp_path: Path, output: str | None) -> None:
    assert _scored(tmp_path, output=output) == 0.75


def test_of_two_outputs_of_scores_the_profile_says_which(tmp_path: Path) -> None:
    assert _scored(tmp_path, output="probabilities", more_scores=True) == 0.75
    with pytest.raises(UsageError, match="2 outputs of the model may contain the classes") as refused:
        _scored(tmp_path, more_scores=True)
    assert refused.value.hint is not None
    assert "workload.output" in refused.value.hint
    with pytest.raises(UsageError, match="no output 'logits'"):
        _scored(tmp_path, output="logits", more_scores=True)
