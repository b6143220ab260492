"""Open Inference Protocol v2: the tensors of each request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from loadgen.payloads.tensors import Tensor, TensorError, TensorInput, inputs_from, made_up, read_npz
from loadgen.protocols.built import MAX_BUILT_BYTES
from loadgen.protocols.oip_outputs import Labels
from loadgen.workloads import OipWorkload

_MADE_UP_REQUESTS = 32
"""Different ones, so that a cache in front of the model does not answer them all."""

Part = list[tuple[TensorInput, Tensor]]
"""The inputs of one request."""


class Inputs(msgspec.Struct, frozen=True):
    """Arrays by input, and the right class of each row when there are labels.

    An array's first axis is the row, which the model's own first axis is too. One with an axis more than the model's
    input holds whole inputs: a scalar, or an input without a batch.
    """

    specs: Sequence[TensorInput]
    arrays: Mapping[str, Tensor]
    rows: int
    row_labels: Labels | None

    def parts(self) -> Iterator[Part]:
        """Rows that do not fill a last request are left out."""
        is_whole = {spec.name: self.arrays[spec.name].ndim == len(spec.shape) + 1 for spec in self.specs}
        counts = [len(self.arrays[name]) // (1 if whole else self.rows) for name, whole in is_whole.items()]
        for index in range(min(counts)):
            rows = slice(index * self.rows, (index + 1) * self.rows)
            yield [(spec, self.arrays[spec.name][index if is_whole[spec.name] else rows]) for spec in self.specs]

    def labels(self, requests: int) -> Labels | None:
        """One line for each of the first requests."""
        if self.row_labels is None:
            return None
        return self.row_labels[: requests * self.rows].reshape(requests, self.rows)


def inputs_of(workload: OipWorkload, specs: Sequence[TensorInput]) -> Inputs:
    """Raises TensorError."""
    rows = workload.rows_per_request
    if rows < 1:
        raise TensorError("a request needs at least one row")
    if len({spec.name for spec in specs}) != len(specs):
        raise TensorError("the model names two inputs alike")
    if workload.tensors is None:
        if workload.labels is not None:
            raise TensorError("labels need tensors: made-up inputs have no right answer")
        return Inputs(specs, _made_up(specs, rows, workload.seed), rows, None)
    read = read_npz(workload.tensors)
    arrays = inputs_from(read, specs)
    for spec in specs:
        _check_axes(spec, arrays[spec.name], rows)
    return Inputs(specs, arrays, rows, _labels(workload.labels, read, len(arrays[specs[0].name])))


def _made_up(specs: Sequence[TensorInput], rows: int, seed: int) -> dict[str, Tensor]:
    """An input whose first axis is not the row's is made up whole, once for each request."""
    whole = [spec for spec in specs if not spec.shape or (rows == 1 and spec.shape[0] not in (-1, 1))]
    in_rows = [spec for spec in specs if spec not in whole]
    lifted = [TensorInput(spec.name, spec.datatype, (1, *spec.shape)) for spec in whole]
    return {
        **made_up(lifted, 1, _MADE_UP_REQUESTS, seed, limit_bytes=MAX_BUILT_BYTES),
        **made_up(in_rows, rows, _MADE_UP_REQUESTS, seed, limit_bytes=MAX_BUILT_BYTES),
    }


def _check_axes(spec: TensorInput, array: Tensor, rows: int) -> None:
    if array.ndim == len(spec.shape) + 1:
        if rows != 1:
            raise TensorError(f"{spec.name} holds whole inputs, one for each request: ask for one row a request")
    elif array.ndim != len(spec.shape):
        raise TensorError(f"{spec.name} has {array.ndim} axes, and the model's input {len(spec.shape)}")


def _labels(name: str | None, arrays: Mapping[str, Tensor], rows: int) -> Labels | None:
    if name is None:
        return None
    labels = arrays.get(name)
    if labels is None or labels.shape != (rows,) or labels.dtype.kind not in "iu":
        raise TensorError(f"{name} must be an array of {rows} whole numbers, one for each row")
    return labels.astype(np.int64)
