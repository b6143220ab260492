from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.datasets.labeled import load_labeled_rows, select_calibration_rows
from app.inference.tensor_spec import TensorSpec


def test_calibration_rows_of_sorted_labels_include_every_class() -> None:
    labels = np.repeat(np.arange(10), 45)
    assert set(labels[select_calibration_rows(len(labels), 128)]) == set(range(10))


@pytest.mark.parametrize(("rows", "requested", "count"), [(450, 128, 112), (10_000, 128, 128), (3, 128, 1), (1, 1, 1)])
def test_calibration_uses_at_most_a_quarter_of_rows_and_at_least_one(rows: int, requested: int, count: int) -> None:
    places = select_calibration_rows(rows, requested)
    assert len(places) == count
    assert 0 <= places.min() <= places.max() < rows


INPUTS = (TensorSpec("x", "float32", (-1, 2)),)


def test_csv_npz_and_class_folders_load_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.CSV").write_text("a,b,answer\n1,2,0\n3,4,1\n")
    np.savez(tmp_path / "rows.npz", x=np.array([[1, 2], [3, 4]], np.float32), answer=[0, 1])
    for name, values in (("no", [1.0, 2.0]), ("yes", [3.0, 4.0])):
        (tmp_path / "rows" / name).mkdir(parents=True)
        np.save(tmp_path / "rows" / name / "x.npy", values)
    for path in ("rows.CSV", "rows.npz", "rows"):
        rows = load_labeled_rows(tmp_path / path, INPUTS, "answer", max_batch=4)
        assert rows.batch(1, 2)["x"].tolist() == [[3, 4], [1, 2]]
        assert rows.labels is not None
        assert rows.labels.tolist() == [0, 1]


def test_csv_npz_and_folders_load_without_labels(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n3,4\n")
    np.savez(tmp_path / "rows.npz", x=np.array([[1, 2], [3, 4]], np.float32))
    (tmp_path / "rows").mkdir()
    for name, values in (("a", [1.0, 2.0]), ("b", [3.0, 4.0])):
        np.save(tmp_path / "rows" / f"{name}.npy", values)
    for path in ("rows.csv", "rows.npz", "rows"):
        rows = load_labeled_rows(tmp_path / path, INPUTS, None, max_batch=4)
        assert (rows.batch(1, 2)["x"].tolist(), rows.labels) == ([[3, 4], [1, 2]], None)


def test_missing_data_path_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no rows were found at .*absent"):
        load_labeled_rows(tmp_path / "absent.npz", INPUTS)
