"""What a model is fed in a measurement: labelled rows from a file, or seeded numbers of the right shape."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import UsageError
from app.inference.tensor_spec import TensorSpec

Feeds = Mapping[str, npt.NDArray[Any]]

LABEL = "label"
_SEED = 7
_FREE_AXIS = 8
"""Length of a free axis that is not the batch: of a sequence, say."""


class LabelledRows:
    """`feeds` by the names of the model's inputs, the first axis being the row; `labels` is one class a row."""

    def __init__(self, feeds: Feeds, labels: npt.NDArray[Any]) -> None:
        self.feeds = feeds
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, start: int, size: int) -> Feeds:
        """`size` rows from `start` on, going round at the end."""
        chosen = np.arange(start, start + size) % len(self)
        return {name: np.ascontiguousarray(rows[chosen]) for name, rows in self.feeds.items()}


def load_rows(path: Path, inputs: tuple[TensorSpec, ...]) -> LabelledRows:
    """From an .npz with one array an input and one named `label`; raises UsageError for any other."""
    arrays = _arrays(path)
    wanted = [*(spec.name for spec in inputs), LABEL]
    absent = [name for name in wanted if name not in arrays]
    if absent:
        raise UsageError(
            f"{path.name} has no array named {', '.join(absent)}; it has {', '.join(arrays)}",
            hint="Rows are one array for each input of the model, and `label`.",
        )
    labels = arrays[LABEL]
    if labels.ndim != 1 or not len(labels) or any(arrays[name].shape[:1] != labels.shape for name in wanted):
        raise UsageError(f"the arrays of {path.name} do not all have the same number of rows, at least one")
    for spec in inputs:
        if arrays[spec.name].dtype != np.dtype(spec.dtype):
            raise UsageError(f"{spec.name} is {arrays[spec.name].dtype} in {path.name}; the model takes {spec.dtype}")
    return LabelledRows({spec.name: arrays[spec.name] for spec in inputs}, labels)


def synthetic_feeds(inputs: tuple[TensorSpec, ...], batch: int) -> Feeds:
    """The same numbers for the same shapes, whenever asked. Integers are 0 or 1, so that they index anything."""
    generator = np.random.default_rng(_SEED)
    return {spec.name: _synthetic(spec, batch, generator) for spec in inputs}


def check_batch(inputs: tuple[TensorSpec, ...], batch: int) -> None:
    """Raises UsageError for a batch that the model's first axes do not take."""
    for spec in inputs:
        if spec.shape and spec.shape[0] not in (-1, batch):
            raise UsageError(
                f"the model takes {spec.shape[0]} rows at a time in {spec.name}, not {batch}",
                hint=f"Use batch {spec.shape[0]}, or export the model with a dynamic first axis.",
            )


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.lib.npyio.NpzFile):
                return {name: archive[name] for name in archive.files}
            raise ValueError("it is a single array")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is not an .npz of plain arrays: {error}") from error


def _synthetic(spec: TensorSpec, batch: int, generator: np.random.Generator) -> npt.NDArray[Any]:
    first, rest = spec.shape[:1], spec.shape[1:]
    shape = (*(batch if axis == -1 else axis for axis in first), *(_FREE_AXIS if axis == -1 else axis for axis in rest))
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return generator.random(shape).astype(dtype)
    if dtype.kind == "O":
        return np.full(shape, "a", dtype=object)
    return generator.integers(0, 2, shape).astype(dtype)
