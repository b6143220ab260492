"""Variants of a local profile that cannot run on this machine, told before any is started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.inference.inspection.inspecting import inspect_model
from app.inference.probe import ProviderProbe, probe_providers
from app.inference.providers import too_many_threads, usable_cores
from app.profiles.local import LocalProfile, VariantSettings
from app.profiles.serve import model_path
from app.records.model import GivenShapes, ModelFacts
from app.records.planned_work import ImpossibleCell
from app.wiring.local_spec import spare_memory_bytes, variants_of

_SMALLER: Mapping[str, float] = {"as-is": 1.0, "fp16": 0.5, "int8-dynamic": 0.25, "int8-static": 0.25}
"""How much of the weights' bytes a precision keeps; activations of int8 are counted in full."""
_GIB = 2**30


class LocalMachine(msgspec.Struct, frozen=True, kw_only=True):
    """`refused` are providers with why they open no session here; those neither there nor in `working` are not in this
    build of ONNX Runtime."""

    working: tuple[str, ...]
    refused: Mapping[str, str]
    cores: int
    memory_bytes: int


def local_machine() -> LocalMachine:
    """Takes a second: the providers are tried in a child. Raises InstrumentError where that fails."""
    probe = probe_providers()
    return LocalMachine(
        working=probe.working,
        refused=reasons_of(probe),
        cores=usable_cores(),
        memory_bytes=spare_memory_bytes(),
    )


def reasons_of(probe: ProviderProbe) -> dict[str, str]:
    return {one.provider: one.reason for one in probe.refused}


def facts_of_models(profile: LocalProfile) -> dict[Path, ModelFacts | UsageError]:
    """Each is inspected in a limited child; an error is why it is refused."""
    found: dict[Path, ModelFacts | UsageError] = {}
    given = GivenShapes(axes=dict(profile.target.runtime.axes))
    for variant in profile.target.all_variants:
        path = _path(variant)
        if path in found:
            continue
        try:
            found[path] = inspect_model(path, given)
        except UsageError as error:
            found[path] = error
    return found


def impossible_cells(
    profile: LocalProfile, machine: LocalMachine, models: Mapping[Path, ModelFacts | UsageError]
) -> tuple[ImpossibleCell, ...]:
    """One for each variant with something against it, and the first thing that is."""
    limit = profile.limits.memory_bytes
    cells = []
    for variant, named in zip(profile.target.all_variants, variants_of(profile), strict=True):
        facts = models.get(_path(variant))
        for settles, reason in _against(variant, machine, facts, limit):
            cells.append(ImpossibleCell(cell=named.label, reason=reason, settles=settles))
            break
    return tuple(cells)


def _against(
    variant: VariantSettings, machine: LocalMachine, facts: ModelFacts | UsageError | None, limit_bytes: int | None
) -> Iterator[tuple[str, str]]:
    if isinstance(facts, UsageError):
        yield "target.model", str(facts)
    if variant.provider in machine.refused:
        yield "target.providers", f"{variant.provider} opens no session here: {machine.refused[variant.provider]}"
    elif variant.provider not in machine.working:
        yield "target.providers", f"{variant.provider} is not in this build of ONNX Runtime"
    if variant.threads > machine.cores:
        yield "target.threads", too_many_threads(variant.threads, machine.cores)
    if not isinstance(facts, ModelFacts):
        return
    if not facts.batch_axes and facts.costs and facts.costs[0].batch != variant.batch:
        yield "target.batch", f"the model takes {facts.costs[0].batch} rows at a time, and no other number"
    needed = memory_of(facts, variant.batch, variant.precision)
    room = limit_bytes if limit_bytes is not None else machine.memory_bytes if variant.provider == "cpu" else None
    if needed is not None and room is not None and needed > room:
        whose = "limits.memory allows" if limit_bytes is not None else "this machine has to spare"
        yield "target.batch", f"it needs about {needed / _GIB:.3g} GiB, and {whose} {room / _GIB:.3g} GiB"


def memory_of(facts: ModelFacts, batch: int, precision: str = "as-is") -> int | None:
    """Weights and live activations of one inference, an estimate from the file; None where it cannot be told."""
    told = next((cost.memory_bytes for cost in facts.costs if cost.batch == batch), None)
    if told is None and facts.memory_growth is not None:
        told = facts.memory_growth.fixed + facts.memory_growth.per_row * batch
    if told is None:
        return None
    weights = min(facts.parameters.bytes, told)
    share = _SMALLER[precision]
    return round(weights * share + (told - weights) * (share if precision == "fp16" else 1.0))


def _path(variant: VariantSettings) -> Path:
    assert variant.model is not None
    return model_path(variant.model)
