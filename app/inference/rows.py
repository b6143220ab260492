"""What a model is fed in a measurement: stored rows, or seeded numbers of the right shape.

An input is fed row by row when its first axis is free, or in a model without free ones as long as the batch. Any other
is given whole with every call: a single number, a state, a model's only example.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from app.errors import UsageError
from app.inference.tensor_spec import TensorSpec, printable

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]

_SEED = 7
_FREE_AXIS = 8
"""Length of a free axis that is not the batch: of a sequence, say."""
_DISTINCT_ROWS = 256
"""A model is fed these in turn, so that no cache holds the answer: at least two, and no more than 64 MiB of them."""
_DISTINCT_BYTES = 64 * 2**20
_MOST_BYTES = 4 * 2**30
_STRING_BYTES = 64


class InputRows(Protocol):
    """`notes` are what a user should know of them, in sentences."""

    def __len__(self) -> int: ...

    def batch(self, start: int, size: int) -> Feeds:
        """`size` rows from `start` on, going round at the end. These are views: nobody may write to them."""

    @property
    def labels(self) -> Array | None: ...

    @property
    def notes(self) -> tuple[str, ...]: ...


class _RoundRows:
    """The first rows are kept again behind the last, so that a batch of up to `largest_batch` rows is a slice."""

    def __init__(self, feeds: Feeds, whole: Feeds, count: int, largest_batch: int) -> None:
        places = np.arange(count + largest_batch) % count
        self._feeds = {name: rows.take(places, axis=0) for name, rows in feeds.items()}
        self._whole = dict(whole)
        self._count, self._kept = count, len(places)

    def __len__(self) -> int:
        return self._count

    def batch(self, start: int, size: int) -> Feeds:
        first = start % self._count
        stop = first + size
        if stop > self._kept:
            places = np.arange(first, stop) % self._count
            return self._whole | {name: rows.take(places, axis=0) for name, rows in self._feeds.items()}
        feeds = {name: rows[first:stop] for name, rows in self._feeds.items()}
        return self._whole | feeds if self._whole else feeds


class StoredRows(_RoundRows):
    """`feeds` by the names of the model's inputs, the first axis being the row; `labels` has one for each row, or
    is None; `whole` is given with every call. Batches larger than `largest_batch` are copied."""

    def __init__(
        self,
        feeds: Feeds,
        labels: Array | None,
        *,
        largest_batch: int = 1,
        whole: Feeds | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(feeds, whole or {}, len(next(iter(feeds.values()))), largest_batch)
        self.labels, self.notes = labels, notes


class SyntheticRows(_RoundRows):
    """The same rows for the same inputs and `axes`, whatever the batch.

    Floats lie in [0, 1). Integers are 0 or 1, so that they index anything; those given whole are 1, so that a length is
    none of nothing, as are masks, so that every place counts. Strings are digits, so that they can be read as numbers.
    `axes` are lengths of free axes by their names.
    """

    labels = None

    def __init__(
        self, inputs: tuple[TensorSpec, ...], largest_batch: int, axes: Mapping[str, int] | None = None
    ) -> None:
        lengths = axes or {}
        batched = batched_inputs(inputs, largest_batch)
        shapes = {spec.name: _shape(spec, lengths)[spec.name in batched :] for spec in inputs}
        count = _row_count(inputs, shapes, batched, largest_batch)
        self.notes = (*_length_notes(inputs, lengths), *_batch_notes(inputs, batched))
        feeds, whole = {}, {}
        for number, spec in enumerate(inputs):
            generator = np.random.default_rng([_SEED, number])
            if spec.name in batched:
                feeds[spec.name] = _synthetic(spec, (count, *shapes[spec.name]), generator)
            else:
                whole[spec.name] = _synthetic(spec, shapes[spec.name], generator, is_whole=True)
        super().__init__(feeds, whole, count, largest_batch if feeds else 1)


def synthetic_feeds(inputs: tuple[TensorSpec, ...], batch: int) -> Feeds:
    """The first batch of SyntheticRows."""
    return SyntheticRows(inputs, batch).batch(0, batch)


def batched_inputs(inputs: tuple[TensorSpec, ...], batch: int) -> frozenset[str]:
    """Names of the inputs whose first axis is the batch's."""
    free = frozenset(spec.name for spec in inputs if spec.shape[:1] == (-1,))
    return free or frozenset(spec.name for spec in inputs if spec.shape[:1] == (batch,))


