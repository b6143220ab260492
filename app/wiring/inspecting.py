"""A model beside the cards it may run on: those of this machine, and those of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from app.inference.inspection.inspecting import inspect_model
from app.profiles.pricing.catalogue import load_catalogue
from app.records.model import BatchCost, CardFit, GivenShapes, ModelFacts, ModelInspection
from app.records.offers import Accelerator
from app.records.result import Gpu
from app.telemetry.gpu import open_gpus

USED_SHARE = 0.9
_GIB = 2**30
_INTEGER_OPERATORS = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QuantizeLinear"})


def inspect_with_cards(model: Path, given: GivenShapes) -> ModelInspection:
    """Raises UsageError for a file that is no model, or is refused."""
    facts = inspect_model(model, given)
    with open_gpus() as gpus:
        here = [reader.description for reader in gpus.readers]
        note = gpus.note
    return ModelInspection(facts, card_fits(facts, here, load_catalogue().accelerators.values()), note)


def card_fits(facts: ModelFacts, here: Iterable[Gpu], known: Iterable[Accelerator]) -> tuple[CardFit, ...]:
    """This machine's first, then the catalogue's by memory; cards of unknown memory are left out, and all of them where
    the model's costs could not be told."""
    known = tuple(known)
    if not facts.costs:
        return ()
    catalogue = [_fit(facts, part.name, part.memory_gib, part, is_here=False) for part in known if part.memory_gib]
    return (*_here(facts, here, known), *sorted(catalogue, key=lambda fit: (fit.memory_gib, fit.name)))


def _here(facts: ModelFacts, gpus: Iterable[Gpu], known: tuple[Accelerator, ...]) -> Iterator[CardFit]:
    for gpu in gpus:
        if gpu.memory_gib:
            name = f"GPU {gpu.index}: {gpu.name}"
            yield _fit(facts, name, gpu.memory_gib, card_named(gpu.name, known), is_here=True)


def card_named(name: str, known: Iterable[Accelerator]) -> Accelerator | None:
    """The catalogue's card that the driver calls so."""
    return next((one for one in known if one.nvml_name_pattern and re.search(one.nvml_name_pattern, name)), None)


def _fit(facts: ModelFacts, name: str, memory_gib: float, part: Accelerator | None, *, is_here: bool) -> CardFit:
    fitting = [cost for cost in facts.costs if cost.memory_bytes <= memory_gib * _GIB * USED_SHARE]
    largest = max(fitting, key=lambda cost: cost.batch, default=None)
    bound = None if part is None or largest is None or facts.unknown_nodes else _bound(facts, largest, part)
    return CardFit(
        name=name,
        key=None if part is None else part.key,
        is_here=is_here,
        memory_gib=memory_gib,
        largest_batch=None if largest is None else largest.batch,
        bound_ms=None if bound is None else bound[0],
        bound_by=None if bound is None else bound[1],
    )


def _bound(facts: ModelFacts, cost: BatchCost, part: Accelerator) -> tuple[float, str] | None:
    """The roofline: an inference takes its arithmetic at the card's peak or its least bytes at its bandwidth, at least.

    The peak is the highest of those the model's arithmetic may use, so that the bound holds whichever kernels run.
    """
    is_integer = not _INTEGER_OPERATORS.isdisjoint(one.operator for one in facts.operators)
    peaks = (part.fp32_tflops, part.fp16_tflops, part.int8_tops if is_integer else None)
    peak = max((one for one in peaks if one), default=None)
    if peak is None or not part.memory_bandwidth_gb_s:
        return None
    compute_ms = cost.flops / (peak * 1e12) * 1e3
    memory_ms = cost.least_bytes / (part.memory_bandwidth_gb_s * 1e9) * 1e3
    return max((compute_ms, "compute"), (memory_ms, "memory"))
