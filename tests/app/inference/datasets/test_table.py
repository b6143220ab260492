from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.datasets.table import load_arrays, load_table
from app.inference.rows import StoredRows
from app.inference.tensor_spec import TensorSpec

INPUTS = (TensorSpec("x", "float32", (-1, 2)),)


def load_npz(path: Path, inputs: tuple[TensorSpec, ...] = INPUTS, label: str | None = "label") -> StoredRows:
    return load_arrays(path, inputs, label, max_batch=2)


def test_npz_arrays_are_matched_to_inputs_by_name(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "r.npz", x=np.arange(6, dtype=np.float32).reshape(3, 2), label=[0, 1, 2], more=[1])
    rows = load_npz(tmp_path / "r.npz")
    assert len(rows) == 3
    assert rows.batch(2, 2)["x"].tolist() == [[4, 5], [0, 1]]
    assert rows.labels is not None
    assert rows.labels.tolist() == [0, 1, 2]


def test_losslessly_convertible_npz_values_are_cast(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.zeros((1, 2)), label=[0.5])
    assert load_npz(tmp_path / "r.npz").batch(0, 1)["x"].dtype == np.float32


def test_inputs_without_batch_axis_are_not_split_into_rows(tmp_path: Path) -> None:
    inputs = (*INPUTS, TensorSpec("state", "float32", (2, 1)), TensorSpec("rate", "int64", ()))
    x, state = np.zeros((2, 2), np.float32), np.ones((2, 1), np.float32)
    np.savez(tmp_path / "r.npz", label=[1, 2], x=x, state=state, rate=np.int64(16_000))
    feeds = load_npz(tmp_path / "r.npz", inputs).batch(1, 1)
    assert [feeds[spec.name].shape for spec in inputs] == [(1, 2), (2, 1), ()]


def test_model_with_fixed_batch_size_gets_batches_of_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.zeros((5, 2), np.float32), label=np.arange(5))
    assert load_npz(tmp_path / "r.npz", (TensorSpec("x", "float32", (2, 2)),)).batch(4, 2)["x"].shape == (2, 2)


STATE = TensorSpec("state", "float32", (2, 1))


@pytest.mark.parametrize(
    ("inputs", "lengths", "rows"),
    [
        (INPUTS, {"x": 5}, 5),
        (
            (STATE, *INPUTS),
            {"x": 5, "state": 2},
            5,
        ),  # the state has no batch axis: the rows are those of the dynamic axis
        ((TensorSpec("x", "float32", (1, 2)),), {"x": 5}, 5),
        ((STATE, TensorSpec("x", "float32", (1, 2))), {"x": 5, "state": 2}, 5),
        ((TensorSpec("x", "float32", (2, 2)),), {"x": 2}, 2),
    ],
)
def test_unlabeled_npz_has_the_rows_of_its_inputs(
    tmp_path: Path, inputs: tuple[TensorSpec, ...], lengths: dict[str, int], rows: int
) -> None:
    arrays = {spec.name: np.zeros((lengths[spec.name], spec.shape[1]), np.float32) for spec in inputs}
    np.savez(tmp_path / "r.npz", **arrays)  # type: ignore[arg-type]
    stored = load_npz(tmp_path / "r.npz", inputs, None)
    assert (len(stored), stored.labels) == (rows, None)
    assert stored.batch(rows - 1, 2)["x"].shape == (2, 2)
    assert all(stored.batch(0, 1)["state"].shape == STATE.shape for spec in inputs if spec is STATE)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": np.zeros((3, 2)), "y": np.zeros((4, 2))},
            "y has shape 4 x 2 in r.npz, with 3 rows, but the model needs shape any x 2",
        ),
        ({"x": np.zeros(()), "y": np.zeros((4, 2))}, r"x has shape \(\) in r.npz, with no rows"),
        ({"x": np.zeros((0, 2)), "y": np.zeros((0, 2))}, "has no rows"),
        ({"x": np.zeros((3, 2)), "label": [1]}, "no array named y"),
    ],
)
def test_unlabeled_npz_with_mismatched_arrays_is_rejected(
    tmp_path: Path, arrays: dict[str, object], message: str
) -> None:
    np.savez(tmp_path / "r.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message) as error:
        load_npz(tmp_path / "r.npz", (*INPUTS, TensorSpec("y", "float32", (-1, 2))), None)
    assert "label" not in (error.value.hint or "")


def test_npz_without_label_array_suggests_labels_null(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.zeros((1, 2), np.float32))
    with pytest.raises(UsageError, match="no array named label") as error:
        load_npz(tmp_path / "r.npz")
    assert (error.value.hint or "").endswith("or set labels: null in the profile if there are no labels.")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label": [1]}, r"r\.npz has no array named x; it contains label"),
        ({"x": np.zeros((1, 2), np.float32)}, "no array named label"),
        (
            {"x": np.zeros((2, 2), np.float32), "label": [1]},
            "x has shape 2 x 2 in r.npz, with 1 labels, but the model needs shape any x 2",
        ),
        ({"x": np.zeros((1, 3), np.float32), "label": [1]}, "x has shape 1 x 3"),
        ({"x": np.zeros((0, 2), np.float32), "label": np.zeros(0)}, "has no rows"),
        ({"x": np.full((1, 2), 0.1), "label": [1]}, "x is float64 in r\\.npz, but the model needs float32"),
        ({"x": np.array([["a", None]], dtype=object), "label": [1]}, r"not a valid \.npz file of arrays"),
        ({"x": np.zeros((1, 2), np.float32), "label": ["cat"]}, "labels of r.npz are not one number per row"),
    ],
)
def test_npz_arrays_that_do_not_fit_the_model_are_rejected(
    tmp_path: Path, arrays: dict[str, object], message: str
) -> None:
    np.savez(tmp_path / "r.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        load_npz(tmp_path / "r.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x93NUMPY\x01\x00\xff\xff"])
def test_invalid_npz_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"not a valid \.npz file of arrays"):
        load_npz(tmp_path / "r.npz")


