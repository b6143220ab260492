from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.errors import UsageError
from app.inference.datasets.class_folders import build_image_reader, load_class_folders
from app.inference.rows import StoredRows
from app.inference.tensor_spec import TensorSpec

RED = np.zeros((4, 6, 3), np.uint8)
RED[..., 0] = 255
FIRST = TensorSpec("x", "float32", (-1, 3, 2, 3))


@pytest.fixture
def pillow() -> Any:
    return pytest.importorskip("PIL.Image", reason="Pillow is no requirement")


def stored(pillow: Any, path: Path, pixels: npt.NDArray[np.uint8] = RED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_channels_stand_where_the_model_has_them(tmp_path: Path, pillow: Any, suffix: str) -> None:
    path = stored(pillow, tmp_path / f"red{suffix}")
    first = build_image_reader(FIRST)(path)
    assert first.shape == (3, 2, 3)
    assert first.dtype == np.float32
    assert first[0] == pytest.approx(1.0, abs=0.01)
    assert first[1:] == pytest.approx(0.0, abs=0.01)
    last = build_image_reader(TensorSpec("x", "float32", (-1, 2, 6, 3)))(path)
    assert last[0, 0] == pytest.approx((1, 0, 0), abs=0.01)


@pytest.mark.parametrize(
    ("spec", "shape", "value"),
    [
        (TensorSpec("x", "uint8", (-1, 5, 7, 3)), (5, 7, 3), 255),
        (TensorSpec("x", "float16", (-1, -1, -1, 3)), (4, 6, 3), 1.0),
        (TensorSpec("x", "uint8", (-1, 1, 4, 6)), (1, 4, 6), 76),  # the luma of red
        (TensorSpec("x", "float64", (1, 4, 6, 1)), (4, 6, 1), 76 / 255),
    ],
)
def test_sizes_types_and_grey(
    tmp_path: Path, pillow: Any, spec: TensorSpec, shape: tuple[int, ...], value: float
) -> None:
    row = build_image_reader(spec)(stored(pillow, tmp_path / "red.png"))
    assert (row.shape, row.dtype) == (shape, np.dtype(spec.dtype))
    assert row.ravel()[0] == pytest.approx(value, abs=1e-3)


def test_pictures_are_rows_of_their_classes(tmp_path: Path, pillow: Any) -> None:
    stored(pillow, tmp_path / "a" / "x.png")
    stored(pillow, tmp_path / "b" / "y.jpg", RED[:2])
    rows = load_class_folders(tmp_path, (FIRST,), max_batch=2)
    assert rows.labels is not None
    assert rows.labels.tolist() == [0, 1]
    assert rows.batch(0, 2)["x"].shape == (2, 3, 2, 3)
    assert rows.notes == (
        "images are resized to the model's input, and scaled to 0 to 1 for float inputs, without other preprocessing",
    )


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n cut short", b"\xff\xd8\xff"])
def test_a_file_that_is_no_picture_is_refused(tmp_path: Path, pillow: Any, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.png is not a valid image"):
        build_image_reader(FIRST)(tmp_path / "x.png")


def test_another_format_under_the_name_of_a_png_is_refused(tmp_path: Path, pillow: Any) -> None:
    buffer = io.BytesIO()
    pillow.fromarray(RED).save(buffer, "GIF")
    (tmp_path / "x.png").write_bytes(buffer.getvalue())
    with pytest.raises(UsageError, match=r"x\.png is not a valid image"):
        build_image_reader(FIRST)(tmp_path / "x.png")


def test_a_picture_of_too_many_pixels_is_never_unpacked(tmp_path: Path, pillow: Any) -> None:
    pillow.new("1", (2**14, 2**12 + 1)).save(tmp_path / "x.png")
    with pytest.raises(UsageError, match="16384 x 4097 pixels, above the maximum of 67 million"):
        build_image_reader(FIRST)(tmp_path / "x.png")


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("x", "float32", (-1, 2)),
        TensorSpec("x", "float32", (-1, 4, 8, 8)),
        TensorSpec("x", "int64", (-1, 3, 8, 8)),
        TensorSpec("x", "object", (-1, 3, 8, 8)),
    ],
)
def test_an_input_that_takes_no_picture_is_refused(spec: TensorSpec) -> None:
    with pytest.raises(UsageError, match="images do not fit input x"):
        build_image_reader(spec)


