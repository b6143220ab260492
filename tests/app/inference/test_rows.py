from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.rows import check_batch, load_rows, synthetic_feeds
from app.inference.tensor_spec import TensorSpec

INPUTS = (TensorSpec("x", "float32", (-1, 2)),)


def test_rows_go_round(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.arange(6, dtype=np.float32).reshape(3, 2), label=[0, 1, 2])
    rows = load_rows(tmp_path / "r.npz", INPUTS)
    assert len(rows) == 3
    assert rows.batch(2, 2)["x"].tolist() == [[4, 5], [0, 1]]


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"label": [1]}, "no array named x"),
        ({"x": np.zeros((1, 2), np.float32)}, "no array named label"),
        ({"x": np.zeros((2, 2), np.float32), "label": [1]}, "same number of rows"),
        ({"x": np.zeros((0, 2), np.float32), "label": []}, "same number of rows"),
        ({"x": np.zeros((1, 2)), "label": [1]}, r"x is float64 in r\.npz; the model takes float32"),
        ({"x": np.array([["a", None]], dtype=object), "label": [1]}, r"not an \.npz of plain arrays"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, object], sentence: str) -> None:
    np.savez(tmp_path / "r.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=sentence):
        load_rows(tmp_path / "r.npz", INPUTS)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut short"])
def test_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "r.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"not an \.npz of plain arrays"):
        load_rows(tmp_path / "r.npz", INPUTS)


def test_single_array_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "r.npy", np.zeros(3))
    with pytest.raises(UsageError, match=r"not an \.npz of plain arrays"):
        load_rows(tmp_path / "r.npy", INPUTS)


def test_synthetic_feeds_have_the_declared_types_and_repeat() -> None:
    inputs = (
        TensorSpec("x", "float16", (-1, 2)),
        TensorSpec("ids", "int64", (-1, -1)),
        TensorSpec("text", "object", (-1,)),
        TensorSpec("flag", "bool", (1,)),
    )
    feeds = synthetic_feeds(inputs, batch=3)
    assert {name: (array.dtype.name, array.shape) for name, array in feeds.items()} == {
        "x": ("float16", (3, 2)),
        "ids": ("int64", (3, 8)),
        "text": ("object", (3,)),
        "flag": ("bool", (1,)),
    }
    assert feeds["x"].tolist() == synthetic_feeds(inputs, batch=3)["x"].tolist()


def test_batch_must_fit_a_fixed_first_axis() -> None:
    check_batch(INPUTS, 7)
    with pytest.raises(UsageError, match="takes 2 rows at a time in x, not 3"):
        check_batch((TensorSpec("x", "float32", (2, 2)),), 3)
