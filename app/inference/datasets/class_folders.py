"""Rows from a folder of files, optionally by class: `<class>/<name>.npy` or pictures, one file per row.

The class index is the position of its folder in sorted order, as in common image training tools. Pictures are resized
to the model's input, with channels where its input has them, and scaled to 0 to 1 for inputs of floats.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from app.errors import UsageError
from app.inference.datasets.casting import MAX_BYTES, NO_LABELS_HINT, as_input, format_shape, matches_shape
from app.inference.rows import Array, StoredRows
from app.inference.tensor_spec import TensorSpec, printable

PICTURES = frozenset({".png", ".jpg", ".jpeg"})
_MAX_PIXELS = 2**26
_MODES = {1: "L", 3: "RGB"}


def picture_reader(spec: TensorSpec) -> Callable[[Path], Array]:
    """Return a function that reads a picture for an image input.

    The input must be [batch, channels, height, width] or [batch, height, width, channels] with 1 or 3 channels of
    floats or bytes. A free height or width keeps that of the picture. Raises UsageError for other inputs, and without
    Pillow.
    """
    is_channels_first = len(spec.shape) == 4 and spec.shape[1] in _MODES
    if len(spec.shape) != 4 or not (is_channels_first or spec.shape[3] in _MODES) or not _takes_colors(spec):
        raise UsageError(
            f"images do not fit {printable(spec.name)}, {spec.dtype} of {format_shape(spec.shape)}",
            hint="They need 1 or 3 channels, first or last, of floats or uint8. Otherwise store arrays as .npy.",
        )
    pillow = _pillow()
    mode = _MODES[spec.shape[1] if is_channels_first else spec.shape[3]]
    height, width = spec.shape[2:] if is_channels_first else spec.shape[1:3]

    def read(path: Path) -> Array:
        try:
            pixels = _pixels(pillow, path, mode, height, width)
        except UsageError:
            raise
        except Exception as error:  # A damaged picture may raise any error of its decoder.
            raise UsageError(f"{_shown(path)} is not a valid image: {printable(str(error))}") from error
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        ordered = np.ascontiguousarray(pixels.transpose(2, 0, 1) if is_channels_first else pixels)
        return ordered if spec.dtype == "uint8" else (ordered / np.float32(255)).astype(spec.dtype)

    return read


def _pixels(pillow: Any, path: Path, mode: str, height: int, width: int) -> Array:
    with pillow.open(path, formats=("PNG", "JPEG")) as picture:
        if picture.width * picture.height > _MAX_PIXELS:
            raise UsageError(
                f"{_shown(path)} has {picture.width} x {picture.height} pixels, above the maximum of 67 million"
            )
        size = (picture.width if width == -1 else width, picture.height if height == -1 else height)
        converted = picture.convert(mode)
        sized = converted if converted.size == size else converted.resize(size, pillow.Resampling.BILINEAR)
        return np.asarray(sized)


def _takes_colors(spec: TensorSpec) -> bool:
    return spec.dtype == "uint8" or np.dtype(spec.dtype).kind == "f"


def _pillow() -> Any:
    """Import Pillow by name, since it is not a requirement: users with pictures install it."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise UsageError(
            "images need Pillow, which is not installed", hint="Install pillow, or store the images as .npy arrays."
        ) from error


def _shown(path: Path) -> str:
    return printable(f"{path.parent.name}/{path.name}")


_MAX_FILES = 1_000_000
_ARRAYS = frozenset({".npy"})


def load_class_folders(
    folder: Path, inputs: tuple[TensorSpec, ...], largest_batch: int, *, is_labeled: bool = True
) -> StoredRows:
    """Load the rows of a folder, one file per row.

    Without labels, the files may also lie in the folder itself, and classes are ignored. Links are rejected, since they
    may lead anywhere, and so are other kinds of files; files that begin with a dot are skipped.
    """
    if len(inputs) != 1 or not inputs[0].shape:
        raise UsageError(
            f"a folder provides rows for one input, but the model has {len(inputs)} inputs",
            hint="Use an .npz with one array per input.",
        )
    spec = inputs[0]
    classes, files = _find_files(folder, is_labeled)
    read = picture_reader(spec) if files[0][0].suffix.casefold() in PICTURES else _array_reader(spec)
    first = read(files[0][0])
    if (size := first.nbytes * len(files)) > MAX_BYTES:
        raise UsageError(f"{folder.name} needs {size / 2**30:,.1f} GiB as model input, above the maximum of 2 GiB")
    rows = np.empty((len(files), *first.shape), first.dtype)
    for index, (path, _) in enumerate(files):
        row = read(path)
        if row.shape != first.shape:
            raise UsageError(
                f"{_shown(path)} has shape {format_shape(row.shape)}, but {_shown(files[0][0])} has shape "
                f"{format_shape(first.shape)}"
            )
        rows[index] = row
    labels = np.array([label for _, label in files], np.int64) if is_labeled else None
    notes = (*(_class_notes(classes) if is_labeled else ()), *_picture_notes(files))
    return StoredRows({spec.name: rows}, labels, largest_batch=largest_batch, notes=notes)


