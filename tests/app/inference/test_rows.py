from __future__ import annotations

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.rows import (
    InputRows,
    StoredRows,
    SyntheticRows,
    build_synthetic_feeds,
    check_batch,
    find_batched_input_names,
)
from app.inference.tensor_spec import TensorSpec

X = TensorSpec("x", "float32", (-1, 2))
STATE = TensorSpec("state", "float32", (2, 1, 4))
SCALAR = TensorSpec("rate", "int64", ())
CHANNELS = TensorSpec("image", "float32", (3, 4, 4))


def build_labeled_rows(rows: int, largest_batch: int) -> StoredRows:
    values = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    return StoredRows({"x": values}, np.arange(rows), max_batch=largest_batch)


@pytest.mark.parametrize("largest_batch", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("start", [0, 2, 3, 31])
def test_batches_wrap_around_the_rows(largest_batch: int, size: int, start: int) -> None:
    batch = build_labeled_rows(3, largest_batch).batch(start, size)["x"]
    assert batch[:, 0].tolist() == [2 * (index % 3) for index in range(start, start + size)]
    assert batch.flags.c_contiguous


@pytest.mark.parametrize("rows", [build_labeled_rows(5, 4), SyntheticRows((X, STATE), 4)])
def test_batch_is_a_view_of_the_rows(rows: InputRows) -> None:
    last = len(rows) - 1
    first, second = rows.batch(last, 4), rows.batch(last, 4)
    assert all(np.shares_memory(first[name], second[name]) for name in first)
    assert np.shares_memory(rows.batch(last, 1)["x"], first["x"])


def test_whole_inputs_are_in_every_batch() -> None:
    state = np.ones((2, 1, 4), np.float32)
    rows = StoredRows({"x": np.zeros((5, 2))}, np.arange(5), max_batch=2, whole_inputs={"state": state})
    assert rows.batch(4, 2)["state"] is state
    assert rows.batch(4, 4)["state"] is state


def test_synthetic_feeds_have_declared_types_and_are_deterministic() -> None:
    inputs = (
        TensorSpec("x", "float16", (-1, 2)),
        TensorSpec("ids", "int64", (-1, -1)),
        TensorSpec("text", "object", (-1,)),
        TensorSpec("flag", "bool", (1,)),
        TensorSpec("picture", "uint8", (-1, 4, 4, 3)),
        TensorSpec("double", "float64", (-1, 1)),
        SCALAR,
        TensorSpec("word", "object", ()),
        TensorSpec("share", "float16", ()),
        STATE,
    )
    feeds = build_synthetic_feeds(inputs, batch=3)
    assert {name: (array.dtype.name, array.shape) for name, array in feeds.items()} == {
        "x": ("float16", (3, 2)),
        "ids": ("int64", (3, 8)),
        "text": ("object", (3,)),
        "flag": ("bool", (1,)),
        "picture": ("uint8", (3, 4, 4, 3)),
        "double": ("float64", (3, 1)),
        "rate": ("int64", ()),
        "word": ("object", ()),
        "share": ("float16", ()),
        "state": ("float32", (2, 1, 4)),
    }
    assert all(isinstance(word, str) and word.isdecimal() for word in feeds["text"])
    assert feeds["x"].tolist() == build_synthetic_feeds(inputs, batch=3)["x"].tolist()


def test_synthetic_rows_are_distinct_and_independent_of_batch_size() -> None:
    single, eights = SyntheticRows((X, STATE), 1), SyntheticRows((X, STATE), 8)
    assert len(single) == len(eights) == 256
    values = eights.batch(0, 256)["x"]
    assert len(np.unique(values, axis=0)) == 256
    assert np.array_equal(np.concatenate([single.batch(row, 1)["x"] for row in range(256)]), values)
    assert np.array_equal(single.batch(5, 1)["state"], eights.batch(0, 8)["state"])


def test_synthetic_inputs_of_equal_shape_have_different_values() -> None:
    feeds = build_synthetic_feeds((X, TensorSpec("y", "float32", (-1, 2))), 1)
    assert feeds["x"].tolist() != feeds["y"].tolist()


def test_number_of_synthetic_rows_shrinks_with_row_size() -> None:
    assert len(SyntheticRows((TensorSpec("x", "float32", (-1, 3, 512, 512)),), 1)) == 21
    assert len(SyntheticRows((TensorSpec("x", "float32", (-1, 10, 1024, 1024)),), 1)) == 2


def test_synthetic_masks_and_whole_integer_inputs_are_ones() -> None:
    mask, lengths = TensorSpec("attention_mask", "int64", (-1, -1)), TensorSpec("lengths", "int64", (50,))
    feeds = build_synthetic_feeds((mask, lengths, SCALAR), 16)
    assert feeds["attention_mask"].all()
    assert feeds["lengths"].all()
    assert feeds["rate"] == 1


def test_dynamic_axes_have_set_lengths_or_a_noted_default() -> None:
    inputs = (
        TensorSpec("ids", "int64", (-1, -1, -1), ("batch", "sequence", None)),
        TensorSpec("mask", "int64", (-1, -1), ("batch", "sequence")),
        TensorSpec("past", "float32", (-1, 2, -1), ("batch", None, "past\x1b")),
    )
    rows = SyntheticRows(inputs, 4, {"sequence": 128})
    assert [array.shape for array in rows.batch(0, 4).values()] == [(4, 128, 8), (4, 128), (4, 2, 8)]
    assert rows.notes == (
        "axis 2 of ids is dynamic; its length is assumed to be 8",
        "axis past� is dynamic; its length is assumed to be 8",
    )
    assert "axis sequence is dynamic; its length is assumed to be 8" in SyntheticRows(inputs, 4).notes


@pytest.mark.parametrize(
    ("inputs", "batch", "names"),
    [
        ((X,), 4, {"x"}),
        ((X, STATE), 2, {"x"}),  # x has a dynamic first axis: the 2 of the state is not a batch
        ((STATE,), 2, {"state"}),
        ((STATE, CHANNELS), 3, {"image"}),
        ((CHANNELS,), 1, set()),
        ((SCALAR,), 1, set()),
    ],
)
def test_batched_inputs_have_a_dynamic_or_matching_first_axis(
    inputs: tuple[TensorSpec, ...], batch: int, names: set[str]
) -> None:
    assert find_batched_input_names(inputs, batch) == names


def test_model_without_batch_axis_has_one_synthetic_row() -> None:
    rows = SyntheticRows((CHANNELS, SCALAR), 1)
    check_batch((CHANNELS, SCALAR), 1)
    assert len(rows) == 1
    assert [array.shape for array in rows.batch(7, 1).values()] == [(3, 4, 4), ()]
    assert rows.notes == (
        "no input has a batch axis, so a call counts as one row. If the first axis of image contains rows, use batch "
        "size 3",
    )


def test_batch_size_must_match_a_fixed_first_axis() -> None:
    check_batch((X,), 7)
    check_batch((X, STATE, SCALAR), 7)
    check_batch((STATE,), 2)
    with pytest.raises(UsageError, match="has a fixed batch size of 2 in input x, not 3"):
        check_batch((TensorSpec("x", "float32", (2, 2)),), 3)
    with pytest.raises(UsageError, match="does not support batch size 3"):
        check_batch((SCALAR,), 3)


@pytest.mark.parametrize("shape", [(-1, 2**40), (2**40, 1), (-1, 2**20)])
def test_synthetic_inputs_above_the_memory_limit_are_rejected(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="GiB for a batch of 2000, above the maximum of 4 GiB"):
        SyntheticRows((TensorSpec("x", "float32", shape),), 2_000)
