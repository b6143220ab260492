from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadgen.payloads.tensors import (
    DTYPES,
    AmbiguousOutputError,
    TensorError,
    TensorInput,
    extract_classes,
    find_class_output,
    generate_inputs,
    read_npz,
    select_inputs,
    to_bytes,
    to_list,
)


def spec(datatype: str = "FP32", shape: tuple[int, ...] = (-1, 3), name: str = "x") -> TensorInput:
    return TensorInput(name, datatype, shape)


def test_npz_arrays_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(3), y=np.arange(3))
    arrays = read_npz(str(tmp_path / "a.npz"))
    assert sorted(arrays) == ["x", "y"]
    assert np.array_equal(arrays["x"], np.eye(3))


def test_npz_with_object_array_is_rejected(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(TensorError, match=r"cannot be read: it is not an \.npz file of plain arrays"):
        read_npz(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 not a zip", b"text"])
def test_missing_or_invalid_npz_is_rejected(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TensorError, match=r"a\.npz"):
        read_npz(str(path))


def test_npy_file_is_rejected_as_npz(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.eye(2))
    with pytest.raises(TensorError, match=r"not an \.npz"):
        read_npz(str(tmp_path / "a.npz"))


def test_inputs_are_converted_to_model_datatype_without_extra_arrays() -> None:
    inputs = select_inputs({"x": np.ones((2, 3)), "y": np.arange(2)}, [spec("FP32")])
    assert list(inputs) == ["x"]
    assert inputs["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "specs", "message"),
    [
        ({"y": np.ones(2)}, [spec()], "the file has no array named x; it has these arrays: y"),
        ({"x": np.ones(2)}, [spec("INT64")], "cannot be converted"),
        ({"x": np.ones(2)}, [spec("BYTES")], "must contain strings"),
        ({"x": np.ones(2)}, [spec("BF16")], "BF16"),
        ({"x": np.ones(2), "z": np.ones(3)}, [spec(), spec(name="z")], "same number of rows"),
        ({"x": np.ones((0, 3))}, [spec()], "at least one"),
        ({"x": np.float32(1)}, [spec()], "at least one"),
    ],
)
def test_arrays_that_do_not_match_model_inputs_are_rejected(
    arrays: dict[str, np.ndarray], specs: list[TensorInput], message: str
) -> None:
    with pytest.raises(TensorError, match=message):
        select_inputs(arrays, specs)


@pytest.mark.parametrize("datatype", [*DTYPES, "BYTES"])
def test_generated_inputs_of_each_datatype_are_seeded(datatype: str) -> None:
    first, same_seed, other_seed = (
        generate_inputs([spec(datatype, (-1, 40, -1))], 4, 5, seed, limit_bytes=2**20)["x"] for seed in (1, 1, 2)
    )
    assert first.shape == (20, 40, 1)
    assert np.array_equal(first, same_seed)
    assert not np.array_equal(first, other_seed)
    if datatype != "BYTES":
        assert first.dtype == DTYPES[datatype]


def test_fixed_first_dimension_sets_rows_per_request() -> None:
    assert generate_inputs([spec(shape=(1, 3))], 1, 2, 0, limit_bytes=2**20)["x"].shape == (2, 3)
    with pytest.raises(TensorError, match="requires 1 rows per request \\(got 8\\)"):
        generate_inputs([spec(shape=(1, 3))], 8, 2, 0, limit_bytes=2**20)
    with pytest.raises(TensorError, match="scalar"):
        generate_inputs([spec(shape=())], 1, 2, 0, limit_bytes=2**20)


@pytest.mark.parametrize(("limit_bytes", "rows"), [(10_000, 20), (3 * 2 * 12, 6), (3 * 2 * 12 - 1, 4), (24, 2)])
def test_generated_requests_are_limited_to_available_memory(limit_bytes: int, rows: int) -> None:
    assert generate_inputs([spec()], 2, 10, 0, limit_bytes=limit_bytes)["x"].shape == (rows, 3)


def test_request_larger_than_memory_limit_is_rejected() -> None:
    with pytest.raises(TensorError, match="one request of 2 rows would take"):
        generate_inputs([spec()], 2, 10, 0, limit_bytes=23)


def test_corrupted_npz_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(1_000))
    content = bytearray(path.read_bytes())
    content[60:120] = b"\xff" * 60
    path.write_bytes(content)
    with pytest.raises(TensorError, match="cannot be read"):
        read_npz(str(path))


def test_tensor_bytes_are_little_endian_with_length_prefixed_strings() -> None:
    assert to_bytes(np.array([[1, 2]], "<i2")) == b"\x01\x00\x02\x00"
    assert to_bytes(np.array([["a", "éé"]])) == b"\x01\x00\x00\x00a\x04\x00\x00\x00" + "éé".encode()


def test_tensors_are_converted_to_flat_lists_for_json() -> None:
    assert to_list(np.array([[1.5, 2], [3, 4]])) == [1.5, 2, 3, 4]
    assert to_list(np.array([b"a", b"b"])) == ["a", "b"]


LABEL = ("label", np.array([[1], [0]], np.int64))
SCORES = ("probabilities", np.array([[0.1, 0.9], [0.8, 0.2]], np.float32))
OTHER = ("boxes", np.zeros((2, 4), np.float32))
TEXT = ("text", np.empty(0))
AMOUNT = ("amount", np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("outputs", "output_name", "index"),
    [
        ([SCORES], None, 0),
        ([LABEL, SCORES], None, 0),
        ([SCORES, LABEL], None, 1),
        ([TEXT, SCORES], None, 1),
        ([AMOUNT, SCORES], None, 1),
        ([LABEL, SCORES], "probabilities", 1),
        ([OTHER, SCORES], "probabilities", 1),
    ],
)
def test_integer_outputs_are_classes_and_float_outputs_are_scores(
    outputs: Any, output_name: str | None, index: int
) -> None:
    assert find_class_output(outputs, 2, output_name) == index
    assert extract_classes(outputs[index][1], 2).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("outputs", "output_name", "message"),
    [
        ([OTHER, SCORES], None, "2 outputs of the model may contain the classes: 'boxes'"),
        ([LABEL, LABEL], None, "2 outputs"),
        ([AMOUNT, TEXT], None, "no output of the model has a class"),
        ([("pixels", np.zeros((2, 3, 3)))], None, "no output"),
        ([("row", np.zeros((1, 3)))], None, "no output"),
        ([("scalar", np.zeros(()))], None, "no output"),
        ([LABEL, SCORES], "logits", "has no output 'logits'; it has these outputs: 'label'"),
        ([AMOUNT, SCORES], "amount", "output 'amount' .* has neither"),
    ],
)
def test_ambiguous_class_output_is_rejected_with_hint(outputs: Any, output_name: str | None, message: str) -> None:
    with pytest.raises(AmbiguousOutputError, match=message) as error:
        find_class_output(outputs, 2, output_name)
    assert error.value.hint
