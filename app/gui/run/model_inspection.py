"""Inspection of a local model in the background: its properties as a tree, and memory estimates.

The inspection of the model and the check of the execution providers run in child processes with
limited resources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.background import Latest
from app.gui.formatting import NOT_AVAILABLE, format_count, format_number, format_size, with_unit
from app.records.model import GpuFit, ModelInspection, ModelMetadata, ModelValue, ShapeOverrides

if TYPE_CHECKING:
    from app.wiring.unrunnable_variants import LocalMachine


_TOP_OPERATORS = 8
_MAX_LETTERS = 200
_GIB = 2**30


class TreeNode(msgspec.Struct, frozen=True):
    name: str
    value: str = ""
    children: tuple[TreeNode, ...] = ()


class MemoryFit(msgspec.Struct, frozen=True):
    """Memory that a batch size and precision needs, and the devices with insufficient memory."""

    batch: int
    precision: str
    needed_bytes: int | None
    insufficient: tuple[str, ...]
    """Names of the memories (RAM or GPUs) of this machine that are too small."""


def build_tree(inspection: ModelInspection) -> tuple[TreeNode, ...]:
    facts = inspection.model
    return tuple(_branches(facts, inspection))


def _branches(metadata: ModelMetadata, inspection: ModelInspection) -> Iterator[TreeNode]:
    yield TreeNode("Inputs", format_count(len(metadata.inputs)), tuple(_value(item) for item in metadata.inputs))
    yield TreeNode("Outputs", format_count(len(metadata.outputs)), tuple(_value(item) for item in metadata.outputs))
    yield _axes(metadata)
    opsets = ", ".join(f"{domain} {version}" for domain, version in metadata.opsets.items())
    yield TreeNode("Opset", _truncated(f"{opsets} (IR version {metadata.ir_version})"))
    yield TreeNode("Size", format_size(metadata.size_bytes))
    yield TreeNode(
        "External files",
        format_count(len(metadata.external_files))
        if metadata.external_files
        else "none (all weights are in this file)",
        tuple(TreeNode(_truncated(item.name), format_size(item.size_bytes)) for item in metadata.external_files),
    )
    parameters = metadata.parameters
    by_dtype = ", ".join(f"{format_size(nbytes)} {dtype}" for dtype, nbytes in parameters.bytes_by_dtype.items())
    yield TreeNode("Parameters", f"{format_count(parameters.count)}{f' ({by_dtype})' if by_dtype else ''}")
    yield _costs(metadata)
    yield TreeNode("Operators", f"{format_count(metadata.nodes)} nodes", tuple(_operators(metadata)))
    yield from _gpus(inspection)
    yield TreeNode("Producer", _truncated(metadata.producer or NOT_AVAILABLE))
    yield TreeNode("SHA-256", metadata.sha256)


def _value(value: ModelValue) -> TreeNode:
    shape = NOT_AVAILABLE if value.shape is None else " × ".join(map(str, value.shape)) or "scalar"
    return TreeNode(_truncated(value.name), _truncated(f"{value.dtype}, {shape}"))


def _axes(metadata: ModelMetadata) -> TreeNode:
    below = [TreeNode(_truncated(axis), "batch size") for axis in metadata.batch_axes]
    below += [TreeNode(_truncated(axis), f"length {format_count(length)}") for axis, length in metadata.axes.items()]
    below += [TreeNode(_truncated(axis), "no length set") for axis in open_axes(metadata)]
    return TreeNode("Dynamic axes", format_count(len(below)) if below else "none", tuple(below))


def open_axes(metadata: ModelMetadata) -> tuple[str, ...]:
    """Return the dynamic axes that are not batch axes and have no length."""
    symbolic = {axis for value in metadata.inputs for axis in value.shape or () if isinstance(axis, str)}
    return tuple(sorted(symbolic - set(metadata.batch_axes) - set(metadata.axes)))


def _costs(metadata: ModelMetadata) -> TreeNode:
    if not metadata.costs:
        return TreeNode("FLOPs and memory", _truncated(f"{NOT_AVAILABLE}: {metadata.cost_reason}"))
    prefix = "≥ " if metadata.unknown_nodes else ""
    below = tuple(
        TreeNode(
            f"batch {cost.batch}",
            "{flops} FLOPs, {memory} memory, {moved} memory traffic".format(
                flops=f"{prefix}{format_amount(cost.flops)}",
                memory=format_size(cost.memory_bytes),
                moved=format_size(cost.moved_bytes),
            ),
        )
        for cost in metadata.costs
    )
    first = metadata.costs[0]
    summary = "{flops} FLOPs per inference at batch size {batch}".format(
        flops=f"{prefix}{format_amount(first.flops)}", batch=first.batch
    )
    return TreeNode("FLOPs and memory", summary, below)


def _operators(metadata: ModelMetadata) -> Iterator[TreeNode]:
    for operator in metadata.operators[:_TOP_OPERATORS]:
        flops = "" if operator.flops is None else f", {format_amount(operator.flops)} FLOPs" if operator.flops else ""
        yield TreeNode(_truncated(operator.operator), format_count(operator.nodes) + flops)
    left = metadata.operators[_TOP_OPERATORS:]
    if left:
        yield TreeNode("others", format_count(sum(operator.nodes for operator in left)))


def _gpus(inspection: ModelInspection) -> Iterator[TreeNode]:
    local = [card for card in inspection.gpus if card.is_installed]
    below = tuple(TreeNode(card.name, _gpu_text(card)) for card in local)
    summary = format_count(len(local)) if local else _truncated(inspection.gpu_note or "none detected")
    yield TreeNode("GPUs in this machine", summary, below)


def _gpu_text(card: GpuFit) -> str:
    if card.largest_batch is None:
        return "does not fit"
    memory = format_number(card.memory_gib)
    return f"batch {card.largest_batch} fits in {memory} GiB"


def estimate_fits(
    inspection: ModelInspection, batches: Sequence[int], precisions: Sequence[str], free_bytes: int | None
) -> tuple[MemoryFit, ...]:
    """Estimate the required memory for each batch size and precision. `free_bytes` is the free RAM
    of this machine. For GPUs, which the inspection lists, 10 % of the memory is reserved."""
    from app.wiring.inspecting import USABLE_MEMORY_SHARE
    from app.wiring.unrunnable_variants import estimate_memory

    capacities = [("this machine's memory", free_bytes)] if free_bytes is not None else []
    capacities += [
        (card.name, round(card.memory_gib * _GIB * USABLE_MEMORY_SHARE))
        for card in inspection.gpus
        if card.is_installed
    ]
    fits = []
    for precision in precisions:
        for batch in batches:
            needed = estimate_memory(inspection.model, batch, precision)
            too_small = () if needed is None else tuple(name for name, capacity in capacities if capacity < needed)
            fits.append(MemoryFit(batch, precision, needed, too_small))
    return tuple(fits)


def format_fit(fit: MemoryFit) -> str:
    if fit.needed_bytes is None:
        return NOT_AVAILABLE
    needed = format_size(fit.needed_bytes)
    if not fit.insufficient:
        return f"about {needed}, fits"
    return "about {needed}, does not fit {where}".format(needed=needed, where=", ".join(fit.insufficient))


def format_amount(value: int) -> str:
    """Format a number with a decimal prefix, such as 8.18 G."""
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return with_unit(format_number(value / scale), prefix)
    return format_count(value)


def _truncated(text: str) -> str:
    return text if len(text) <= _MAX_LETTERS else f"{text[: _MAX_LETTERS - 1]}…"


class InspectionState(msgspec.Struct, frozen=True):
    """State of the model inspection. `working_providers` is `None` until the execution providers
    have been tested; `model_error` is the error for which the model was rejected."""

    path: Path | None = None
    is_busy: bool = False
    inspection: ModelInspection | None = None
    model_error: Exception | None = None
    working_providers: tuple[str, ...] | None = None
    refused_providers: dict[str, str] = {}
    cores: int | None = None
    free_bytes: int | None = None
    machine_error: str | None = None


class ModelInspector(QObject):
    """Inspects models in the background. `changed` is emitted with the new InspectionState. Results
    are cached until the model file changes."""

    changed = Signal(object)

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self.state = InspectionState()
        self._request: tuple[object, ...] | None = None
        self._models = Latest(self, self._on_model, self._on_model_error)
        self._machine = Latest(self, self._on_machine, self._on_machine_error)
        self._has_requested_machine = False

    def inspect(self, path: Path | None, axes: dict[str, int]) -> None:
        if not self._has_requested_machine:
            self._has_requested_machine = True
            self._machine.request(_machine)
        request = (path, tuple(sorted(axes.items())), _file_version(path))
        if request == self._request:
            return
        self._request = request
        self._models.cancel()
        is_same = path == self.state.path
        self._update(
            path=path, is_busy=path is not None, inspection=self.state.inspection if is_same else None, model_error=None
        )
        if path is not None:
            shapes = ShapeOverrides(axes=dict(axes))
            self._models.request(lambda: _inspection(path, shapes))

    def _on_model(self, inspection: ModelInspection) -> None:
        self._update(is_busy=False, inspection=inspection, model_error=None)

    def _on_model_error(self, error: Exception) -> None:
        self._update(is_busy=False, inspection=None, model_error=error)

    def _on_machine(self, machine: LocalMachine) -> None:
        self._update(
            working_providers=machine.working,
            refused_providers=dict(machine.refused),
            cores=machine.cores,
            free_bytes=machine.memory_bytes,
            machine_error=None,
        )

    def _on_machine_error(self, error: Exception) -> None:
        self._update(working_providers=(), machine_error=str(error))

    def _update(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)
        self.changed.emit(self.state)


def _machine() -> LocalMachine:
    from app.wiring.unrunnable_variants import inspect_local_machine

    return inspect_local_machine()


def _inspection(path: Path, shapes: ShapeOverrides) -> ModelInspection:
    from app.wiring.inspecting import inspect_with_gpus

    return inspect_with_gpus(path, shapes)


def _file_version(path: Path | None) -> tuple[int, int] | None:
    """Return the modification time and size of a file, which change when the file is rewritten."""
    try:
        status = None if path is None else path.stat()
    except OSError:
        return None
    return None if status is None else (status.st_mtime_ns, status.st_size)