def _find_files(folder: Path, is_labelled: bool) -> tuple[list[str], list[tuple[Path, int]]]:
    """Return the class names, and each file with its class; at least one file, all of the same kind."""
    entries = _entries(folder)
    if not is_labelled and any(Path(entry.name).suffix.casefold() in PICTURES | _ARRAYS for entry in entries):
        return [], _require_one_kind(folder, [(folder / entry.name, 0) for entry in entries])
    classes = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    files = [
        (folder / name / entry.name, label) for label, name in enumerate(classes) for entry in _entries(folder / name)
    ]
    if not files:
        raise UsageError(
            f"{folder.name} has 0 files in its {len(classes)} class folders",
            hint="Rows are files `<class>/<name>.npy`, or .png or .jpg"
            + (f"; put them there, {NO_LABELS_HINT}" if is_labelled else ", or files in the folder itself."),
        )
    return classes, _require_one_kind(folder, files)


def _require_one_kind(folder: Path, files: list[tuple[Path, int]]) -> list[tuple[Path, int]]:
    if len(files) > _MAX_FILES:
        raise UsageError(f"{folder.name} has {len(files)} files, above the maximum of one million")
    kind = PICTURES if files[0][0].suffix.casefold() in PICTURES else _ARRAYS
    unexpected = next((path for path, _ in files if path.suffix.casefold() not in kind or not path.is_file()), None)
    if unexpected is not None:
        raise UsageError(
            f"{_shown(unexpected)} has a different type from the other files of {folder.name}",
            hint="Use only .npy files, or only .png and .jpg files.",
        )
    return files


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as scanned:
        entries = sorted((entry for entry in scanned if not entry.name.startswith(".")), key=lambda entry: entry.name)
    link = next((entry for entry in entries if entry.is_symlink() or _is_junction(entry)), None)
    if link is not None:
        raise UsageError(
            f"{printable(link.name)} in {folder.name} is a link", hint="Put the files themselves into the folder."
        )
    return entries


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """Return whether the entry is a junction, which Windows has for folders in addition to links."""
    return entry.is_dir() and Path(entry.path).resolve() != Path(entry.path).parent.resolve() / entry.name


def _array_reader(spec: TensorSpec) -> Callable[[Path], Array]:
    def read(path: Path) -> Array:
        try:
            with _open_limited(path) as file:
                values = np.load(file, allow_pickle=False)
        except Exception as error:  # A damaged file may raise any error of NumPy.
            raise UsageError(f"{_shown(path)} is not a valid array: {printable(str(error))}") from error
        if not isinstance(values, np.ndarray) or not matches_shape(values.shape, spec.shape[1:]):
            shape = format_shape(values.shape) if isinstance(values, np.ndarray) else "not one array"
            raise UsageError(f"{_shown(path)} is {shape}, but the model needs {format_shape(spec.shape[1:])} per row")
        return as_input(values, spec, _shown(path))

    return read


def _open_limited(path: Path) -> BinaryIO:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError("it has more than 2 GiB")
    return path.open("rb")


def _class_notes(classes: list[str]) -> list[str]:
    """Return a note if a folder's name is a number other than its class index."""
    mismatch = next(
        ((name, index) for index, name in enumerate(classes) if name.isdecimal() and int(name) != index), None
    )
    if mismatch is None:
        return []
    return [f"the folder {printable(mismatch[0])} is class {mismatch[1]}, because classes are numbered by name order"]


def _picture_notes(files: list[tuple[Path, int]]) -> list[str]:
    if files[0][0].suffix.casefold() not in PICTURES:
        return []
    return ["images are resized to the model's input and scaled to 0 to 1, without further processing"]
