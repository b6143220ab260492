"""Validate output tensors of the Open Inference Protocol v2, and divide input tensors among
requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod

import msgspec
import numpy as np
import numpy.typing as npt

from loadgen.payloads.tensors import (
    DTYPES,
    AmbiguousOutputError,
    NamedTensor,
    Tensor,
    TensorError,
    TensorInput,
    extract_classes,
    find_class_output,
    generate_inputs,
    read_npz,
    select_inputs,
)
from loadgen.protocols.prepared import MAX_REQUESTS_BYTES, CheckResponse, ResponseCheck, classify_status
from loadgen.transport.exchange import Exchange
from loadgen.workloads import OipWorkload

Labels = npt.NDArray[np.int64]

EMPTY_TENSOR: Tensor = np.empty(0)
"""Placeholder for a BYTES output. The strings of such an output are validated but not stored."""

_MAX_AXES = 32


class ResponseError(Exception):
    """Error that is raised when a response violates the Open Inference Protocol."""


def count_elements(shape: tuple[int, ...]) -> int:
    """Return the number of elements of a tensor with the given shape. Raises ResponseError if the
    shape is invalid."""
    if len(shape) > _MAX_AXES or any(size < 0 for size in shape):
        raise ResponseError
    return prod(shape)


def reshape(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        return tensor.reshape(shape)
    except (ValueError, OverflowError) as error:  # an axis of size 0 next to an axis too long for any array
        raise ResponseError from error


def decode_tensor(datatype: str, shape: tuple[int, ...], blob: bytes, offset: int, size: int) -> Tensor:
    """Decode a tensor from `size` bytes of `blob` at `offset`. The elements are little-endian and
    in row-major order. Raises ResponseError if the bytes do not match the datatype and shape."""
    count = count_elements(shape)
    if datatype == "BYTES":
        _validate_strings(blob[offset : offset + size], count)
        return EMPTY_TENSOR
    dtype = np.dtype("<u2") if datatype == "BF16" else DTYPES.get(datatype)
    if dtype is None or count * dtype.itemsize != size:
        raise ResponseError
    tensor = np.frombuffer(blob, dtype, count, offset)
    if datatype == "BF16":  # BF16 is the upper half of FP32
        tensor = (tensor.astype("<u4") << 16).view("<f4")
    return reshape(tensor, shape)


def _validate_strings(blob: bytes, count: int) -> None:
    position = 0
    for _ in range(count):
        if position + 4 > len(blob):
            raise ResponseError
        position += 4 + int.from_bytes(blob[position : position + 4], "little")
    if position != len(blob):
        raise ResponseError


def build_check(
    read_outputs: Callable[[Exchange], list[Tensor]], labels: Labels | None, class_index: int | None = None
) -> CheckResponse:
    """Build the check of a response whose output tensors `read_outputs` returns. `read_outputs`
    raises ResponseError for a response that violates the protocol.

    `labels` are the correct classes with shape (requests, rows). `class_index` is the index of the
    output that contains the predicted classes. If it is None, the output is selected by
    `find_class_output`.
    """

    def check(exchange: Exchange) -> ResponseCheck:
        error = classify_status(exchange.status or 0)
        if error is not None:
            return ResponseCheck(error)
        try:
            outputs = read_outputs(exchange)
            return check_outputs(outputs, None if labels is None else labels[exchange.request_index], class_index)
        except (ResponseError, ValueError, OverflowError, RecursionError, MemoryError):
            return ResponseCheck("bad-payload")

    return check


def check_outputs(outputs: list[Tensor], labels: Labels | None, class_index: int | None = None) -> ResponseCheck:
    """Check the output tensors of a response. Report `bad-output` if a number is NaN, otherwise
    count the rows whose predicted class equals their label.

    Raises ResponseError if the output with the predicted classes does not have one row per label.
    """
    if any(output.dtype.kind == "f" and np.isnan(output).any() for output in outputs):
        return ResponseCheck("bad-output")
    if labels is None:
        return ResponseCheck()
    if class_index is None:
        class_index = _infer_class_index(outputs, len(labels))
    if class_index >= len(outputs):
        raise ResponseError
    output = outputs[class_index]
    if output.ndim == 0 or output.shape[0] != len(labels) or output.size == 0:
        raise ResponseError
    return ResponseCheck(correct_rows=int(np.count_nonzero(extract_classes(output, len(labels)) == labels)))


def _infer_class_index(outputs: list[Tensor], row_count: int) -> int:
    try:
        return find_class_output([("", output) for output in outputs], row_count)
    except AmbiguousOutputError as error:
        raise ResponseError from error


def deduplicate_outputs(outputs: Sequence[NamedTensor]) -> list[NamedTensor]:
    """Remove outputs that have the same name as an earlier output. Names repeat if several streamed
    responses were joined into one response."""
    first_output_by_name: dict[str, NamedTensor] = {}
    for output in outputs:
        first_output_by_name.setdefault(output[0], output)
    return list(first_output_by_name.values())


_GENERATED_REQUEST_COUNT = 32
"""Number of generated requests. The requests differ, so that a cache in front of the model cannot
serve all of them."""

RequestInputs = list[tuple[TensorInput, Tensor]]
"""Inputs of one request: the specification and the tensor of each input."""


class ModelInputs(msgspec.Struct, frozen=True):
    """Input arrays by input name, and the labels (the correct class of each row), if any.

    The number of axes of an array determines the meaning of its first axis. If an array has as many
    axes as the model's input, the first axis is the batch axis, with one row per element. If an
    array has one more axis, each element along the first axis is the complete input of one request.
    """

    specs: Sequence[TensorInput]
    arrays: Mapping[str, Tensor]
    rows_per_request: int
    row_labels: Labels | None

    def iterate_requests(self) -> Iterator[RequestInputs]:
        """Yield the input tensors of each request. Rows at the end that do not fill a request are
        omitted."""
        is_whole_by_name = {spec.name: self.arrays[spec.name].ndim == len(spec.shape) + 1 for spec in self.specs}
        request_counts = [
            len(self.arrays[name]) // (1 if is_whole else self.rows_per_request)
            for name, is_whole in is_whole_by_name.items()
        ]
        for index in range(min(request_counts)):
            row_slice = slice(index * self.rows_per_request, (index + 1) * self.rows_per_request)
            yield [
                (spec, self.arrays[spec.name][index if is_whole_by_name[spec.name] else row_slice])
                for spec in self.specs
            ]

    def get_labels(self, request_count: int) -> Labels | None:
        """Return the labels of the first `request_count` requests, with shape (requests, rows).
        Return None if there are no labels."""
        if self.row_labels is None:
            return None
        return self.row_labels[: request_count * self.rows_per_request].reshape(request_count, self.rows_per_request)


def load_inputs(workload: OipWorkload, specs: Sequence[TensorInput]) -> ModelInputs:
    """Load or generate the input arrays of a workload. Raises TensorError if the arrays do not
    match the model's inputs."""
    rows_per_request = workload.rows_per_request
    if rows_per_request < 1:
        raise TensorError("a request must have at least one row")
    if len({spec.name for spec in specs}) != len(specs):
        raise TensorError("the model has two inputs of the same name")
    if workload.tensors is None:
        if workload.labels is not None:
            raise TensorError("labels require tensors, because the correct class of generated inputs is unknown")
        return ModelInputs(specs, _generate_arrays(specs, rows_per_request, workload.seed), rows_per_request, None)
    file_arrays = read_npz(workload.tensors)
    arrays = select_inputs(file_arrays, specs)
    for spec in specs:
        _validate_axes(spec, arrays[spec.name], rows_per_request)
    return ModelInputs(
        specs, arrays, rows_per_request, _select_labels(workload.labels, file_arrays, len(arrays[specs[0].name]))
    )


