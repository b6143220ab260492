"""Detects variants of a local profile that cannot run on this machine before any of them is started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.inference.inspection.client import inspect_model
from app.inference.probe import ProviderProbe, probe_providers
from app.inference.providers import too_many_threads_message, usable_cores
from app.profiles.local import LocalProfile, VariantSettings
from app.profiles.serve import model_path
from app.records.model import ModelMetadata, ShapeOverrides
from app.records.planned_work import ImpossibleVariant
from app.wiring.local_spec import build_variants, spare_memory_bytes

_WEIGHT_SHARE: Mapping[str, float] = {"as-is": 1.0, "fp16": 0.5, "int8-dynamic": 0.25, "int8-static": 0.25}
"""Size of the weights at each precision relative to the original; int8 activations count in full."""
_GIB = 2**30


class LocalMachine(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine can run.

    `refused` maps providers to the reason why they open no session here. Providers in neither `refused` nor `working`
    are not part of this build of ONNX Runtime."""

    working: tuple[str, ...]
    refused: Mapping[str, str]
    cores: int
    memory_bytes: int


def local_machine() -> LocalMachine:
    """Inspect this machine. Takes a second, since providers are tried in a child process. Raises InstrumentError if
    that fails."""
    probe = probe_providers()
    return LocalMachine(
        working=probe.working,
        refused=refusal_reasons(probe),
        cores=usable_cores(),
        memory_bytes=spare_memory_bytes(),
    )


def refusal_reasons(probe: ProviderProbe) -> dict[str, str]:
    """Return the reason for each provider that is unavailable."""
    return {refusal.provider: refusal.reason for refusal in probe.unavailable}


def inspect_models(profile: LocalProfile) -> dict[Path, ModelMetadata | UsageError]:
    """Inspect each model in a limited child process. The value is an error if the model is rejected."""
    facts_by_path: dict[Path, ModelMetadata | UsageError] = {}
    shapes = ShapeOverrides(axes=dict(profile.target.runtime.axes))
    for variant in profile.target.all_variants:
        path = _path(variant)
        if path in facts_by_path:
            continue
        try:
            facts_by_path[path] = inspect_model(path, shapes)
        except UsageError as error:
            facts_by_path[path] = error
    return facts_by_path


def find_unrunnable_variants(
    profile: LocalProfile, machine: LocalMachine, models: Mapping[Path, ModelMetadata | UsageError]
) -> tuple[ImpossibleVariant, ...]:
    """Return the variants that cannot run, each with the first reason."""
    limit = profile.limits.memory_bytes
    cells = []
    for variant, named in zip(profile.target.all_variants, build_variants(profile), strict=True):
        facts = models.get(_path(variant))
        for settles, reason in _objections(variant, machine, facts, limit):
            cells.append(ImpossibleVariant(cell=named.label, reason=reason, hint=settles))
            break
    return tuple(cells)


def _objections(
    variant: VariantSettings, machine: LocalMachine, facts: ModelMetadata | UsageError | None, limit_bytes: int | None
) -> Iterator[tuple[str, str]]:
    if isinstance(facts, UsageError):
        yield "target.model", str(facts)
    if variant.provider in machine.refused:
        yield (
            "target.providers",
            f"{variant.provider} is not available on this machine: {machine.refused[variant.provider]}",
        )
    elif variant.provider not in machine.working:
        yield "target.providers", f"{variant.provider} is not in this build of ONNX Runtime"
    if variant.threads > machine.cores:
        yield "target.threads", too_many_threads_message(variant.threads, machine.cores)
    if not isinstance(facts, ModelMetadata):
        return
    if not facts.batch_axes and facts.costs and facts.costs[0].batch != variant.batch:
        yield "target.batch", f"the model has a fixed batch size of {facts.costs[0].batch}"
    needed_bytes = estimate_memory(facts, variant.batch, variant.precision)
    available_bytes = (
        limit_bytes if limit_bytes is not None else machine.memory_bytes if variant.provider == "cpu" else None
    )
    if needed_bytes is not None and available_bytes is not None and needed_bytes > available_bytes:
        limit_text = "limits.memory allows" if limit_bytes is not None else "this machine has available"
        yield (
            "target.batch",
            f"it needs about {needed_bytes / _GIB:.3g} GiB, but {limit_text} {available_bytes / _GIB:.3g} GiB",
        )


def estimate_memory(facts: ModelMetadata, batch: int, precision: str = "as-is") -> int | None:
    """Estimate the memory of one inference in bytes, from weights and live activations; `None` if unknown."""
    memory_bytes = next((cost.memory_bytes for cost in facts.costs if cost.batch == batch), None)
    if memory_bytes is None and facts.memory_growth is not None:
        memory_bytes = facts.memory_growth.fixed + facts.memory_growth.per_row * batch
    if memory_bytes is None:
        return None
    weights = min(facts.parameters.bytes, memory_bytes)
    share = _WEIGHT_SHARE[precision]
    return round(weights * share + (memory_bytes - weights) * (share if precision == "fp16" else 1.0))


def _path(variant: VariantSettings) -> Path:
    assert variant.model is not None
    return model_path(variant.model)
