"""Input rows of a measurement: stored rows, or seeded random values of the required shapes.

An input is fed row by row if its first axis is dynamic. In a model without dynamic first axes, an
input is fed row by row if the length of its first axis is the batch size. All other inputs (a
scalar, a state, or a fixed example) are passed whole to each call."""

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
_DEFAULT_AXIS_LENGTH = 8
"""Assumed length of dynamic axes other than the batch axis, such as a sequence axis."""
_MAX_DISTINCT_ROWS = 256
"""Maximum number of distinct rows, which are fed in turn so that no cache contains the result. If
the rows would exceed 64 MiB, fewer are generated, but at least two."""
_MAX_DISTINCT_BYTES = 64 * 2**20
_MAX_BYTES = 4 * 2**30
_STRING_BYTES = 64


class InputRows(Protocol):
    """Rows to feed to a model. `notes` are messages to the user about the rows."""

    def __len__(self) -> int: ...

    def batch(self, start: int, size: int) -> Feeds:
        """Return `size` rows starting at row `start`, wrapping around at the end. The arrays may be
        views and must not be modified."""

    @property
    def labels(self) -> Array | None: ...

    @property
    def notes(self) -> tuple[str, ...]: ...


class _CircularRows:
    """Rows stored with the first rows repeated at the end, so that a batch of up to `max_batch`
    rows is a slice."""

    def __init__(self, feeds: Feeds, whole_inputs: Feeds, row_count: int, max_batch: int) -> None:
        indices = np.arange(row_count + max_batch) % row_count
        self._feeds = {name: rows.take(indices, axis=0) for name, rows in feeds.items()}
        self._whole_inputs = dict(whole_inputs)
        self._row_count, self._stored_row_count = row_count, len(indices)

    def __len__(self) -> int:
        return self._row_count

    def batch(self, start: int, size: int) -> Feeds:
        first_index = start % self._row_count
        end_index = first_index + size
        if end_index > self._stored_row_count:
            indices = np.arange(first_index, end_index) % self._row_count
            return self._whole_inputs | {name: rows.take(indices, axis=0) for name, rows in self._feeds.items()}
        feeds = {name: rows[first_index:end_index] for name, rows in self._feeds.items()}
        return self._whole_inputs | feeds if self._whole_inputs else feeds


