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
CHANNELS_FIRST = TensorSpec("x", "float32", (-1, 3, 2, 3))


@pytest.fixture
def pillow() -> Any:
    return pytest.importorskip("PIL.Image", reason="Pillow is an optional dependency")


def save_image(pillow: Any, path: Path, pixels: npt.NDArray[np.uint8] = RED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_image_channels_are_ordered_as_the_model_input(tmp_path: Path, pillow: Any, suffix: str) -> None:
    path = save_image(pillow, tmp_path / f"red{suffix}")
    channels_first = build_image_reader(CHANNELS_FIRST)(path)
    assert channels_first.shape == (3, 2, 3)
    assert channels_first.dtype == np.float32
    assert channels_first[0] == pytest.approx(1.0, abs=0.01)
    assert channels_first[1:] == pytest.approx(0.0, abs=0.01)
    channels_last = build_image_reader(TensorSpec("x", "float32", (-1, 2, 6, 3)))(path)
    assert channels_last[0, 0] == pytest.approx((1, 0, 0), abs=0.01)


@pytest.mark.parametrize(
    ("spec", "shape", "value"),
    [
        (TensorSpec("x", "uint8", (-1, 5, 7, 3)), (5, 7, 3), 255),
        (TensorSpec("x", "float16", (-1, -1, -1, 3)), (4, 6, 3), 1.0),
        (TensorSpec("x", "uint8", (-1, 1, 4, 6)), (1, 4, 6), 76),  # the luma of red
        (TensorSpec("x", "float64", (1, 4, 6, 1)), (4, 6, 1), 76 / 255),
    ],
)
def test_images_are_resized_and_converted_to_the_input_type(
    tmp_path: Path, pillow: Any, spec: TensorSpec, shape: tuple[int, ...], value: float
) -> None:
    row = build_image_reader(spec)(save_image(pillow, tmp_path / "red.png"))
    assert (row.shape, row.dtype) == (shape, np.dtype(spec.dtype))
    assert row.ravel()[0] == pytest.approx(value, abs=1e-3)


def test_images_in_class_folders_are_labeled_rows(tmp_path: Path, pillow: Any) -> None:
    save_image(pillow, tmp_path / "a" / "x.png")
    save_image(pillow, tmp_path / "b" / "y.jpg", RED[:2])
    rows = load_class_folders(tmp_path, (CHANNELS_FIRST,), max_batch=2)
    assert rows.labels is not None
    assert rows.labels.tolist() == [0, 1]
    assert rows.batch(0, 2)["x"].shape == (2, 3, 2, 3)
    assert rows.notes == (
        "images are resized to the model's input, and scaled to 0 to 1 for float inputs, without other preprocessing",
    )


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n cut short", b"\xff\xd8\xff"])
def test_invalid_image_file_is_rejected(tmp_path: Path, pillow: Any, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.png is not a valid image"):
        build_image_reader(CHANNELS_FIRST)(tmp_path / "x.png")


def test_gif_content_in_a_png_file_is_rejected(tmp_path: Path, pillow: Any) -> None:
    buffer = io.BytesIO()
    pillow.fromarray(RED).save(buffer, "GIF")
    (tmp_path / "x.png").write_bytes(buffer.getvalue())
    with pytest.raises(UsageError, match=r"x\.png is not a valid image"):
        build_image_reader(CHANNELS_FIRST)(tmp_path / "x.png")


def test_image_with_too_many_pixels_is_rejected(tmp_path: Path, pillow: Any) -> None:
    pillow.new("1", (2**14, 2**12 + 1)).save(tmp_path / "x.png")
    with pytest.raises(UsageError, match="16384 x 4097 pixels, above the maximum of 67 million"):
        build_image_reader(CHANNELS_FIRST)(tmp_path / "x.png")


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("x", "float32", (-1, 2)),
        TensorSpec("x", "float32", (-1, 4, 8, 8)),
        TensorSpec("x", "int64", (-1, 3, 8, 8)),
        TensorSpec("x", "object", (-1, 3, 8, 8)),
    ],
)
def test_model_input_that_images_do_not_fit_is_rejected(spec: TensorSpec) -> None:
    with pytest.raises(UsageError, match="images do not fit input x"):
        build_image_reader(spec)


