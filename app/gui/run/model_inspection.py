"""Inspection of a local model in the background: its properties as a tree, and memory estimates.

Child processes with limited resources inspect the model and test the execution providers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.background import LatestRunner
from app.gui.formatting import NOT_AVAILABLE, format_count, format_number, format_size, shorten, with_unit
from app.records.model import GpuFit, ModelInspection, ModelMetadata, ModelValue, ShapeOverrides

if TYPE_CHECKING:
    from app.inference.generation.model_folder import GenerativeModel
    from app.records.language_model import LanguageModelMetadata
    from app.wiring.unrunnable_variants import LocalMachine


_MAX_OPERATORS = 8
_GIB = 2**30


class TreeNode(msgspec.Struct, frozen=True):
    name: str
    value: str = ""
    children: tuple[TreeNode, ...] = ()


class MemoryFit(msgspec.Struct, frozen=True):
    """Estimated memory for a batch size and a precision, and the devices with too little memory."""

    batch: int
    precision: str
    needed_bytes: int | None
    insufficient_devices: tuple[str, ...]
    """Names of the devices of this machine (RAM or GPUs) with too little memory."""


def find_stored_precision(inspection: ModelInspection) -> str | None:
    """Return the precision of most of the weights in the model file, such as fp32, or `None` if it
    has another type or no weights."""
    sizes = inspection.model.parameters.bytes_by_dtype
    return _PRECISION_NAMES.get(max(sizes, key=lambda dtype: sizes[dtype])) if sizes else None


def build_tree(inspection: ModelInspection) -> tuple[TreeNode, ...]:
    metadata = inspection.model
    return tuple(_build_nodes(metadata, inspection))


def _build_nodes(metadata: ModelMetadata, inspection: ModelInspection) -> Iterator[TreeNode]:
    yield TreeNode(
        "Inputs", format_count(len(metadata.inputs)), tuple(_build_value_node(value) for value in metadata.inputs)
    )
    yield TreeNode(
        "Outputs", format_count(len(metadata.outputs)), tuple(_build_value_node(value) for value in metadata.outputs)
    )
    yield _build_axes_node(metadata)
    opsets = ", ".join(f"{domain} {version}" for domain, version in metadata.opsets.items())
    yield TreeNode("Opset", shorten(f"{opsets} (IR version {metadata.ir_version})"))
    yield TreeNode("Size", format_size(metadata.size_bytes))
    yield TreeNode(
        "External files",
        format_count(len(metadata.external_files))
        if metadata.external_files
        else "none (all weights are in this file)",
        tuple(TreeNode(shorten(file.name), format_size(file.size_bytes)) for file in metadata.external_files),
    )
    parameters = metadata.parameters
    size_text = ", ".join(f"{format_size(nbytes)} {dtype}" for dtype, nbytes in parameters.bytes_by_dtype.items())
    yield TreeNode("Parameters", f"{format_count(parameters.count)}{f' ({size_text})' if size_text else ''}")
    yield _build_costs_node(metadata)
    yield TreeNode("Operators", f"{format_count(metadata.nodes)} nodes", tuple(_build_operator_nodes(metadata)))
    yield from _build_gpus_node(inspection)
    yield TreeNode("Producer", shorten(metadata.producer or NOT_AVAILABLE))
    yield TreeNode("SHA-256", metadata.sha256)


def _build_value_node(value: ModelValue) -> TreeNode:
    shape = NOT_AVAILABLE if value.shape is None else " × ".join(map(str, value.shape)) or "scalar"
    return TreeNode(shorten(value.name), shorten(f"{value.dtype}, {shape}"))


def _build_axes_node(metadata: ModelMetadata) -> TreeNode:
    children = [TreeNode(shorten(axis), "batch size") for axis in metadata.batch_axes]
    children += [TreeNode(shorten(axis), f"length {format_count(length)}") for axis, length in metadata.axes.items()]
    children += [TreeNode(shorten(axis), "no length set") for axis in find_unset_axes(metadata)]
    return TreeNode("Dynamic axes", format_count(len(children)) if children else "none", tuple(children))


def find_unset_axes(metadata: ModelMetadata) -> tuple[str, ...]:
    """Return the dynamic axes that are not batch axes and have no length."""
    symbolic_axes = {axis for value in metadata.inputs for axis in value.shape or () if isinstance(axis, str)}
    return tuple(sorted(symbolic_axes - set(metadata.batch_axes) - set(metadata.axes)))


def _build_costs_node(metadata: ModelMetadata) -> TreeNode:
    if not metadata.costs:
        return TreeNode("FLOPs and memory", shorten(f"{NOT_AVAILABLE}: {metadata.cost_reason}"))
    prefix = "≥ " if metadata.unknown_nodes else ""
    children = tuple(
        TreeNode(
            f"batch size {cost.batch}",
            "{flops} FLOPs, {memory} memory, {memory_traffic} memory traffic".format(
                flops=f"{prefix}{format_amount(cost.flops)}",
                memory=format_size(cost.memory_bytes),
                memory_traffic=format_size(cost.moved_bytes),
            ),
        )
        for cost in metadata.costs
    )
    first_cost = metadata.costs[0]
    summary = "{flops} FLOPs per inference at batch size {batch}".format(
        flops=f"{prefix}{format_amount(first_cost.flops)}", batch=first_cost.batch
    )
    return TreeNode("FLOPs and memory", summary, children)


def _build_operator_nodes(metadata: ModelMetadata) -> Iterator[TreeNode]:
    for operator in metadata.operators[:_MAX_OPERATORS]:
        flops = "" if operator.flops is None else f", {format_amount(operator.flops)} FLOPs" if operator.flops else ""
        yield TreeNode(shorten(operator.operator), format_count(operator.nodes) + flops)
    other_operators = metadata.operators[_MAX_OPERATORS:]
    if other_operators:
        yield TreeNode("other operators", format_count(sum(operator.nodes for operator in other_operators)))


def _build_gpus_node(inspection: ModelInspection) -> Iterator[TreeNode]:
    installed_gpus = [gpu for gpu in inspection.gpus if gpu.is_installed]
    children = tuple(TreeNode(gpu.name, _format_gpu_fit(gpu)) for gpu in installed_gpus)
    summary = format_count(len(installed_gpus)) if installed_gpus else shorten(inspection.gpu_note or "none detected")
    yield TreeNode("GPUs in this machine", summary, children)


def _format_gpu_fit(gpu: GpuFit) -> str:
    if gpu.largest_batch is None:
        return "does not fit"
    memory = format_number(gpu.memory_gib)
    return f"batch size {gpu.largest_batch} fits in {memory} GiB"


def estimate_fits(
    inspection: ModelInspection, batches: Sequence[int], precisions: Sequence[str], free_bytes: int | None
) -> tuple[MemoryFit, ...]:
    """Estimate the required memory for each batch size and precision. The estimates are compared
    with the free RAM of this machine (`free_bytes`) and with 90 % of the memory of each installed
    GPU."""
    from app.wiring.inspecting import USABLE_MEMORY_SHARE
    from app.wiring.unrunnable_variants import estimate_memory

    named_capacities = [("this machine's memory", free_bytes)] if free_bytes is not None else []
    named_capacities += [
        (gpu.name, round(gpu.memory_gib * _GIB * USABLE_MEMORY_SHARE)) for gpu in inspection.gpus if gpu.is_installed
    ]
    fits = []
    for precision in precisions:
        for batch in batches:
            needed_bytes = estimate_memory(inspection.model, batch, precision)
            insufficient_devices = (
                ()
                if needed_bytes is None
                else tuple(name for name, capacity in named_capacities if capacity < needed_bytes)
            )
            fits.append(MemoryFit(batch, precision, needed_bytes, insufficient_devices))
    return tuple(fits)


def format_fit(fit: MemoryFit) -> str:
    if fit.needed_bytes is None:
        return NOT_AVAILABLE
    needed_text = format_size(fit.needed_bytes)
    if not fit.insufficient_devices:
        return f"about {needed_text}, fits"
    return f"about {needed_text}, does not fit in {', '.join(fit.insufficient_devices)}"


def format_amount(value: int) -> str:
    """Format a number with a metric prefix, such as 8.18 G."""
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return with_unit(format_number(value / scale), prefix)
    return format_count(value)


class InspectionState(msgspec.Struct, frozen=True):
    """State of the model inspection. `working_providers` is `None` until the execution providers
    have been tested; `model_error` is the reason why the model was rejected, or `None`."""

    path: Path | None = None
    is_busy: bool = False
    inspection: ModelInspection | None = None
    language_model: tuple[TreeNode, ...] = ()
    """Properties of a language model; empty for other models."""
    model_error: Exception | None = None
    working_providers: tuple[str, ...] | None = None
    failed_providers: dict[str, str] = {}
    cores: int | None = None
    free_bytes: int | None = None
    machine_error: str | None = None


class ModelInspector(QObject):
    """Inspector of models in the background. `changed` is emitted with the new InspectionState.
    Results are cached until the model file changes."""

    changed = Signal(object)

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self.state = InspectionState()
        self._request: tuple[object, ...] | None = None
        self._latest_inspection = LatestRunner(self, self._on_model, self._on_model_error)
        self._latest_machine = LatestRunner(self, self._on_machine, self._on_machine_error)
        self._has_requested_machine = False

    def inspect(self, path: Path | None, axis_lengths: dict[str, int]) -> None:
        if not self._has_requested_machine:
            self._has_requested_machine = True
            self._latest_machine.request(_inspect_machine)
        request = (path, tuple(sorted(axis_lengths.items())), _get_file_version(path))
        if request == self._request:
            return
        self._request = request
        self._latest_inspection.cancel()
        is_same_model = path == self.state.path
        self._update(
            path=path,
            is_busy=path is not None,
            inspection=self.state.inspection if is_same_model else None,
            language_model=self.state.language_model if is_same_model else (),
            model_error=None,
        )
        if path is not None:
            shapes = ShapeOverrides(axes=dict(axis_lengths))
            self._latest_inspection.request(lambda: _inspect_model(path, shapes))

    def _on_model(self, inspection: ModelInspection | tuple[TreeNode, ...]) -> None:
        is_language_model = isinstance(inspection, tuple)
        self._update(
            is_busy=False,
            inspection=None if is_language_model else inspection,
            language_model=inspection if is_language_model else (),
            model_error=None,
        )

    def _on_model_error(self, error: Exception) -> None:
        self._update(is_busy=False, inspection=None, language_model=(), model_error=error)

    def _on_machine(self, machine: LocalMachine) -> None:
        self._update(
            working_providers=machine.working_providers,
            failed_providers=dict(machine.unavailable_reasons),
            cores=machine.cores,
            free_bytes=machine.memory_bytes,
            machine_error=None,
        )

    def _on_machine_error(self, error: Exception) -> None:
        self._update(working_providers=(), machine_error=str(error))

    def _update(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)
        self.changed.emit(self.state)


def _build_language_model_nodes(model: GenerativeModel) -> tuple[TreeNode, ...]:
    return (
        TreeNode("Architecture", shorten(model.architecture)),
        TreeNode("Context", f"{format_count(model.context)} tokens"),
        TreeNode("Vocabulary", f"{format_count(model.vocabulary)} tokens"),
        TreeNode("Layers", format_count(model.layers)),
        TreeNode("KV heads", f"{format_count(model.kv_heads)} of dimension {format_count(model.head_dim)}"),
        TreeNode("KV cache", "contiguous" if model.paged_cache is None else "paged"),
        TreeNode("Size", format_size(model.size_bytes)),
    )


def _build_gguf_nodes(metadata: LanguageModelMetadata) -> tuple[TreeNode, ...]:
    counts, weights = metadata.architecture.counts, metadata.weights
    dtypes = ", ".join(f"{format_size(size)} {dtype}" for dtype, size in weights.bytes_by_dtype.items())
    nodes = [TreeNode("Architecture", shorten(metadata.architecture.name or NOT_AVAILABLE))]
    for name, key, unit in (
        ("Context", "context_tokens", " tokens"),
        ("Vocabulary", "vocabulary", " tokens"),
        ("Layers", "layers", ""),
        ("Heads", "heads", ""),
        ("KV heads", "kv_heads", ""),
        ("Head dimension", "head_dim", ""),
    ):
        nodes.append(TreeNode(name, f"{format_count(counts[key])}{unit}" if key in counts else NOT_AVAILABLE))
    parameters = NOT_AVAILABLE if weights.parameters is None else format_count(weights.parameters)
    nodes.append(TreeNode("Parameters", parameters))
    nodes.append(TreeNode("Weights", shorten(f"{format_size(weights.size_bytes)} ({dtypes})")))
    return tuple(nodes)


def _inspect_machine() -> LocalMachine:
    from app.wiring.unrunnable_variants import inspect_local_machine

    return inspect_local_machine()


def _inspect_model(path: Path, shapes: ShapeOverrides) -> ModelInspection | tuple[TreeNode, ...]:
    from app.records.language_model import is_gguf_file, is_language_model
    from app.wiring.inspecting import inspect_gguf_file, inspect_language_model, inspect_with_gpus

    if is_gguf_file(path):
        return _build_gguf_nodes(inspect_gguf_file(path))
    if is_language_model(path):
        return _build_language_model_nodes(inspect_language_model(path))
    return inspect_with_gpus(path, shapes)


def _get_file_version(path: Path | None) -> tuple[int, int] | None:
    """Return the modification time in ns and the size in bytes of a file, to detect when the file
    is rewritten. Return `None` if there is no such file."""
    try:
        file_status = None if path is None else path.stat()
    except OSError:
        return None
    return None if file_status is None else (file_status.st_mtime_ns, file_status.st_size)


_PRECISION_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}
