from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.datasets.labelled import load_labelled
from app.inference.tensor_spec import TensorSpec

INPUTS = (TensorSpec("x", "float32", (-1, 2)),)


def test_each_kind_gives_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.CSV").write_text("a,b,answer\n1,2,0\n3,4,1\n")
    np.savez(tmp_path / "rows.npz", x=np.array([[1, 2], [3, 4]], np.float32), answer=[0, 1])
    for name, values in (("no", [1.0, 2.0]), ("yes", [3.0, 4.0])):
        (tmp_path / "rows" / name).mkdir(parents=True)
        np.save(tmp_path / "rows" / name / "x.npy", values)
    for path in ("rows.CSV", "rows.npz", "rows"):
        rows = load_labelled(tmp_path / path, INPUTS, "answer", largest_batch=4)
        assert rows.batch(1, 2)["x"].tolist() == [[3, 4], [1, 2]]
        assert rows.labels.tolist() == [0, 1]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there are no rows at .*absent"):
        load_labelled(tmp_path / "absent.npz", INPUTS)