def test_without_pillow_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(UsageError, match="images need Pillow, which is not installed"):
        build_image_reader(FIRST)


X = TensorSpec("x", "float32", (-1, 2))
TORN = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': ((2,), ".ljust(117) + b"\n"
"""A header that NumPy's tokenizer gives up on."""


def class_folders_stored(folder: Path, name: str, values: object = (1.0, 2.0)) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(values))
    return path


def loaded(folder: Path, spec: TensorSpec = X, *, is_labelled: bool = True) -> StoredRows:
    return load_class_folders(folder, (spec,), max_batch=2, is_labeled=is_labelled)


def classes_of(rows: StoredRows) -> list[int]:
    assert rows.labels is not None
    return list(rows.labels)


def test_a_class_is_the_place_of_its_folder(tmp_path: Path) -> None:
    class_folders_stored(tmp_path, "dog/b.npy", (3.0, 4.0))
    class_folders_stored(tmp_path, "dog/a.npy", (5.0, 6.0))
    class_folders_stored(tmp_path, "cat/z.npy", (1.0, 2.0))
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.txt").write_text("beside the classes")
    (tmp_path / "dog" / ".hidden").write_text("")
    rows = loaded(tmp_path)
    assert classes_of(rows) == [0, 1, 1]
    assert rows.batch(0, 3)["x"].tolist() == [[1, 2], [5, 6], [3, 4]]
    assert rows.batch(0, 1)["x"].dtype == np.float32
    assert rows.notes == ()


def test_an_empty_class_keeps_its_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    class_folders_stored(tmp_path, "b/x.npy")
    assert classes_of(loaded(tmp_path)) == [1]


def test_numbers_out_of_their_order_are_reported(tmp_path: Path) -> None:
    for name in ("0", "1", "10", "2"):
        class_folders_stored(tmp_path, f"{name}/x.npy")
    assert loaded(tmp_path).notes == (
        "the folder 10 is class 2, because classes are numbered in the order of the folder names",
    )


