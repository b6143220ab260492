from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.errors import UsageError
from app.inference.datasets.arrays import load_arrays
from app.inference.rows import StoredRows
from app.inference.tensor_spec import TensorSpec

INPUTS = (TensorSpec("x", "float32", (-1, 2)),)


def loaded(path: Path, inputs: tuple[TensorSpec, ...] = INPUTS, label: str | None = "label") -> StoredRows:
    return load_arrays(path, inputs, label, largest_batch=2)


def test_arrays_by_the_names_of_the_inputs(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "r.npz", x=np.arange(6, dtype=np.float32).reshape(3, 2), label=[0, 1, 2], more=[1])
    rows = loaded(tmp_path / "r.npz")
    assert len(rows) == 3
    assert rows.batch(2, 2)["x"].tolist() == [[4, 5], [0, 1]]
    assert rows.labels is not None
    assert rows.labels.tolist() == [0, 1, 2]


def test_values_that_lose_nothing_are_cast(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.zeros((1, 2)), label=[0.5])
    assert loaded(tmp_path / "r.npz").batch(0, 1)["x"].dtype == np.float32


def test_inputs_without_a_batch_axis_are_given_whole(tmp_path: Path) -> None:
    inputs = (*INPUTS, TensorSpec("state", "float32", (2, 1)), TensorSpec("rate", "int64", ()))
    x, state = np.zeros((2, 2), np.float32), np.ones((2, 1), np.float32)
    np.savez(tmp_path / "r.npz", label=[1, 2], x=x, state=state, rate=np.int64(16_000))
    feeds = loaded(tmp_path / "r.npz", inputs).batch(1, 1)
    assert [feeds[spec.name].shape for spec in inputs] == [(1, 2), (2, 1), ()]


def test_a_model_of_a_fixed_batch_is_fed_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.zeros((5, 2), np.float32), label=np.arange(5))
    assert loaded(tmp_path / "r.npz", (TensorSpec("x", "float32", (2, 2)),)).batch(4, 2)["x"].shape == (2, 2)


STATE = TensorSpec("state", "float32", (2, 1))


@pytest.mark.parametrize(
    ("inputs", "lengths", "rows"),
    [
        (INPUTS, {"x": 5}, 5),
        ((STATE, *INPUTS), {"x": 5, "state": 2}, 5),  # the state is whole: the rows are the free axis's
        ((TensorSpec("x", "float32", (1, 2)),), {"x": 5}, 5),
        ((STATE, TensorSpec("x", "float32", (1, 2))), {"x": 5, "state": 2}, 5),
        ((TensorSpec("x", "float32", (2, 2)),), {"x": 2}, 2),
    ],
)
def test_without_labels_the_rows_are_the_inputs(
    tmp_path: Path, inputs: tuple[TensorSpec, ...], lengths: dict[str, int], rows: int
) -> None:
    arrays = {spec.name: np.zeros((lengths[spec.name], spec.shape[1]), np.float32) for spec in inputs}
    np.savez(tmp_path / "r.npz", **arrays)  # type: ignore[arg-type]
    stored = loaded(tmp_path / "r.npz", inputs, None)
    assert (len(stored), stored.labels) == (rows, None)
    assert stored.batch(rows - 1, 2)["x"].shape == (2, 2)
    assert all(stored.batch(0, 1)["state"].shape == STATE.shape for spec in inputs if spec is STATE)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": np.zeros((3, 2)), "y": np.zeros((4, 2))}, "y is 4 x 2 in r.npz, with 3 rows; the model takes any x 2"),
        ({"x": np.zeros(()), "y": np.zeros((4, 2))}, "x is a single number in r.npz, with no rows"),
        ({"x": np.zeros((0, 2)), "y": np.zeros((0, 2))}, "holds no rows"),
        ({"x": np.zeros((3, 2)), "label": [1]}, "no array named y"),
    ],
)
def test_inputs_without_labels_that_do_not_fit_are_refused(
    tmp_path: Path, arrays: dict[str, object], sentence: str
) -> None:
    np.savez(tmp_path / "r.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=sentence) as caught:
        loaded(tmp_path / "r.npz", (*INPUTS, TensorSpec("y", "float32", (-1, 2))), None)
    assert "label" not in (caught.value.hint or "")


def test_absent_labels_may_be_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.zeros((1, 2), np.float32))
    with pytest.raises(UsageError, match="no array named label") as caught:
        loaded(tmp_path / "r.npz")
    assert (caught.value.hint or "").endswith("or say labels: null in the profile where there are none.")


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"label": [1]}, r"r\.npz has no array named x; it has label"),
        ({"x": np.zeros((1, 2), np.float32)}, "no array named label"),
        (
            {"x": np.zeros((2, 2), np.float32), "label": [1]},
            "x is 2 x 2 in r.npz, with 1 labels; the model takes any x 2",
        ),
        ({"x": np.zeros((1, 3), np.float32), "label": [1]}, "x is 1 x 3"),
        ({"x": np.zeros((0, 2), np.float32), "label": np.zeros(0)}, "holds no rows"),
        ({"x": np.full((1, 2), 0.1), "label": [1]}, r"x is float64 in r\.npz; the model takes float32"),
        ({"x": np.array([["a", None]], dtype=object), "label": [1]}, r"not an \.npz of plain arrays"),
        ({"x": np.zeros((1, 2), np.float32), "label": ["cat"]}, "labels of r.npz are not one number a row"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, object], sentence: str) -> None:
    np.savez(tmp_path / "r.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=sentence):
        loaded(tmp_path / "r.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x93NUMPY\x01\x00\xff\xff"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"not an \.npz of plain arrays"):
        loaded(tmp_path / "r.npz")


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "r.npy", np.zeros(3))
    with pytest.raises(UsageError, match="it is a single array"):
        loaded(tmp_path / "r.npy")


def test_a_damaged_file_is_an_error_of_ours(tmp_path: Path) -> None:
    path, refused = tmp_path / "r.npz", 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        save = np.savez_compressed if seed % 2 else np.savez
        save(path, x=rng.random((20, 2), np.float32), label=np.arange(20))
        content = bytearray(path.read_bytes())
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            assert loaded(path).batch(0, 2)["x"].shape == (2, 2)
        except UsageError:
            refused += 1
    assert 100 < refused < 300


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000, 2), }".ljust(118) + b"\n"
    with zipfile.ZipFile(tmp_path / "r.npz", "w") as archive:
        for name in ("x.npy", "label.npy"):
            archive.writestr(name, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(UsageError, match=r"not an \.npz of plain arrays"):
        loaded(tmp_path / "r.npz")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.zeros((1, 2), np.float32), label=[1])
    with zipfile.ZipFile(tmp_path / "r.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb.npy", "w") as member:
            member.write(b"")
        archive.getinfo("bomb.npy").file_size = 3 * 2**30  # as its directory will say
    with pytest.raises(UsageError, match=r"unpacks to 3\.0 GiB, and 2 GiB are the most"):
        loaded(tmp_path / "r.npz")
