from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.datasets.table import load_table
from app.inference.rows import StoredRows
from app.inference.tensor_spec import TensorSpec

X = TensorSpec("x", "float32", (-1, 2))
AGE, CITY = TensorSpec("age", "float32", (-1, 1)), TensorSpec("city", "object", (-1,))


def loaded(folder: Path, text: str | bytes, *inputs: TensorSpec, label: str | None = "label") -> StoredRows:
    path = folder / "r.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_table(path, inputs, label, largest_batch=2)


def test_all_columns_feed_the_only_input_in_the_files_order(tmp_path: Path) -> None:
    rows = loaded(tmp_path, "b,label,a\n0.1,1,2\n3,0,4e-3\n", X)
    assert rows.batch(0, 2)["x"].tolist() == np.array([[0.1, 2], [3, 4e-3]], np.float32).tolist()
    assert rows.labels is not None
    assert rows.labels.tolist() == [1, 0]
    assert rows.labels.dtype == np.int64


def test_columns_named_like_inputs_feed_them(tmp_path: Path) -> None:
    rows = loaded(tmp_path, "city,price,age,other\nBern,1.5,30,x\nUlm,2.5,40,y\n", AGE, CITY, label="price")
    feeds = rows.batch(1, 2)
    assert feeds["age"].tolist() == [[40], [30]]
    assert feeds["city"].tolist() == ["Ulm", "Bern"]
    assert feeds["city"].dtype == object
    assert rows.labels is not None
    assert rows.labels.tolist() == [1.5, 2.5]


def test_without_labels_all_columns_are_inputs(tmp_path: Path) -> None:
    rows = loaded(tmp_path, "a,label\n1,2\n3,4\n5,6\n", X, label=None)
    assert (len(rows), rows.labels) == (3, None)
    assert rows.batch(1, 2)["x"].tolist() == [[3, 4], [5, 6]]
    with pytest.raises(UsageError, match="has 3 columns; the model takes any x 2"):
        loaded(tmp_path, "a,b,label\n1,2,3\n", X, label=None)


def test_an_absent_column_of_labels_may_be_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column label") as caught:
        loaded(tmp_path, "a,b\n1,2\n", X)
    assert caught.value.hint == "Name the labels' column, or say labels: null in the profile where there are none."


@pytest.mark.parametrize(
    ("shape", "fed"), [((-1, 2, 2), (1, 2, 2)), ((-1, 1, 2, 2), (1, 1, 2, 2)), ((-1, -1), (1, 4)), ((1, 4), (1, 4))]
)
def test_columns_take_the_shape_of_the_input(tmp_path: Path, shape: tuple[int, ...], fed: tuple[int, ...]) -> None:
    rows = loaded(tmp_path, "a,b,c,d,label\n1,2,3,4,0\n", TensorSpec("x", "float32", shape))
    assert rows.batch(0, 1)["x"].shape == fed
    assert rows.batch(0, 1)["x"].ravel().tolist() == [1, 2, 3, 4]


def test_whole_numbers_feed_integers(tmp_path: Path) -> None:
    assert loaded(tmp_path, "a,b,label\n1,2.0,0\n", TensorSpec("x", "int64", (-1, 2))).batch(0, 1)["x"].tolist() == [
        [1, 2]
    ]


def test_words_feed_a_text_input(tmp_path: Path) -> None:
    assert loaded(tmp_path, "text,label\nhi,0\n", TensorSpec("t", "object", (-1, 1))).batch(0, 1)["t"].tolist() == [
        ["hi"]
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", "r.csv has no column label; it has a, b"),
        ("a,b,label\n", "holds no rows"),
        ("a,b,label\n1,2,cat\n", "labels of r.csv are not one number a row"),
        ("a,label\n1,2\n", "has 1 columns beside the labels; the model takes any x 2 in x"),
        ("a,b,label\n1,two,3\n", "the column b of r.csv is not all numbers"),
        ("a,b,label\n1,2,3\n1,,3\n", "row 2 of r.csv has no value in the column b"),
        ("a,b,label\n1,2,3\n1,2,\n", "row 2 of r.csv has no value in the column label"),
        ("a,a,label\n1,2,3\n", "more than one column a"),
        ("a,b,label\n1,2,3\n1,2\n", "is not a table"),
        ("a,b,label\n1,2,1e999\n", "no number"),
        ("a,b,label\n1,1e300,3\n", "the model takes float32"),
        ("", "is not a table"),
        (b"\xff\xfe\x00\n\x01", "is not a table"),
        (b"a,b,label\n\xff,2,3\n", "the column a of r.csv is neither numbers nor text"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        loaded(tmp_path, text, X)


def test_a_model_of_several_inputs_needs_their_columns(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no column city, and the model has 2 inputs"):
        loaded(tmp_path, "age,label\n1,2\n", AGE, CITY)


def test_a_column_is_one_value_a_row(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the column x has one value a row; the model takes any x 2"):
        loaded(tmp_path, "x,label\n1,2\n", X)


def test_fractions_do_not_feed_integers(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x is float64 in r\.csv; the model takes int64"):
        loaded(tmp_path, "a,b,label\n1,2.5,0\n", TensorSpec("x", "int64", (-1, 2)))


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with path.open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(UsageError, match="more than 1 GiB"):
        load_table(path, (X,), "label", 1)
