from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from app.errors import MeasurementError, UsageError
from app.inference.precision.conversion import convert_precision
from app.inference.precision.conversion_records import ConvertedModel
from app.inference.probe import DIGITS_MODEL, DIGITS_ROWS
from app.inference.rows import Feeds
from app.inference.session import open_session
from app.records.local import OnnxPrecision
from tests.fakes import hostile_models, networks

pytestmark = pytest.mark.process

CALIBRATION_ROWS = 128
TOO_SHORT_TIMEOUT_S = 0.001
"""A timeout too short for any conversion."""


def load_digits() -> tuple[Feeds, np.ndarray]:
    with np.load(DIGITS_ROWS) as rows:
        return {"image": rows["image"]}, rows["label"]


def load_calibration_rows() -> Feeds:
    return {"image": load_digits()[0]["image"][:CALIBRATION_ROWS]}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def convert_digits(precision: OnnxPrecision, cache: Path, timeout_s: float = 60) -> ConvertedModel:
    return convert_precision(DIGITS_MODEL, precision, load_calibration_rows(), cache=cache, timeout_s=timeout_s)


def compute_accuracy(model: Path) -> float:
    """Return the accuracy on 200 rows that are not used for calibration."""
    feeds, labels = load_digits()
    held_out = slice(CALIBRATION_ROWS, CALIBRATION_ROWS + 200)
    (scores,) = open_session(model, "cpu", threads=1).run({"image": feeds["image"][held_out]})
    return float(np.mean(scores.argmax(axis=1) == labels[held_out]))


@pytest.mark.parametrize(
    ("precision", "size"),
    [
        pytest.param("fp16", 0.51, marks=pytest.mark.soak),
        pytest.param("int8-dynamic", 0.28, marks=pytest.mark.soak),
        ("int8-static", 0.28),
    ],
)
def test_converted_digits_model_is_smaller_and_as_accurate(precision: OnnxPrecision, size: float, cache: Path) -> None:
    converted = convert_digits(precision, cache)
    assert compute_accuracy(converted.path) == pytest.approx(compute_accuracy(DIGITS_MODEL), abs=0.02)
    assert converted.path.stat().st_size < size * DIGITS_MODEL.stat().st_size
    assert converted.sha256 == hashlib.sha256(converted.path.read_bytes()).hexdigest()
    assert converted.calibration_rows == (CALIBRATION_ROWS if precision == "int8-static" else None)


@pytest.mark.parametrize(
    "precision", [*(pytest.param(name, marks=pytest.mark.soak) for name in ("fp16", "int8-dynamic")), "int8-static"]
)
def test_cached_conversion_is_reused(precision: OnnxPrecision, cache: Path) -> None:
    first = convert_digits(precision, cache)
    written_ns = first.path.stat().st_mtime_ns
    cached = convert_digits(precision, cache, timeout_s=TOO_SHORT_TIMEOUT_S)
    assert cached.duration_s is None
    assert (cached.path, cached.sha256, cached.notes) == (first.path, first.sha256, first.notes)
    assert cached.path.stat().st_mtime_ns == written_ns


def test_as_is_precision_returns_the_original_file(tmp_path: Path) -> None:
    converted = convert_precision(DIGITS_MODEL, "as-is", cache=tmp_path / "cache", timeout_s=TOO_SHORT_TIMEOUT_S)
    assert (converted.path, converted.duration_s) == (DIGITS_MODEL, None)
    assert not (tmp_path / "cache").exists()


def test_damaged_cached_model_or_entry_is_converted_again(tmp_path: Path) -> None:
    first = convert_digits("fp16", tmp_path)
    assert first.duration_s is not None
    os.truncate(first.path, first.path.stat().st_size - 1)
    repeated = convert_digits("fp16", tmp_path)
    assert repeated.duration_s is not None
    assert repeated.sha256 == hashlib.sha256(repeated.path.read_bytes()).hexdigest()
    (entry,) = tmp_path.glob("*.json")
    entry.write_bytes(entry.read_bytes()[:-20])
    assert convert_digits("fp16", tmp_path).duration_s is not None
    assert convert_digits("fp16", tmp_path).duration_s is None