def _generate_arrays(specs: Sequence[TensorInput], rows_per_request: int, seed: int) -> dict[str, Tensor]:
    """Generate the input arrays of a workload. For an input without a batch axis, each request gets
    a complete input."""
    whole_input_specs = [
        spec for spec in specs if not spec.shape or (rows_per_request == 1 and spec.shape[0] not in (-1, 1))
    ]
    row_input_specs = [spec for spec in specs if spec not in whole_input_specs]
    batched_specs = [TensorInput(spec.name, spec.datatype, (1, *spec.shape)) for spec in whole_input_specs]
    return {
        **generate_inputs(batched_specs, 1, _GENERATED_REQUEST_COUNT, seed, limit_bytes=MAX_REQUESTS_BYTES),
        **generate_inputs(
            row_input_specs, rows_per_request, _GENERATED_REQUEST_COUNT, seed, limit_bytes=MAX_REQUESTS_BYTES
        ),
    }


def _validate_axes(spec: TensorInput, array: Tensor, rows_per_request: int) -> None:
    if array.ndim == len(spec.shape) + 1:
        if rows_per_request != 1:
            raise TensorError(f"{spec.name} contains a complete input per request. Set `rows_per_request` to 1.")
    elif array.ndim != len(spec.shape):
        raise TensorError(f"{spec.name} has {array.ndim} axes, but the model's input has {len(spec.shape)}")


def _select_labels(name: str | None, arrays: Mapping[str, Tensor], row_count: int) -> Labels | None:
    if name is None:
        return None
    labels = arrays.get(name)
    if labels is None or labels.shape != (row_count,) or labels.dtype.kind not in "iu":
        raise TensorError(f"{name} must be an array of {row_count} integers, one per row")
    return labels.astype(np.int64)
