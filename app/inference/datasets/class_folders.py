"""Load input rows from a folder of files, one file per row. The files are .npy arrays or images,
optionally in one subfolder per class, such as `<class>/<name>.npy`.

The class index is the position of the class folder in sorted order, as in common image training
tools. Images are resized to the shape of the model input. Their channels are placed on the axis
that the input expects, and their values are scaled to 0 to 1 for float inputs."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from app.errors import UsageError
from app.inference.datasets.casting import MAX_BYTES, NO_LABELS_HINT, cast_input, format_shape, matches_shape
from app.inference.rows import Array, StoredRows
from app.inference.tensor_spec import TensorSpec, printable
from loadgen.regular_files import open_regular

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_MAX_PIXELS = 2**26
_PILLOW_MODES = {1: "L", 3: "RGB"}


def build_image_reader(spec: TensorSpec) -> Callable[[Path], Array]:
    """Return a function that reads an image file for an image input of the model.

    The input must have 1 or 3 channels of floats or uint8, in the layout [batch, channels, height,
    width] or [batch, height, width, channels]. If height or width is a dynamic axis, the size of
    the image is used. Raises UsageError for other inputs, and if Pillow is not installed."""
    is_channels_first = len(spec.shape) == 4 and spec.shape[1] in _PILLOW_MODES
    if len(spec.shape) != 4 or not (is_channels_first or spec.shape[3] in _PILLOW_MODES) or not _accepts_pixels(spec):
        raise UsageError(
            f"images do not fit input {printable(spec.name)} ({spec.dtype}, shape {format_shape(spec.shape)})",
            hint="Use a model with an image input of 1 or 3 channels (NCHW or NHWC, floats or uint8), or .npy arrays.",
        )
    pillow = _import_pillow()
    mode = _PILLOW_MODES[spec.shape[1] if is_channels_first else spec.shape[3]]
    height, width = spec.shape[2:] if is_channels_first else spec.shape[1:3]

    def read_image(path: Path) -> Array:
        try:
            pixels = _read_pixels(pillow, path, mode, height, width)
        except UsageError:
            raise
        except Exception as error:  # For a corrupted image, the decoder may raise any error.
            raise UsageError(
                f"{_format_path(path)} is not a valid image: {printable(str(error))}",
                hint="Replace or remove the file.",
            ) from error
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        ordered_pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1) if is_channels_first else pixels)
        return ordered_pixels if spec.dtype == "uint8" else (ordered_pixels / np.float32(255)).astype(spec.dtype)

    return read_image


def _read_pixels(pillow: Any, path: Path, mode: str, height: int, width: int) -> Array:
    with pillow.open(path, formats=("PNG", "JPEG")) as image:
        if image.width * image.height > _MAX_PIXELS:
            raise UsageError(
                f"{_format_path(path)} has {image.width} x {image.height} pixels, above the maximum of 67 million",
                hint="Resize the image to the input size of the model.",
            )
        size = (image.width if width == -1 else width, image.height if height == -1 else height)
        converted_image = image.convert(mode)
        resized_image = (
            converted_image
            if converted_image.size == size
            else converted_image.resize(size, pillow.Resampling.BILINEAR)
        )
        return np.asarray(resized_image)


def _accepts_pixels(spec: TensorSpec) -> bool:
    return spec.dtype == "uint8" or np.dtype(spec.dtype).kind == "f"


def _import_pillow() -> Any:
    """Import Pillow, which is not a dependency of Sizewise: users who load images install it
    themselves."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise UsageError(
            "images need Pillow, which is not installed", hint="Install Pillow, or store the images as .npy arrays."
        ) from error


def _format_path(path: Path) -> str:
    return printable(f"{path.parent.name}/{path.name}")


_MAX_FILES = 1_000_000
_ARRAY_SUFFIXES = frozenset({".npy"})


def load_class_folders(
    folder: Path, inputs: tuple[TensorSpec, ...], max_batch: int, *, is_labeled: bool = True
) -> StoredRows:
    """Load input rows from a folder, one file per row.

    With labels, the files are in one subfolder per class. Without labels, they may also be in the
    folder itself, and classes are ignored. Files whose name starts with a dot are skipped. Raises
    UsageError for links, which may point anywhere, and for files of other types."""
    if len(inputs) != 1 or not inputs[0].shape:
        raise UsageError(
            f"a folder provides rows for one input, but the model has {len(inputs)} inputs",
            hint="Use an .npz file with one array per input.",
        )
    spec = inputs[0]
    class_names, files = _find_files(folder, is_labeled)
    read_file = (
        build_image_reader(spec) if files[0][0].suffix.casefold() in IMAGE_SUFFIXES else _build_array_reader(spec)
    )
    first_row = read_file(files[0][0])
    if (size := first_row.nbytes * len(files)) > MAX_BYTES:
        raise UsageError(
            f"{folder.name} needs {size / 2**30:,.1f} GiB as model input, above the maximum of 2 GiB",
            hint="Use fewer files.",
        )
    rows = np.empty((len(files), *first_row.shape), first_row.dtype)
    for index, (path, _) in enumerate(files):
        row = read_file(path)
        if row.shape != first_row.shape:
            raise UsageError(
                f"{_format_path(path)} has shape {format_shape(row.shape)}, but {_format_path(files[0][0])} has "
                f"shape {format_shape(first_row.shape)}",
                hint="Use files of the same shape, because all rows are joined into one array.",
            )
        rows[index] = row
    labels = np.array([class_index for _, class_index in files], np.int64) if is_labeled else None
    notes = (*(_build_class_notes(class_names) if is_labeled else ()), *_build_image_notes(files))
    return StoredRows({spec.name: rows}, labels, max_batch=max_batch, notes=notes)