def test_images_without_pillow_are_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(UsageError, match="images need Pillow, which is not installed"):
        build_image_reader(CHANNELS_FIRST)


X = TensorSpec("x", "float32", (-1, 2))
TRUNCATED_ARRAY = (
    b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': ((2,), ".ljust(117) + b"\n"
)
"""A header that NumPy's tokenizer cannot parse."""


def save_array(folder: Path, name: str, values: object = (1.0, 2.0)) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(values))
    return path


def load_folder(folder: Path, spec: TensorSpec = X, *, is_labelled: bool = True) -> StoredRows:
    return load_class_folders(folder, (spec,), max_batch=2, is_labeled=is_labelled)


def get_labels(rows: StoredRows) -> list[int]:
    assert rows.labels is not None
    return list(rows.labels)


def test_class_number_is_the_position_of_its_folder(tmp_path: Path) -> None:
    save_array(tmp_path, "dog/b.npy", (3.0, 4.0))
    save_array(tmp_path, "dog/a.npy", (5.0, 6.0))
    save_array(tmp_path, "cat/z.npy", (1.0, 2.0))
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.txt").write_text("beside the classes")
    (tmp_path / "dog" / ".hidden").write_text("")
    rows = load_folder(tmp_path)
    assert get_labels(rows) == [0, 1, 1]
    assert rows.batch(0, 3)["x"].tolist() == [[1, 2], [5, 6], [3, 4]]
    assert rows.batch(0, 1)["x"].dtype == np.float32
    assert rows.notes == ()


def test_empty_class_folder_counts_in_class_numbers(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    save_array(tmp_path, "b/x.npy")
    assert get_labels(load_folder(tmp_path)) == [1]


def test_numeric_folder_names_in_other_order_are_noted(tmp_path: Path) -> None:
    for name in ("0", "1", "10", "2"):
        save_array(tmp_path, f"{name}/x.npy")
    assert load_folder(tmp_path).notes == (
        "the folder 10 is class 2, because classes are numbered in the order of the folder names",
    )


def test_dynamic_axis_has_the_common_length_of_the_files(tmp_path: Path) -> None:
    save_array(tmp_path, "a/x.npy", [1.0] * 5)
    assert load_folder(tmp_path, TensorSpec("x", "float32", (-1, -1))).batch(0, 1)["x"].shape == (1, 5)
    save_array(tmp_path, "a/y.npy", [1.0] * 6)
    with pytest.raises(UsageError, match="a/y\\.npy has shape 6, but a/x\\.npy has shape 5"):
        load_folder(tmp_path, TensorSpec("x", "float32", (-1, -1)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1.0, 2.0, 3.0), "a/x.npy has shape 3, but the model needs shape 2 per row"),
        ((0.1, 2.0), "x is float64 in a/x.npy, but the model needs float32"),
        (("a", "b"), "the model needs float32"),
        ([{"a": 1}, None], "a/x.npy is not a valid array"),
    ],
)
def test_array_with_other_shape_or_type_is_rejected(tmp_path: Path, values: object, message: str) -> None:
    save_array(tmp_path, "a/x.npy", values)
    with pytest.raises(UsageError, match=message):
        load_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x80\x04.", TRUNCATED_ARRAY])
def test_invalid_npy_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    save_array(tmp_path, "a/x.npy").write_bytes(content)
    with pytest.raises(UsageError, match=r"a/x\.npy is not a valid array"):
        load_folder(tmp_path)


def test_npz_archive_in_an_npy_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with (tmp_path / "a" / "x.npy").open("wb") as file:
        np.savez(file, x=np.zeros(2))
    with pytest.raises(UsageError, match=r"a/x\.npy is not one array"):
        load_folder(tmp_path)