def check_batch(inputs: tuple[TensorSpec, ...], batch: int) -> None:
    """Raises UsageError for a batch that the model's first axes do not take. Any takes one row: its whole example."""
    if batch == 1 or batched_inputs(inputs, batch):
        return
    fixed = next((spec for spec in inputs if spec.shape), None)
    if fixed is None:
        raise UsageError(f"the model takes single numbers, not {batch} rows", hint="Use batch 1.")
    raise UsageError(
        f"the model takes {fixed.shape[0]} rows at a time in {printable(fixed.name)}, not {batch}",
        hint=f"Use batch {fixed.shape[0]}, or export the model with a dynamic first axis.",
    )


def _shape(spec: TensorSpec, lengths: Mapping[str, int]) -> tuple[int, ...]:
    """With a length for every free axis."""
    names = (*spec.axes, *[None] * len(spec.shape))
    return tuple(
        axis if axis != -1 else lengths.get(name or "", _FREE_AXIS)
        for axis, name in zip(spec.shape, names, strict=False)
    )


def _row_count(
    inputs: tuple[TensorSpec, ...], shapes: Mapping[str, tuple[int, ...]], batched: frozenset[str], largest_batch: int
) -> int:
    """How many distinct rows there are; raises UsageError where even the fewest take too much memory."""
    sizes = {spec.name: math.prod(shapes[spec.name]) * _item_bytes(spec) for spec in inputs}
    row = sum(size for name, size in sizes.items() if name in batched)
    count = min(_DISTINCT_ROWS, max(2, _DISTINCT_BYTES // max(1, row))) if batched else 1
    if (needed := sum(sizes.values()) - row + (count + largest_batch) * row) > _MOST_BYTES:
        raise UsageError(
            f"the model's inputs take {needed / 2**30:,.1f} GiB for a batch of {largest_batch}, and 4 GiB are the most",
            hint="Use a smaller batch, or shorter axes.",
        )
    return count


def _item_bytes(spec: TensorSpec) -> int:
    return _STRING_BYTES if spec.dtype == "object" else np.dtype(spec.dtype).itemsize


def _synthetic(
    spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator, is_whole: bool = False
) -> Array:
    dtype = np.dtype(spec.dtype)
    if "mask" in spec.name.casefold() and dtype.kind != "O":
        return np.ones(shape, dtype)
    if dtype.kind == "f":
        return np.asarray(generator.random(shape, np.float64 if dtype.itemsize > 4 else np.float32), dtype)
    if dtype.kind == "O":
        return generator.integers(0, 10, shape).astype(str).astype(object)
    return np.ones(shape, dtype) if is_whole else np.asarray(generator.integers(0, 2, shape), dtype)


def _length_notes(inputs: tuple[TensorSpec, ...], lengths: Mapping[str, int]) -> list[str]:
    """One for each free axis that was given no length, and is not the batch."""
    unknown: dict[str, None] = {}
    for spec in inputs:
        for place, axis in enumerate(spec.shape):
            name = spec.axes[place] if place < len(spec.axes) else None
            if place and axis == -1 and name not in lengths:
                unknown[printable(name) if name else f"axis {place} of {printable(spec.name)}"] = None
    return [f"{name} may have any length, and is taken as {_FREE_AXIS} long" for name in unknown]


def _batch_notes(inputs: tuple[TensorSpec, ...], batched: frozenset[str]) -> list[str]:
    if batched:
        return []
    fixed = next((spec for spec in inputs if spec.shape), None)
    is_batch = (
        f": if the {fixed.shape[0]} of {printable(fixed.name)} are rows, use batch {fixed.shape[0]}" if fixed else ""
    )
    return [f"no input has a first axis for the batch, so that a call counts as one row{is_batch}"]