def test_concurrent_conversions_of_a_model_both_succeed(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        conversions = list(pool.map(lambda _: convert_digits("int8-dynamic", tmp_path), range(2)))
    for converted in conversions:
        assert converted.sha256 == hashlib.sha256(converted.path.read_bytes()).hexdigest()
    assert [path.suffix for path in tmp_path.iterdir() if path.is_dir()] == []


def test_other_calibration_rows_need_a_new_conversion(cache: Path) -> None:
    convert_digits("int8-static", cache)
    with pytest.raises(
        MeasurementError, match="digits\\.onnx cannot be converted to int8-static: the conversion did not finish"
    ):
        convert_precision(
            DIGITS_MODEL,
            "int8-static",
            {"image": load_calibration_rows()["image"][:8]},
            cache=cache,
            timeout_s=TOO_SHORT_TIMEOUT_S,
        )


def test_conversion_that_times_out_leaves_an_empty_cache(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"did not finish within 0\.001 s"):
        convert_digits("fp16", tmp_path, timeout_s=TOO_SHORT_TIMEOUT_S)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "int8-static needs calibration rows, but there are none"),
        ({}, "int8-static needs calibration rows, but there are none"),
        (
            {"image": np.zeros((0, 1, 8, 8), np.float32)},
            "the calibration arrays do not have the same number of rows, or have no rows",
        ),
    ],
)
def test_int8_static_without_calibration_rows_is_rejected(rows: Feeds | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"cannot be converted to int8-static: {message}") as error:
        convert_precision(DIGITS_MODEL, "int8-static", rows, cache=tmp_path, timeout_s=TOO_SHORT_TIMEOUT_S)
    assert rows is not None or "int8-dynamic" in str(error.value.hint)


def test_calibration_rows_of_another_model_are_a_usage_error(tmp_path: Path) -> None:
    rows = {"picture": np.zeros((4, 1, 8, 8), np.float32)}
    with pytest.raises(UsageError, match="there are no calibration rows for input image, only for picture"):
        convert_precision(DIGITS_MODEL, "int8-static", rows, cache=tmp_path, timeout_s=60)


def test_quantized_model_cannot_be_converted_to_fp16(cache: Path) -> None:
    quantized = convert_digits("int8-static", cache).path
    with pytest.raises(
        UsageError, match=r"cannot be converted to fp16: the model is already quantized \(\d+ \w+Linear\)"
    ):
        convert_precision(quantized, "fp16", cache=cache, timeout_s=60)


def test_model_input_named_file_is_calibrated(tmp_path: Path) -> None:
    model = networks.save_network(tmp_path / "m.onnx", networks.matrix(source="file"))
    rows = {"file": np.random.default_rng(1).random((20, 8), np.float32)}
    assert convert_precision(model, "int8-static", rows, cache=tmp_path / "c", timeout_s=60).calibration_rows == 20


def test_conversion_of_a_hostile_model_is_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"model\.onnx cannot be converted to fp16: .* outside the model's folder"):
        convert_precision(hostile_models.in_the_parent_folder(folder), "fp16", cache=tmp_path / "c", timeout_s=60)
    with pytest.raises(UsageError, match="a node has no operator"):
        convert_precision(hostile_models.a_crowd_of_nodes(folder), "fp16", cache=tmp_path / "c", timeout_s=60)


def test_unwritable_conversion_cache_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=r"cannot be converted to fp16: .*Not a directory") as error:
        convert_digits("fp16", tmp_path / "file" / "cache")
    assert str(tmp_path) in str(error.value.hint)


def test_model_that_changes_during_conversion_is_not_cached(tmp_path: Path) -> None:
    model = networks.save_network(tmp_path / "m.onnx", networks.matrix())

    def overwrite() -> int:
        networks.save_network(model, networks.matrix(classes=4))
        return 0

    with pytest.raises(MeasurementError, match="the model file changed during the conversion"):
        convert_precision(model, "fp16", cache=tmp_path / "c", timeout_s=60, now_ns=overwrite)
    assert list((tmp_path / "c").iterdir()) == []


def test_weights_that_expand_beyond_memory_are_rejected(tmp_path: Path) -> None:
    shape = helper.make_tensor("side", TensorProto.INT64, [2], [2**15, 2**16])
    nodes = [
        helper.make_node("ConstantOfShape", ["side"], ["w"]),  # 8 GiB
        helper.make_node("ReduceMax", ["w"], ["top"], keepdims=0),
        helper.make_node("Add", ["x", "top"], ["y"]),
    ]
    model = networks.network(nodes, {"x": ["b", 8]}, {"y": ["b", 8]}, [shape])
    with pytest.raises(UsageError, match="memory"):
        convert_precision(networks.save_network(tmp_path / "m.onnx", model), "fp16", cache=tmp_path / "c", timeout_s=60)