class StoredRows(_CircularRows):
    """Rows from a file.

    `feeds` maps the names of model inputs to arrays whose first axis is the row. `labels` has one
    value per row; `None` without labels. `whole_inputs` is passed to each call unchanged. Batches
    larger than `max_batch` are copied."""

    def __init__(
        self,
        feeds: Feeds,
        labels: Array | None,
        *,
        max_batch: int = 1,
        whole_inputs: Feeds | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(feeds, whole_inputs or {}, len(next(iter(feeds.values()))), max_batch)
        self.labels, self.notes = labels, notes


class SyntheticRows(_CircularRows):
    """Generated rows. The values depend only on the inputs and `axes`, not on the batch size.

    Floats are in [0, 1). Integers are 0 or 1, so that they are valid indices. Masks, and integers
    that are passed whole, are 1, so that no length is zero and every position counts. Strings are
    digits, so that they can be parsed as numbers. `axes` maps names of dynamic axes to lengths."""

    labels = None

    def __init__(self, inputs: tuple[TensorSpec, ...], max_batch: int, axes: Mapping[str, int] | None = None) -> None:
        axis_lengths = axes or {}
        batched_names = find_batched_input_names(inputs, max_batch)
        shapes = {spec.name: _resolve_shape(spec, axis_lengths)[spec.name in batched_names :] for spec in inputs}
        row_count = _count_distinct_rows(inputs, shapes, batched_names, max_batch)
        self.notes = (*_build_length_notes(inputs, axis_lengths), *_build_batch_notes(inputs, batched_names))
        feeds, whole_inputs = {}, {}
        for index, spec in enumerate(inputs):
            rng = np.random.default_rng([_SEED, index])
            if spec.name in batched_names:
                feeds[spec.name] = _generate_values(spec, (row_count, *shapes[spec.name]), rng)
            else:
                whole_inputs[spec.name] = _generate_values(spec, shapes[spec.name], rng, is_whole=True)
        super().__init__(feeds, whole_inputs, row_count, max_batch if feeds else 1)


def build_synthetic_feeds(inputs: tuple[TensorSpec, ...], batch: int) -> Feeds:
    """Return the first batch of generated rows for the inputs of a model."""
    return SyntheticRows(inputs, batch).batch(0, batch)


def find_batched_input_names(inputs: tuple[TensorSpec, ...], batch: int) -> frozenset[str]:
    """Return the names of the inputs that are fed row by row. These are the inputs with a dynamic
    first axis or, if there are none, the inputs whose first axis has the length `batch`."""
    dynamic_names = frozenset(spec.name for spec in inputs if spec.shape[:1] == (-1,))
    return dynamic_names or frozenset(spec.name for spec in inputs if spec.shape[:1] == (batch,))


def check_batch(inputs: tuple[TensorSpec, ...], batch: int) -> None:
    """Raise UsageError for a batch size that the model does not support. Batch size 1 is always
    valid; without a batch axis, a call is then one whole example."""
    if batch == 1 or find_batched_input_names(inputs, batch):
        return
    input_spec = next((spec for spec in inputs if spec.shape), None)
    if input_spec is None:
        raise UsageError(
            f"the model has no batch axis, so it does not support batch size {batch}", hint="Use batch size 1."
        )
    raise UsageError(
        f"the model has a fixed batch size of {input_spec.shape[0]} in input {printable(input_spec.name)}, not {batch}",
        hint=f"Use batch size {input_spec.shape[0]}, or export the model with a dynamic first axis.",
    )


def _resolve_shape(spec: TensorSpec, axis_lengths: Mapping[str, int]) -> tuple[int, ...]:
    """Return the shape of an input, with a length for each dynamic axis."""
    names = (*spec.axes, *[None] * len(spec.shape))
    return tuple(
        dim if dim != -1 else axis_lengths.get(name or "", _DEFAULT_AXIS_LENGTH)
        for dim, name in zip(spec.shape, names, strict=False)
    )


def _count_distinct_rows(
    inputs: tuple[TensorSpec, ...], shapes: Mapping[str, tuple[int, ...]], batched_names: frozenset[str], max_batch: int
) -> int:
    """Return the number of distinct rows to generate. Raises UsageError if even the minimum number
    would exceed the memory limit."""
    bytes_by_name = {spec.name: math.prod(shapes[spec.name]) * _get_element_bytes(spec) for spec in inputs}
    row_bytes = sum(input_bytes for name, input_bytes in bytes_by_name.items() if name in batched_names)
    row_count = min(_MAX_DISTINCT_ROWS, max(2, _MAX_DISTINCT_BYTES // max(1, row_bytes))) if batched_names else 1
    if (needed_bytes := sum(bytes_by_name.values()) - row_bytes + (row_count + max_batch) * row_bytes) > _MAX_BYTES:
        raise UsageError(
            (
                f"the model's inputs need {needed_bytes / 2**30:,.1f} GiB for a batch of {max_batch}, above the "
                "maximum of 4 GiB"
            ),
            hint="Use a smaller batch, or set smaller axis lengths.",
        )
    return row_count


def _get_element_bytes(spec: TensorSpec) -> int:
    return _STRING_BYTES if spec.dtype == "object" else np.dtype(spec.dtype).itemsize


def _generate_values(
    spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator, is_whole: bool = False
) -> Array:
    dtype = np.dtype(spec.dtype)
    if "mask" in spec.name.casefold() and dtype.kind != "O":
        return np.ones(shape, dtype)
    if dtype.kind == "f":
        return np.asarray(rng.random(shape, np.float64 if dtype.itemsize > 4 else np.float32), dtype)
    if dtype.kind == "O":
        return rng.integers(0, 10, shape).astype(str).astype(object)
    return np.ones(shape, dtype) if is_whole else np.asarray(rng.integers(0, 2, shape), dtype)


def _build_length_notes(inputs: tuple[TensorSpec, ...], axis_lengths: Mapping[str, int]) -> list[str]:
    """Return a note for each dynamic axis without a configured length, except the batch axis."""
    dynamic_axes: dict[str, None] = {}
    for spec in inputs:
        for index, dim in enumerate(spec.shape):
            name = spec.axes[index] if index < len(spec.axes) else None
            if index and dim == -1 and name not in axis_lengths:
                dynamic_axes[printable(name) if name else f"{index} of {printable(spec.name)}"] = None
    return [f"axis {axis} is dynamic; its length is assumed to be {_DEFAULT_AXIS_LENGTH}" for axis in dynamic_axes]


def _build_batch_notes(inputs: tuple[TensorSpec, ...], batched_names: frozenset[str]) -> list[str]:
    if batched_names:
        return []
    input_spec = next((spec for spec in inputs if spec.shape), None)
    suggestion = (
        f". If the first axis of {printable(input_spec.name)} contains rows, use batch size {input_spec.shape[0]}"
        if input_spec
        else ""
    )
    return [f"no input has a batch axis, so a call counts as one row{suggestion}"]
