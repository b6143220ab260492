"""Pictures as a model takes them: resized, channels where its input has them, 0 to 1 where it takes floats."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import UsageError
from app.inference.datasets.casting import shown_shape
from app.inference.printable import printable
from app.inference.rows import Array
from app.inference.tensor_spec import TensorSpec

PICTURES = frozenset({".png", ".jpg", ".jpeg"})
_MOST_PIXELS = 2**26
_MODES = {1: "L", 3: "RGB"}


def picture_reader(spec: TensorSpec) -> Callable[[Path], Array]:
    """For an input of [batch, channels, height, width] or [batch, height, width, channels], 1 or 3 channels, of floats
    or bytes; a height or width that is free stays the picture's. Raises UsageError for others, and without Pillow."""
    is_channels_first = len(spec.shape) == 4 and spec.shape[1] in _MODES
    if len(spec.shape) != 4 or not (is_channels_first or spec.shape[3] in _MODES) or not _takes_colours(spec):
        raise UsageError(
            f"pictures do not fit {printable(spec.name)}, {spec.dtype} of {shown_shape(spec.shape)}",
            hint="They fit 1 or 3 channels, first or last, of floats or uint8; else store arrays as .npy.",
        )
    pillow = _pillow()
    mode = _MODES[spec.shape[1] if is_channels_first else spec.shape[3]]
    height, width = spec.shape[2:] if is_channels_first else spec.shape[1:3]

    def read(path: Path) -> Array:
        try:
            pixels = _pixels(pillow, path, mode, height, width)
        except UsageError:
            raise
        except Exception as error:  # a damaged picture raises whatever its decoder happens on
            raise UsageError(f"{_shown(path)} is not a picture: {printable(str(error))}") from error
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        ordered = np.ascontiguousarray(pixels.transpose(2, 0, 1) if is_channels_first else pixels)
        return ordered if spec.dtype == "uint8" else (ordered / np.float32(255)).astype(spec.dtype)

    return read


def _pixels(pillow: Any, path: Path, mode: str, height: int, width: int) -> Array:
    with pillow.open(path, formats=("PNG", "JPEG")) as picture:
        if picture.width * picture.height > _MOST_PIXELS:
            raise UsageError(f"{_shown(path)} has {picture.width} x {picture.height} pixels, more than 67 million")
        wanted = (picture.width if width == -1 else width, picture.height if height == -1 else height)
        converted = picture.convert(mode)
        sized = converted if converted.size == wanted else converted.resize(wanted, pillow.Resampling.BILINEAR)
        return np.asarray(sized)


def _takes_colours(spec: TensorSpec) -> bool:
    return spec.dtype == "uint8" or np.dtype(spec.dtype).kind == "f"


def _pillow() -> Any:
    """By name, for it is no requirement: whoever has pictures installs it."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise UsageError(
            "pictures need Pillow, which is not installed", hint="Install pillow, or store the pictures as .npy arrays."
        ) from error


def _shown(path: Path) -> str:
    return printable(f"{path.parent.name}/{path.name}")