def test_npy_file_with_a_single_array_is_rejected(tmp_path: Path) -> None:
    np.save(tmp_path / "r.npy", np.zeros(3))
    with pytest.raises(UsageError, match="it is a single array"):
        load_npz(tmp_path / "r.npy")


def test_damaged_npz_is_loaded_or_a_usage_error(tmp_path: Path) -> None:
    path, rejected = tmp_path / "r.npz", 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        save = np.savez_compressed if seed % 2 else np.savez
        save(path, x=rng.random((20, 2), np.float32), label=np.arange(20))
        content = bytearray(path.read_bytes())
        for position in rng.integers(0, len(content), 3):
            content[position] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            assert load_npz(path).batch(0, 2)["x"].shape == (2, 2)
        except UsageError:
            rejected += 1
    assert 100 < rejected < 300


def test_npz_header_with_excessive_shape_is_rejected(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000, 2), }".ljust(118) + b"\n"
    with zipfile.ZipFile(tmp_path / "r.npz", "w") as archive:
        for name in ("x.npy", "label.npy"):
            archive.writestr(name, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(UsageError, match=r"not a valid \.npz file of arrays"):
        load_npz(tmp_path / "r.npz")


def test_npz_with_excessive_unpacked_size_is_rejected(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.zeros((1, 2), np.float32), label=[1])
    with zipfile.ZipFile(tmp_path / "r.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb.npy", "w") as member:
            member.write(b"")
        archive.getinfo("bomb.npy").file_size = 3 * 2**30  # the size in the directory of the archive
    with pytest.raises(UsageError, match=r"unpacks to 3\.0 GiB, above the maximum of 2 GiB"):
        load_npz(tmp_path / "r.npz")


X = TensorSpec("x", "float32", (-1, 2))
AGE, CITY = TensorSpec("age", "float32", (-1, 1)), TensorSpec("city", "object", (-1,))


def load_csv(folder: Path, text: str | bytes, *inputs: TensorSpec, label: str | None = "label") -> StoredRows:
    path = folder / "r.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_table(path, inputs, label, max_batch=2)


def test_csv_columns_feed_a_single_input_in_file_order(tmp_path: Path) -> None:
    rows = load_csv(tmp_path, "b,label,a\n0.1,1,2\n3,0,4e-3\n", X)
    assert rows.batch(0, 2)["x"].tolist() == np.array([[0.1, 2], [3, 4e-3]], np.float32).tolist()
    assert rows.labels is not None
    assert rows.labels.tolist() == [1, 0]
    assert rows.labels.dtype == np.int64


def test_csv_columns_are_matched_to_inputs_by_name(tmp_path: Path) -> None:
    rows = load_csv(tmp_path, "city,price,age,other\nBern,1.5,30,x\nUlm,2.5,40,y\n", AGE, CITY, label="price")
    feeds = rows.batch(1, 2)
    assert feeds["age"].tolist() == [[40], [30]]
    assert feeds["city"].tolist() == ["Ulm", "Bern"]
    assert feeds["city"].dtype == object
    assert rows.labels is not None
    assert rows.labels.tolist() == [1.5, 2.5]


def test_all_columns_of_an_unlabeled_csv_are_inputs(tmp_path: Path) -> None:
    rows = load_csv(tmp_path, "a,label\n1,2\n3,4\n5,6\n", X, label=None)
    assert (len(rows), rows.labels) == (3, None)
    assert rows.batch(1, 2)["x"].tolist() == [[3, 4], [5, 6]]
    with pytest.raises(UsageError, match="has 3 columns, but the model needs shape any x 2"):
        load_csv(tmp_path, "a,b,label\n1,2,3\n", X, label=None)


def test_csv_without_label_column_suggests_labels_null(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column label") as error:
        load_csv(tmp_path, "a,b\n1,2\n", X)
    assert (
        error.value.hint == "Set the column of the labels, or set labels: null in the profile if there are no labels."
    )


@pytest.mark.parametrize(
    ("shape", "row_shape"),
    [((-1, 2, 2), (1, 2, 2)), ((-1, 1, 2, 2), (1, 1, 2, 2)), ((-1, -1), (1, 4)), ((1, 4), (1, 4))],
)
def test_csv_columns_are_reshaped_to_the_input(
    tmp_path: Path, shape: tuple[int, ...], row_shape: tuple[int, ...]
) -> None:
    rows = load_csv(tmp_path, "a,b,c,d,label\n1,2,3,4,0\n", TensorSpec("x", "float32", shape))
    assert rows.batch(0, 1)["x"].shape == row_shape
    assert rows.batch(0, 1)["x"].ravel().tolist() == [1, 2, 3, 4]


def test_csv_integers_are_cast_to_an_integer_input(tmp_path: Path) -> None:
    assert load_csv(tmp_path, "a,b,label\n1,2.0,0\n", TensorSpec("x", "int64", (-1, 2))).batch(0, 1)["x"].tolist() == [
        [1, 2]
    ]


def test_csv_strings_feed_a_string_input(tmp_path: Path) -> None:
    assert load_csv(tmp_path, "text,label\nhi,0\n", TensorSpec("t", "object", (-1, 1))).batch(0, 1)["t"].tolist() == [
        ["hi"]
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "r.csv has no column label; its columns are a, b"),
        ("a,b,label\n", "has no rows"),
        ("a,b,label\n1,2,cat\n", "labels of r.csv are not one number per row"),
        ("a,label\n1,2\n", "has 1 column besides the labels, but the model needs shape any x 2 in input x"),
        ("a,b,label\n1,two,3\n", "the column b of r.csv contains values that are not numbers"),
        ("a,b,label\n1,2,3\n1,,3\n", "row 2 of r.csv has no value in the column b"),
        ("a,b,label\n1,2,3\n1,2,\n", "row 2 of r.csv has no value in the column label"),
        ("a,a,label\n1,2,3\n", "duplicate columns a"),
        ("a,b,label\n1,2,3\n1,2\n", "is not a valid .csv file"),
        ("a,b,label\n1,2,1e999\n", "row 1 of r.csv has a label that is not a finite number"),
        ("a,b,label\n1,1e300,3\n", "the model needs float32"),
        ("", "is not a valid .csv file"),
        (b"\xff\xfe\x00\n\x01", "is not a valid .csv file"),
        (b"a,b,label\n\xff,2,3\n", "the column a of r.csv contains neither numbers nor strings"),
    ],
)
def test_csv_that_does_not_fit_the_model_is_rejected(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_csv(tmp_path, text, X)


def test_csv_without_a_column_per_input_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no column city, but the model has 2 inputs"):
        load_csv(tmp_path, "age,label\n1,2\n", AGE, CITY)


def test_csv_column_for_a_wider_input_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the column x has one value per row, but the model needs shape any x 2"):
        load_csv(tmp_path, "x,label\n1,2\n", X)


def test_csv_fractions_for_an_integer_input_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="x is float64 in r\\.csv, but the model needs int64"):
        load_csv(tmp_path, "a,b,label\n1,2.5,0\n", TensorSpec("x", "int64", (-1, 2)))


def test_csv_above_the_maximum_size_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with path.open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(UsageError, match="larger than 1 GiB"):
        load_table(path, (X,), "label", 1)