def test_a_free_axis_is_as_long_as_the_files_have_it(tmp_path: Path) -> None:
    class_folders_stored(tmp_path, "a/x.npy", [1.0] * 5)
    assert loaded(tmp_path, TensorSpec("x", "float32", (-1, -1))).batch(0, 1)["x"].shape == (1, 5)
    class_folders_stored(tmp_path, "a/y.npy", [1.0] * 6)
    with pytest.raises(UsageError, match="a/y\\.npy has shape 6, but a/x\\.npy has shape 5"):
        loaded(tmp_path, TensorSpec("x", "float32", (-1, -1)))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((1.0, 2.0, 3.0), "a/x.npy has shape 3, but the model needs shape 2 per row"),
        ((0.1, 2.0), "x is float64 in a/x.npy, but the model needs float32"),
        (("a", "b"), "the model needs float32"),
        ([{"a": 1}, None], "a/x.npy is not a valid array"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(tmp_path: Path, values: object, sentence: str) -> None:
    class_folders_stored(tmp_path, "a/x.npy", values)
    with pytest.raises(UsageError, match=sentence):
        loaded(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x80\x04.", TORN])
def test_a_file_that_is_no_array_is_refused(tmp_path: Path, content: bytes) -> None:
    class_folders_stored(tmp_path, "a/x.npy").write_bytes(content)
    with pytest.raises(UsageError, match=r"a/x\.npy is not a valid array"):
        loaded(tmp_path)


def test_an_archive_under_the_name_of_an_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with (tmp_path / "a" / "x.npy").open("wb") as file:
        np.savez(file, x=np.zeros(2))
    with pytest.raises(UsageError, match=r"a/x\.npy is not one array"):
        loaded(tmp_path)


@pytest.mark.parametrize("link", ["a/y.npy", "b"])
def test_links_are_refused(tmp_path: Path, link: str) -> None:
    outside = class_folders_stored(tmp_path / "outside", "c/x.npy")
    class_folders_stored(tmp_path / "rows", "a/x.npy")
    (tmp_path / "rows" / link).symlink_to(outside if link.endswith(".npy") else outside.parent)
    with pytest.raises(UsageError, match="is a symbolic link or a junction"):
        loaded(tmp_path / "rows")


@pytest.mark.parametrize("fallback", ["a/x.txt", "a/y.png", "a/inner/x.npy"])
def test_files_of_another_kind_are_refused(tmp_path: Path, fallback: str) -> None:
    class_folders_stored(tmp_path, "a/w.npy")
    (tmp_path / fallback).parent.mkdir(exist_ok=True)
    (tmp_path / fallback).write_bytes(b"")
    with pytest.raises(UsageError, match=r"a/\w+(\.txt|\.png)? has a different type from the other files"):
        loaded(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "x.npy")
    with pytest.raises(UsageError, match="has a different type from the other files"):
        loaded(tmp_path)


def test_files_without_a_class_are_no_rows(tmp_path: Path) -> None:
    class_folders_stored(tmp_path, "x.npy")
    with pytest.raises(UsageError, match="contains no files in its 0 class folders") as caught:
        loaded(tmp_path)
    assert (caught.value.hint or "").endswith("or set labels: null in the profile if there are no labels.")


def test_without_labels_files_need_no_class(tmp_path: Path) -> None:
    class_folders_stored(tmp_path, "b.npy", (3.0, 4.0))
    class_folders_stored(tmp_path, "a.npy", (1.0, 2.0))
    (tmp_path / ".hidden").write_text("")
    rows = loaded(tmp_path, is_labelled=False)
    assert (rows.labels, rows.batch(0, 2)["x"].tolist()) == (None, [[1, 2], [3, 4]])


def test_without_labels_classes_count_for_nothing(tmp_path: Path) -> None:
    class_folders_stored(tmp_path, "7/x.npy", (1.0, 2.0))
    class_folders_stored(tmp_path, "10/x.npy", (3.0, 4.0))
    rows = loaded(tmp_path, is_labelled=False)
    assert (rows.labels, rows.notes) == (None, ())
    assert rows.batch(0, 2)["x"].tolist() == [[3, 4], [1, 2]]


@pytest.mark.parametrize("fallback", ["README.txt", "b.png", "inner/x.npy"])
def test_files_without_a_class_are_of_one_kind(tmp_path: Path, fallback: str) -> None:
    class_folders_stored(tmp_path, "a.npy")
    (tmp_path / fallback).parent.mkdir(exist_ok=True)
    (tmp_path / fallback).write_bytes(b"")
    with pytest.raises(UsageError, match="has a different type from the other files"):
        loaded(tmp_path, is_labelled=False)


def test_a_folder_of_nothing_is_no_rows(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contains no files") as caught:
        loaded(tmp_path, is_labelled=False)
    assert (caught.value.hint or "").endswith("or directly in the folder.")


def test_a_folder_feeds_one_input(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder provides rows for one input, but the model has 2 inputs"):
        load_class_folders(tmp_path, (X, X), 1)


def test_more_than_memory_should_hold_is_refused(tmp_path: Path) -> None:
    spec = TensorSpec("x", "uint8", (-1, 2**20))
    first = class_folders_stored(tmp_path, "a/0.npy", np.zeros(2**20, np.uint8))
    for number in range(1, 2_050):
        os.link(first, tmp_path / "a" / f"{number}.npy")
    with pytest.raises(UsageError, match=r"needs 2\.0 GiB as model input"):
        loaded(tmp_path, spec)
