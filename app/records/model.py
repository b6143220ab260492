"""Metadata of a model file, its estimated cost per inference, and the GPUs it fits on."""

from __future__ import annotations

import msgspec


class ShapeOverrides(msgspec.Struct, frozen=True):
    """Lengths that the user sets for axes the model leaves open. In `shapes`, keyed by input, None leaves an axis
    open."""

    axes: dict[str, int] = {}
    shapes: dict[str, tuple[int | None, ...]] = {}


class ModelValue(msgspec.Struct, frozen=True):
    """An input or output of a model. An open axis is given by its name, or `NAME.INDEX` if it has none; a `shape` of
    None is unknown."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


class Parameters(msgspec.Struct, frozen=True):
    """Parameters that stay in memory between inferences, after constant folding."""

    count: int
    bytes: int
    bytes_by_dtype: dict[str, int]


class ExternalFile(msgspec.Struct, frozen=True):
    """An external file of weights; `name` is relative to the model's folder."""

    name: str
    size_bytes: int


class OperatorCount(msgspec.Struct, frozen=True):
    """Number of nodes of one operator type. `flops` counts one inference: 0 for an operator without multiply-adds, None
    if the count is unknown."""

    operator: str
    nodes: int
    flops: int | None


class Growth(msgspec.Struct, frozen=True):
    """Linear growth with the batch size: `fixed` + `per_row` × batch, valid for every batch size examined."""

    fixed: int
    per_row: int


class BatchCost(msgspec.Struct, frozen=True, kw_only=True):
    """Estimated cost of one inference of `batch` rows. One multiply-add of the counted operators is two FLOPs.

    `moved_bytes`: each operator reads its inputs and writes its outputs once, without fusion. `min_bytes`: weights,
    inputs and outputs are moved once, as if everything were fused. `memory_bytes`: weights plus the peak of live
    activations.
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
    """Opset versions by domain; the standard domain is `ai.onnx`."""
    producer: str | None
    inputs: tuple[ModelValue, ...]
    outputs: tuple[ModelValue, ...]
    parameters: Parameters
    external_files: tuple[ExternalFile, ...]
    nodes: int
    operators: tuple[OperatorCount, ...]
    """Operator counts, most frequent first."""
    batch_axes: tuple[str, ...]
    """Open first axes, which hold the batch; empty if the model fixes the batch size or the user set it."""
    axes: dict[str, int]
    """Length that every other open axis was set to."""
    costs: tuple[BatchCost, ...]
    """Costs by batch size, smallest first; empty if `cost_reason` is set."""
    cost_reason: str | None
    flops_growth: Growth | None
    moved_growth: Growth | None
    memory_growth: Growth | None
    counted_operators: tuple[str, ...]
    unknown_operators: tuple[str, ...]
    """Operators whose FLOPs could not be counted."""
    unknown_nodes: int
    unknown_values: int
    """Number of activations of unknown size; byte and memory counts exclude them."""


class GpuFit(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the check whether a model fits on one card with 10 % of its memory kept free.

    `key` is the card's key in the catalog; None for a GPU of this machine that the catalog does not list.
    `min_latency_ms` is the lower bound of the latency of an inference of `largest_batch` rows, from the card's
    published peaks.
    """

    name: str
    key: str | None
    is_installed: bool
    memory_gib: float
    largest_batch: int | None
    """Largest batch size that fits, of those examined; None if none fits."""
    min_latency_ms: float | None
    limited_by: str | None
    """Limiting resource: compute or memory."""
    min_latency_basis: str = "extrapolated"


class ModelInspection(msgspec.Struct, frozen=True):
    """Inspection of a model file. `gpu_note` is the driver's message about why expected GPUs are not visible."""

    model: ModelMetadata
    gpus: tuple[GpuFit, ...]
    gpu_note: str | None = None
