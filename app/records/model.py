"""Inspection of a model file: metadata, estimated cost per inference, and the GPUs on which the
model fits."""

from __future__ import annotations

import msgspec


class ShapeOverrides(msgspec.Struct, frozen=True):
    """Lengths set by the user for dynamic axes of a model. `axes` is keyed by axis, `shapes` by
    input; None in a shape leaves an axis dynamic."""

    axes: dict[str, int] = {}
    shapes: dict[str, tuple[int | None, ...]] = {}


class ModelValue(msgspec.Struct, frozen=True):
    """An input or output of a model. A dynamic axis is represented by its name, or by `NAME.INDEX`
    if the axis has no name; `shape` is None if unknown."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


class Parameters(msgspec.Struct, frozen=True):
    """Model parameters that stay in memory between inferences, after constant folding."""

    count: int
    bytes: int
    bytes_by_dtype: dict[str, int]


class ExternalFile(msgspec.Struct, frozen=True):
    """An external file of weights. `name` is relative to the folder of the model file."""

    name: str
    size_bytes: int


class OperatorCount(msgspec.Struct, frozen=True):
    """Number of nodes of one operator type. `flops` is the total number of FLOPs of these nodes in
    one inference: 0 for an operator without multiply-adds, None if unknown."""

    operator: str
    nodes: int
    flops: int | None


class Growth(msgspec.Struct, frozen=True):
    """Linear dependence of a cost on the batch size: `fixed` + `per_row` × batch, exact for all
    examined batch sizes."""

    fixed: int
    per_row: int


class BatchCost(msgspec.Struct, frozen=True, kw_only=True):
    """Estimated cost of one inference with `batch` rows. One multiply-add of the counted operators
    is two FLOPs.

    `moved_bytes` assumes that each operator reads its inputs and writes its outputs once, without
    fusion. `min_bytes` assumes that weights, inputs and outputs are moved once, as with full
    fusion. `memory_bytes` is the weights plus the peak of live activations.
    """

    batch: int
    flops: int
    moved_bytes: int
    min_bytes: int
    memory_bytes: int
    flops_per_byte: float | None
    """Arithmetic intensity: FLOPs divided by `moved_bytes`; None if no bytes are moved."""


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    size_bytes: int
    sha256: str
    ir_version: int
    opsets: dict[str, int]
    """Opset version of each operator domain; the standard domain is `ai.onnx`."""
    producer: str | None
    inputs: tuple[ModelValue, ...]
    outputs: tuple[ModelValue, ...]
    parameters: Parameters
    external_files: tuple[ExternalFile, ...]
    nodes: int
    operators: tuple[OperatorCount, ...]
    """Operator counts, most frequent first."""
    batch_axes: tuple[str, ...]
    """Names of the dynamic first axes, which are the batch axes; empty if the model or the user
    fixes the batch size."""
    axes: dict[str, int]
    """Lengths to which the dynamic axes other than the batch axes were set, by axis."""
    costs: tuple[BatchCost, ...]
    """Costs of one inference, one entry per batch size, smallest batch size first; empty if
    `cost_reason` is set."""
    cost_reason: str | None
    flops_growth: Growth | None
    moved_growth: Growth | None
    memory_growth: Growth | None
    counted_operators: tuple[str, ...]
    unknown_operators: tuple[str, ...]
    """Operators whose FLOPs could not be counted."""
    unknown_nodes: int
    unknown_values: int
    """Number of activations of unknown size, which are excluded from the byte and memory counts."""


class GpuFit(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the check whether a model fits on one GPU, with 10 % of the GPU's memory kept free.

    `key` is the GPU's key in the catalog; None for a GPU of this machine that the catalog does not
    list. `min_latency_ms` is the lower bound of the latency of an inference with `largest_batch`
    rows, computed from the GPU's published peaks.
    """

    name: str
    key: str | None
    is_installed: bool
    memory_gib: float
    largest_batch: int | None
    """Largest examined batch size at which the model fits; None if the model does not fit at any
    examined batch size."""
    min_latency_ms: float | None
    limited_by: str | None
    """Resource that determines the minimum latency: "compute" or "memory"."""
    min_latency_basis: str = "extrapolated"


class ModelInspection(msgspec.Struct, frozen=True):
    """Inspection of a model file. `gpu_note` is the driver's message about GPUs that are expected
    but not visible."""

    model: ModelMetadata
    gpus: tuple[GpuFit, ...]
    gpu_note: str | None = None
