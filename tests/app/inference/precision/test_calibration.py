from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.precision.calibration import load_batches
from app.inference.tensor_spec import TensorSpec

FREE = (TensorSpec("x", "float32", (-1, 3)),)


def written(folder: Path, *arrays: Any) -> Path:
    np.savez(folder / "rows.npz", *arrays)
    return folder / "rows.npz"


def test_all_rows_come_in_batches_and_no_array_that_is_no_input(tmp_path: Path) -> None:
    rows = np.arange(60, dtype=np.float32).reshape(20, 3)
    batches = load_batches(written(tmp_path, np.zeros(20), rows), ("label", "x"), FREE)
    assert [len(batch["x"]) for batch in batches] == [16, 4]
    assert [set(batch) for batch in batches] == [{"x"}, {"x"}]
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in batches]), rows)


def test_model_of_a_fixed_batch_has_whole_batches_only(tmp_path: Path) -> None:
    path, fixed = written(tmp_path, np.zeros((20, 3), np.float32)), (TensorSpec("x", "float32", (8, 3)),)
    assert [len(batch["x"]) for batch in load_batches(path, ("x",), fixed)] == [8, 8]
    with pytest.raises(UsageError, match="takes 32 rows at a time, and there are 20"):
        load_batches(path, ("x",), (TensorSpec("x", "float32", (32, 3)),))


def test_text_comes_back_as_the_runtime_takes_it(tmp_path: Path) -> None:
    (batch,) = load_batches(written(tmp_path, np.array(["a", "bc"])), ("x",), (TensorSpec("x", "object", (-1,)),))
    assert batch["x"].dtype == object
    assert batch["x"].tolist() == ["a", "bc"]


def test_rows_of_another_type_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it takes float32 as x, and the rows are float64"):
        load_batches(written(tmp_path, np.zeros((2, 3))), ("x",), FREE)
