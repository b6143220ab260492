"""Inspection of a local model: its properties as a tree, memory estimates, and background inspection.

Inspection of the model and the check of this machine's execution providers run in child processes with limited
resources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.background import Latest
from app.gui.formatting import NOT_AVAILABLE, count, number, size, with_unit
from app.records.model import CardFit, GivenShapes, ModelFacts, ModelInspection, ModelValue

if TYPE_CHECKING:
    from app.wiring.impossible_cells import LocalMachine


_TOP_OPERATORS = 8
_MAX_LETTERS = 200
_GIB = 2**30


class Branch(msgspec.Struct, frozen=True):
    name: str
    value: str = ""
    below: tuple[Branch, ...] = ()


class Fit(msgspec.Struct, frozen=True):
    """Memory that one batch size and precision needs, and the devices on which it does not fit."""

    batch: int
    precision: str
    needed_bytes: int | None
    too_small: tuple[str, ...]
    """Names of the memories of this machine that are too small."""


def branches_of(inspection: ModelInspection) -> tuple[Branch, ...]:
    facts = inspection.model
    return tuple(_branches(facts, inspection))


def _branches(facts: ModelFacts, inspection: ModelInspection) -> Iterator[Branch]:
    yield Branch("Inputs", count(len(facts.inputs)), tuple(_value(item) for item in facts.inputs))
    yield Branch("Outputs", count(len(facts.outputs)), tuple(_value(item) for item in facts.outputs))
    yield _axes(facts)
    opsets = ", ".join(f"{domain} {version}" for domain, version in facts.opsets.items())
    yield Branch("Opset", _truncated(f"{opsets} (IR version {facts.ir_version})"))
    yield Branch("Size", size(facts.size_bytes))
    yield Branch(
        "External files",
        count(len(facts.external_files)) if facts.external_files else "none: all weights are in this file",
        tuple(Branch(_truncated(item.name), size(item.size_bytes)) for item in facts.external_files),
    )
    parameters = facts.parameters
    by_dtype = ", ".join(f"{size(nbytes)} {dtype}" for dtype, nbytes in parameters.bytes_by_dtype.items())
    yield Branch("Parameters", f"{count(parameters.count)}{f' ({by_dtype})' if by_dtype else ''}")
    yield _costs(facts)
    yield Branch("Operators", f"{count(facts.nodes)} nodes", tuple(_operators(facts)))
    yield from _gpus(inspection)
    yield Branch("Made by", _truncated(facts.producer or NOT_AVAILABLE))
    yield Branch("SHA-256", facts.sha256)


def _value(value: ModelValue) -> Branch:
    shape = NOT_AVAILABLE if value.shape is None else " × ".join(map(str, value.shape)) or "one number"
    return Branch(_truncated(value.name), _truncated(f"{value.dtype}, {shape}"))


def _axes(facts: ModelFacts) -> Branch:
    below = [Branch(_truncated(axis), "filled by the batch") for axis in facts.batch_axes]
    below += [Branch(_truncated(axis), f"length {count(length)}") for axis, length in facts.axes.items()]
    below += [Branch(_truncated(axis), "open: give it a length") for axis in open_axes(facts)]
    return Branch("Dynamic axes", count(len(below)) if below else "none", tuple(below))


def open_axes(facts: ModelFacts) -> tuple[str, ...]:
    """Return the dynamic axes that are neither the batch axis nor given a length."""
    symbolic = {axis for value in facts.inputs for axis in value.shape or () if isinstance(axis, str)}
    return tuple(sorted(symbolic - set(facts.batch_axes) - set(facts.axes)))


def _costs(facts: ModelFacts) -> Branch:
    if not facts.costs:
        return Branch("FLOPs and memory", _truncated(f"{NOT_AVAILABLE}: {facts.cost_reason}"))
    prefix = "≥ " if facts.unknown_nodes else ""
    below = tuple(
        Branch(
            f"batch {cost.batch}",
            "{flops} FLOPs, {memory} of memory, {moved} moved".format(
                flops=f"{prefix}{amount(cost.flops)}", memory=size(cost.memory_bytes), moved=size(cost.moved_bytes)
            ),
        )
        for cost in facts.costs
    )
    first = facts.costs[0]
    summary = "{flops} FLOPs an inference of batch {batch}".format(
        flops=f"{prefix}{amount(first.flops)}", batch=first.batch
    )
    return Branch("FLOPs and memory", summary, below)


def _operators(facts: ModelFacts) -> Iterator[Branch]:
    for operator in facts.operators[:_TOP_OPERATORS]:
        flops = "" if operator.flops is None else f", {amount(operator.flops)} FLOPs" if operator.flops else ""
        yield Branch(_truncated(operator.operator), count(operator.nodes) + flops)
    left = facts.operators[_TOP_OPERATORS:]
    if left:
        yield Branch("others", count(sum(operator.nodes for operator in left)))


def _gpus(inspection: ModelInspection) -> Iterator[Branch]:
    local = [card for card in inspection.cards if card.is_here]
    below = tuple(Branch(card.name, _gpu_text(card)) for card in local)
    summary = count(len(local)) if local else _truncated(inspection.gpu_note or "none is seen here")
    yield Branch("GPUs of this machine", summary, below)


def _gpu_text(card: CardFit) -> str:
    if card.largest_batch is None:
        return "does not fit"
    memory = number(card.memory_gib)
    return f"batch {card.largest_batch} fits in {memory} GiB"


def fits_of(
    inspection: ModelInspection, batches: Sequence[int], precisions: Sequence[str], free_bytes: int | None
) -> tuple[Fit, ...]:
    """Estimate the memory of each batch and precision. `free_bytes` is this machine's free memory; GPUs come from the
    inspection, with a tenth of their memory reserved.
    """
    from app.wiring.impossible_cells import memory_of
    from app.wiring.inspecting import USED_SHARE

    capacities = [("this machine's memory", free_bytes)] if free_bytes is not None else []
    capacities += [(card.name, round(card.memory_gib * _GIB * USED_SHARE)) for card in inspection.cards if card.is_here]
    fits = []
    for precision in precisions:
        for batch in batches:
            needed = memory_of(inspection.model, batch, precision)
            too_small = () if needed is None else tuple(name for name, capacity in capacities if capacity < needed)
            fits.append(Fit(batch, precision, needed, too_small))
    return tuple(fits)


def fit_text(fit: Fit) -> str:
    if fit.needed_bytes is None:
        return NOT_AVAILABLE
    needed = size(fit.needed_bytes)
    if not fit.too_small:
        return f"about {needed}, fits"
    return "about {needed}, does not fit {where}".format(needed=needed, where=", ".join(fit.too_small))


def amount(value: int) -> str:
    """Format a number with a decimal prefix, such as 8.18 G."""
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return with_unit(number(value / scale), prefix)
    return count(value)


def _truncated(text: str) -> str:
    return text if len(text) <= _MAX_LETTERS else f"{text[: _MAX_LETTERS - 1]}…"


class Looked(msgspec.Struct, frozen=True):
    """Inspection state. `working` is `None` until the providers have been tried; `refusal` is the error that rejected
    the model.
    """

    path: Path | None = None
    is_busy: bool = False
    inspection: ModelInspection | None = None
    refusal: Exception | None = None
    working: tuple[str, ...] | None = None
    refused: dict[str, str] = {}
    cores: int | None = None
    free_bytes: int | None = None
    machine_error: str | None = None


class Inspecting(QObject):
    """Background inspection of models. `changed` emits a Looked whenever there is new information. Results are cached
    until the model file changes.
    """

    changed = Signal(object)

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self.looked = Looked()
        self._request: tuple[object, ...] | None = None
        self._models = Latest(self, self._on_model, self._on_model_error)
        self._machine = Latest(self, self._on_machine, self._on_machine_error)
        self._has_requested_machine = False

    def ask(self, path: Path | None, axes: dict[str, int]) -> None:
        if not self._has_requested_machine:
            self._has_requested_machine = True
            self._machine.ask(_machine)
        request = (path, tuple(sorted(axes.items())), _file_version(path))
        if request == self._request:
            return
        self._request = request
        self._models.forget()
        is_same = path == self.looked.path
        self._update(
            path=path, is_busy=path is not None, inspection=self.looked.inspection if is_same else None, refusal=None
        )
        if path is not None:
            shapes = GivenShapes(axes=dict(axes))
            self._models.ask(lambda: _inspection(path, shapes))

    def _on_model(self, inspection: ModelInspection) -> None:
        self._update(is_busy=False, inspection=inspection, refusal=None)

    def _on_model_error(self, error: Exception) -> None:
        self._update(is_busy=False, inspection=None, refusal=error)

    def _on_machine(self, machine: LocalMachine) -> None:
        self._update(
            working=machine.working,
            refused=dict(machine.refused),
            cores=machine.cores,
            free_bytes=machine.memory_bytes,
            machine_error=None,
        )

    def _on_machine_error(self, error: Exception) -> None:
        self._update(working=(), machine_error=str(error))

    def _update(self, **changes: object) -> None:
        self.looked = msgspec.structs.replace(self.looked, **changes)
        self.changed.emit(self.looked)


def _machine() -> LocalMachine:
    from app.wiring.impossible_cells import local_machine

    return local_machine()


def _inspection(path: Path, shapes: GivenShapes) -> ModelInspection:
    from app.wiring.inspecting import inspect_with_cards

    return inspect_with_cards(path, shapes)


def _file_version(path: Path | None) -> tuple[int, int] | None:
    """Return the modification time and size of a file, so that a rewritten file is inspected again."""
    try:
        status = None if path is None else path.stat()
    except OSError:
        return None
    return None if status is None else (status.st_mtime_ns, status.st_size)
