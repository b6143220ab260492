"""What a model file says of itself, what one inference costs by it, and the cards it would fit."""

from __future__ import annotations

import msgspec


class GivenShapes(msgspec.Struct, frozen=True):
    """Lengths the user gives to axes the model leaves open. In `shapes`, by input, None leaves an axis open."""

    axes: dict[str, int] = {}
    shapes: dict[str, tuple[int | None, ...]] = {}


class ModelValue(msgspec.Struct, frozen=True):
    """An input or output. An open axis is its name, `NAME.INDEX` where it has none; a `shape` of None is unknown."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


class Parameters(msgspec.Struct, frozen=True):
    """What stays in memory between inferences, once all that depends on constants alone has been computed."""

    count: int
    bytes: int
    bytes_by_dtype: dict[str, int]


class ExternalFile(msgspec.Struct, frozen=True):
    """A file of weights beside the model; `name` is relative to the model's folder."""

    name: str
    size_bytes: int


class OperatorCount(msgspec.Struct, frozen=True):
    """`flops` is of one inference: 0 for an operator without multiply-adds, None where it cannot be told."""

    operator: str
    nodes: int
    flops: int | None


class Growth(msgspec.Struct, frozen=True):
    """`fixed` + `per_row` × batch, which holds at every batch looked at."""

    fixed: int
    per_row: int


class BatchCost(msgspec.Struct, frozen=True, kw_only=True):
    """One inference of `batch` rows. FLOPs are two a multiply-add of the counted operators.

    `moved_bytes`: each operator reads its inputs and writes its outputs once, without fusion. `least_bytes`: weights,
    inputs and outputs once, as if everything were fused. `memory_bytes`: weights and the peak of live activations.
    """

    batch: int
    flops: int
    moved_bytes: int
    least_bytes: int
    memory_bytes: int
    flops_per_byte: float | None
    """FLOPs over `moved_bytes`; None where nothing moves."""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    size_bytes: int
    sha256: str
    ir_version: int
    opsets: dict[str, int]
    """Versions by domain; the standard domain is `ai.onnx`."""
    producer: str | None
    inputs: tuple[ModelValue, ...]
    outputs: tuple[ModelValue, ...]
    parameters: Parameters
    external_files: tuple[ExternalFile, ...]
    nodes: int
    operators: tuple[OperatorCount, ...]
    """The most frequent first."""
    batch_axes: tuple[str, ...]
    """Open first axes, which the batch fills; empty where the model fixes the batch or the user gave it."""
    axes: dict[str, int]
    """The length every other open axis was given."""
    costs: tuple[BatchCost, ...]
    """By batch, the smallest first; empty where `cost_reason` says why."""
    cost_reason: str | None
    flops_growth: Growth | None
    moved_growth: Growth | None
    memory_growth: Growth | None
    counted_operators: tuple[str, ...]
    unknown_operators: tuple[str, ...]
    """Those whose FLOPs could not be told."""
    unknown_nodes: int
    unknown_values: int
    """Activations of unknown size: bytes and memory leave them out."""


class CardFit(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a model fits one card, with 10 % of its memory kept free.

    `key` is the card's in the catalogue; None for a GPU of this machine that the catalogue does not know.
    `bound_ms` is what an inference of `largest_batch` rows takes at least, by the card's published peaks.
    """

    name: str
    key: str | None
    is_here: bool
    memory_gib: float
    largest_batch: int | None
    """Of the batches looked at; None where none fits."""
    bound_ms: float | None
    bound_by: str | None
    """compute or memory."""
    bound_basis: str = "extrapolated"


class ModelInspection(msgspec.Struct, frozen=True):
    """`gpu_note` says in the driver's words why GPUs that should be here are not seen."""

    model: ModelFacts
    cards: tuple[CardFit, ...]
    gpu_note: str | None = None
