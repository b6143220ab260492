from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.errors import UsageError
from app.inference.datasets.class_folders import load_class_folders
from app.inference.datasets.pictures import picture_reader
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
    first = picture_reader(FIRST)(path)
    assert first.shape == (3, 2, 3)
    assert first.dtype == np.float32
    assert first[0] == pytest.approx(1.0, abs=0.01)
    assert first[1:] == pytest.approx(0.0, abs=0.01)
    last = picture_reader(TensorSpec("x", "float32", (-1, 2, 6, 3)))(path)
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
    row = picture_reader(spec)(stored(pillow, tmp_path / "red.png"))
    assert (row.shape, row.dtype) == (shape, np.dtype(spec.dtype))
    assert row.ravel()[0] == pytest.approx(value, abs=1e-3)


def test_pictures_are_rows_of_their_classes(tmp_path: Path, pillow: Any) -> None:
    stored(pillow, tmp_path / "a" / "x.png")
    stored(pillow, tmp_path / "b" / "y.jpg", RED[:2])
    rows = load_class_folders(tmp_path, (FIRST,), largest_batch=2)
    assert rows.labels is not None
    assert rows.labels.tolist() == [0, 1]
    assert rows.batch(0, 2)["x"].shape == (2, 3, 2, 3)
    assert rows.notes == (
        "pictures are resized to the model's input and scaled to 0 to 1; nothing else is done to them",
    )


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n cut short", b"\xff\xd8\xff"])
def test_a_file_that_is_no_picture_is_refused(tmp_path: Path, pillow: Any, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.png is not a picture"):
        picture_reader(FIRST)(tmp_path / "x.png")


def test_another_format_under_the_name_of_a_png_is_refused(tmp_path: Path, pillow: Any) -> None:
    buffer = io.BytesIO()
    pillow.fromarray(RED).save(buffer, "GIF")
    (tmp_path / "x.png").write_bytes(buffer.getvalue())
    with pytest.raises(UsageError, match=r"x\.png is not a picture"):
        picture_reader(FIRST)(tmp_path / "x.png")


def test_a_picture_of_too_many_pixels_is_never_unpacked(tmp_path: Path, pillow: Any) -> None:
    pillow.new("1", (2**14, 2**12 + 1)).save(tmp_path / "x.png")
    with pytest.raises(UsageError, match="16384 x 4097 pixels, more than 67 million"):
        picture_reader(FIRST)(tmp_path / "x.png")


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
    with pytest.raises(UsageError, match="pictures do not fit x"):
        picture_reader(spec)


def test_without_pillow_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(UsageError, match="pictures need Pillow, which is not installed"):
        picture_reader(FIRST)