def _find_files(folder: Path, is_labeled: bool) -> tuple[list[str], list[tuple[Path, int]]]:
    """Return the class names, and each file with its class index. Raises UsageError if there are no
    files, more than one million files, or files of different types."""
    entries = _read_entries(folder)
    if not is_labeled and any(
        Path(entry.name).suffix.casefold() in IMAGE_SUFFIXES | _ARRAY_SUFFIXES for entry in entries
    ):
        return [], _require_one_file_type(folder, [(folder / entry.name, 0) for entry in entries])
    class_names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    files = [
        (folder / name / entry.name, class_index)
        for class_index, name in enumerate(class_names)
        for entry in _read_entries(folder / name)
    ]
    if not files:
        raise UsageError(
            f"{folder.name} contains no files in its {len(class_names)} class folders",
            hint="Add one file per row as `<class>/<name>.npy`, .png or .jpg, "
            + (NO_LABELS_HINT if is_labeled else "or directly in the folder."),
        )
    return class_names, _require_one_file_type(folder, files)


def _require_one_file_type(folder: Path, files: list[tuple[Path, int]]) -> list[tuple[Path, int]]:
    if len(files) > _MAX_FILES:
        raise UsageError(
            f"{folder.name} has {len(files):,} files, above the maximum of one million", hint="Use fewer files."
        )
    allowed_suffixes = IMAGE_SUFFIXES if files[0][0].suffix.casefold() in IMAGE_SUFFIXES else _ARRAY_SUFFIXES
    unexpected_path = next(
        (path for path, _ in files if path.suffix.casefold() not in allowed_suffixes or not path.is_file()), None
    )
    if unexpected_path is not None:
        raise UsageError(
            f"{_format_path(unexpected_path)} has a different type from the other files of {folder.name}",
            hint="Use only .npy files, or only .png and .jpg files.",
        )
    return files


def _read_entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as scanner:
        entries = sorted((entry for entry in scanner if not entry.name.startswith(".")), key=lambda entry: entry.name)
    link = next((entry for entry in entries if entry.is_symlink() or _is_junction(entry)), None)
    if link is not None:
        raise UsageError(
            f"{printable(link.name)} in {folder.name} is a symbolic link or a junction",
            hint="Replace links with copies of the files.",
        )
    return entries


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """Return True if the entry is a junction, a kind of folder link on Windows."""
    return entry.is_dir() and Path(entry.path).resolve() != Path(entry.path).parent.resolve() / entry.name


def _build_array_reader(spec: TensorSpec) -> Callable[[Path], Array]:
    def read_array(path: Path) -> Array:
        try:
            with _open_array_file(path) as file:
                values = np.load(file, allow_pickle=False)
        except Exception as error:  # For a corrupted file, NumPy may raise any error.
            raise UsageError(
                f"{_format_path(path)} is not a valid array: {printable(str(error))}",
                hint="Save the array again with numpy.save.",
            ) from error
        if not isinstance(values, np.ndarray) or not matches_shape(values.shape, spec.shape[1:]):
            shape_text = (
                f"has shape {format_shape(values.shape)}" if isinstance(values, np.ndarray) else "is not one array"
            )
            raise UsageError(
                f"{_format_path(path)} {shape_text}, but the model needs shape {format_shape(spec.shape[1:])} per row",
                hint="Store one array per file, in the shape of one row of the model input.",
            )
        return cast_input(values, spec, _format_path(path))

    return read_array


def _open_array_file(path: Path) -> BinaryIO:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError("the file is larger than 2 GiB")
    return open_regular(path)


def _build_class_notes(class_names: list[str]) -> list[str]:
    """Return a note if the name of a folder is a number that differs from its class index."""
    mismatch = next(
        ((name, index) for index, name in enumerate(class_names) if name.isdecimal() and int(name) != index), None
    )
    if mismatch is None:
        return []
    return [
        f"the folder {printable(mismatch[0])} is class {mismatch[1]}, because classes are numbered in the order of the "
        "folder names"
    ]


def _build_image_notes(files: list[tuple[Path, int]]) -> list[str]:
    if files[0][0].suffix.casefold() not in IMAGE_SUFFIXES:
        return []
    return [
        "images are resized to the model's input, and scaled to 0 to 1 for float inputs, without other preprocessing"
    ]