@pytest.mark.parametrize("link", ["a/y.npy", "b"])
def test_symbolic_links_in_class_folders_are_rejected(tmp_path: Path, link: str) -> None:
    outside = save_array(tmp_path / "outside", "c/x.npy")
    save_array(tmp_path / "rows", "a/x.npy")
    (tmp_path / "rows" / link).symlink_to(outside if link.endswith(".npy") else outside.parent)
    with pytest.raises(UsageError, match="is a symbolic link or a junction"):
        load_folder(tmp_path / "rows")


@pytest.mark.parametrize("other_file", ["a/x.txt", "a/y.png", "a/inner/x.npy"])
def test_files_of_mixed_types_in_a_class_are_rejected(tmp_path: Path, other_file: str) -> None:
    save_array(tmp_path, "a/w.npy")
    (tmp_path / other_file).parent.mkdir(exist_ok=True)
    (tmp_path / other_file).write_bytes(b"")
    with pytest.raises(UsageError, match=r"a/\w+(\.txt|\.png)? has a different type from the other files"):
        load_folder(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this OS has no named pipes")
def test_named_pipe_in_a_class_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "x.npy")
    with pytest.raises(UsageError, match="has a different type from the other files"):
        load_folder(tmp_path)


def test_files_outside_class_folders_are_rejected_with_labels(tmp_path: Path) -> None:
    save_array(tmp_path, "x.npy")
    with pytest.raises(UsageError, match="contains no files in its 0 class folders") as error:
        load_folder(tmp_path)
    assert (error.value.hint or "").endswith("or set labels: null in the profile if there are no labels.")


def test_unlabeled_files_need_no_class_folders(tmp_path: Path) -> None:
    save_array(tmp_path, "b.npy", (3.0, 4.0))
    save_array(tmp_path, "a.npy", (1.0, 2.0))
    (tmp_path / ".hidden").write_text("")
    rows = load_folder(tmp_path, is_labelled=False)
    assert (rows.labels, rows.batch(0, 2)["x"].tolist()) == (None, [[1, 2], [3, 4]])


def test_unlabeled_rows_have_no_class_numbers_or_notes(tmp_path: Path) -> None:
    save_array(tmp_path, "7/x.npy", (1.0, 2.0))
    save_array(tmp_path, "10/x.npy", (3.0, 4.0))
    rows = load_folder(tmp_path, is_labelled=False)
    assert (rows.labels, rows.notes) == (None, ())
    assert rows.batch(0, 2)["x"].tolist() == [[3, 4], [1, 2]]


@pytest.mark.parametrize("other_file", ["README.txt", "b.png", "inner/x.npy"])
def test_unlabeled_files_of_mixed_types_are_rejected(tmp_path: Path, other_file: str) -> None:
    save_array(tmp_path, "a.npy")
    (tmp_path / other_file).parent.mkdir(exist_ok=True)
    (tmp_path / other_file).write_bytes(b"")
    with pytest.raises(UsageError, match="has a different type from the other files"):
        load_folder(tmp_path, is_labelled=False)


def test_empty_data_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contains no files") as error:
        load_folder(tmp_path, is_labelled=False)
    assert (error.value.hint or "").endswith("or directly in the folder.")


def test_data_folder_for_a_model_with_two_inputs_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder provides rows for one input, but the model has 2 inputs"):
        load_class_folders(tmp_path, (X, X), 1)


def test_rows_above_the_memory_limit_are_rejected(tmp_path: Path) -> None:
    spec = TensorSpec("x", "uint8", (-1, 2**20))
    first = save_array(tmp_path, "a/0.npy", np.zeros(2**20, np.uint8))
    for number in range(1, 2_050):
        os.link(first, tmp_path / "a" / f"{number}.npy")
    with pytest.raises(UsageError, match=r"needs 2\.0 GiB as model input"):
        load_folder(tmp_path, spec)
