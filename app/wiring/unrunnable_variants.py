"""Find the variants of a local profile that cannot run on this machine. The check runs before any
variant is started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.inference.inspection.client import inspect_model
from app.inference.probe import ProviderProbe, probe_providers
from app.inference.providers import count_usable_cores, format_too_many_threads
from app.profiles.local import LocalProfile, VariantSettings
from app.profiles.serve import get_model_path
from app.records.language_model import is_language_model
from app.records.model import ModelMetadata, ShapeOverrides
from app.records.planned_work import ImpossibleVariant
from app.wiring.local_spec import build_variants, check_model_context, compute_default_memory_limit_bytes

_RELATIVE_WEIGHT_SIZE: Mapping[str, float] = {"as-is": 1.0, "fp16": 0.5, "int8-dynamic": 0.25, "int8-static": 0.25}
"""Size of the weights at each precision, relative to the weights of the original model. The
activations of int8 models are assumed to have their original size."""
_GIB = 2**30


class LocalMachine(msgspec.Struct, frozen=True, kw_only=True):
    """Capabilities of this machine.

    `unavailable_reasons` maps each unavailable provider to the reason why it cannot open a session.
    Providers in neither `unavailable_reasons` nor `working_providers` are not part of the installed
    build of ONNX Runtime.
    """

    working_providers: tuple[str, ...]
    unavailable_reasons: Mapping[str, str]
    cores: int
    memory_bytes: int


def inspect_local_machine() -> LocalMachine:
    """Return the capabilities of this machine. The call takes about one second, because execution
    providers are tried in a child process. Raises MeasurementError if the child process crashes."""
    probe = probe_providers()
    return LocalMachine(
        working_providers=probe.working_providers,
        unavailable_reasons=get_unavailability_reasons(probe),
        cores=count_usable_cores(),
        memory_bytes=compute_default_memory_limit_bytes(),
    )


def get_unavailability_reasons(probe: ProviderProbe) -> dict[str, str]:
    """Return the reason why each unavailable execution provider cannot open a session."""
    return {failed_provider.provider: failed_provider.reason for failed_provider in probe.failed_providers}


def inspect_models(profile: LocalProfile) -> dict[Path, ModelMetadata | UsageError]:
    """Inspect each model in a child process with resource limits. Return, for each path, the
    metadata of the model, or an error if the model is rejected. A language model is only returned
    if it is rejected, or if its context is too short for the tests of the profile."""
    metadata_by_path: dict[Path, ModelMetadata | UsageError] = {}
    shape_overrides = ShapeOverrides(axes=dict(profile.target.runtime.axes))
    for variant in profile.target.all_variants:
        path = _get_path(variant)
        if path in metadata_by_path:
            continue
        try:
            if is_language_model(path):
                check_model_context(path, profile.generation_tests)
            else:
                metadata_by_path[path] = inspect_model(path, shape_overrides)
        except UsageError as error:
            metadata_by_path[path] = error
    return metadata_by_path


def find_unrunnable_variants(
    profile: LocalProfile, machine: LocalMachine, models: Mapping[Path, ModelMetadata | UsageError]
) -> tuple[ImpossibleVariant, ...]:
    """Return the variants that cannot run on this machine, each with the first reason that was
    found."""
    limit_bytes = profile.limits.memory_bytes
    impossible_variants = []
    for variant, display_variant in zip(profile.target.all_variants, build_variants(profile), strict=True):
        metadata = models.get(_get_path(variant))
        for key, reason in _find_obstacles(variant, machine, metadata, limit_bytes):
            impossible_variants.append(ImpossibleVariant(cell=display_variant.label, reason=reason, hint=key))
            break
    return tuple(impossible_variants)


def _find_obstacles(
    variant: VariantSettings,
    machine: LocalMachine,
    metadata: ModelMetadata | UsageError | None,
    limit_bytes: int | None,
) -> Iterator[tuple[str, str]]:
    if isinstance(metadata, UsageError):
        yield "target.model", str(metadata)
    if variant.provider in machine.unavailable_reasons:
        yield (
            "target.providers",
            f"{variant.provider} is not available on this machine: {machine.unavailable_reasons[variant.provider]}",
        )
    elif variant.provider not in machine.working_providers:
        yield "target.providers", f"{variant.provider} is not in this build of ONNX Runtime"
    if variant.threads > machine.cores:
        yield "target.threads", format_too_many_threads(variant.threads, machine.cores)
    if not isinstance(metadata, ModelMetadata):
        return
    if not metadata.batch_axes and metadata.costs and metadata.costs[0].batch != variant.batch:
        yield "target.batch", f"the model has a fixed batch size of {metadata.costs[0].batch}"
    needed_bytes = estimate_memory(metadata, variant.batch, variant.precision)
    available_bytes = (
        limit_bytes if limit_bytes is not None else machine.memory_bytes if variant.provider == "cpu" else None
    )
    if needed_bytes is not None and available_bytes is not None and needed_bytes > available_bytes:
        source_text = "allowed by limits.memory" if limit_bytes is not None else "available on this machine"
        yield (
            "target.batch",
            f"the variant needs about {needed_bytes / _GIB:.3g} GiB, but only {available_bytes / _GIB:.3g} GiB is "
            f"{source_text}",
        )


def estimate_memory(metadata: ModelMetadata, batch: int, precision: str = "as-is") -> int | None:
    """Estimate the memory of one inference in bytes, from the weights and the live activations;
    `None` if the memory is unknown."""
    memory_bytes = next((cost.memory_bytes for cost in metadata.costs if cost.batch == batch), None)
    if memory_bytes is None and metadata.memory_growth is not None:
        memory_bytes = metadata.memory_growth.fixed + metadata.memory_growth.per_row * batch
    if memory_bytes is None:
        return None
    weight_bytes = min(metadata.parameters.bytes, memory_bytes)
    relative_size = _RELATIVE_WEIGHT_SIZE[precision]
    return round(
        weight_bytes * relative_size + (memory_bytes - weight_bytes) * (relative_size if precision == "fp16" else 1.0)
    )


def _get_path(variant: VariantSettings) -> Path:
    assert variant.model is not None
    return get_model_path(variant.model)
