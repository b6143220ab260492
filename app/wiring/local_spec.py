"""Resolve the profile of a local model: model files, devices and prices."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from app.analysis.gating import DEFAULT_GATING, Gating
from app.inference.generation.evaluation_files import read_evaluation_text
from app.inference.generation.gguf_conversion import MAX_CONTEXT
from app.inference.generation.model_folder import check_test_length, read_model_folder
from app.inference.inspection.client import inspect_language_model
from app.inference.job import SessionSettings
from app.inference.providers import NVIDIA_PROVIDERS
from app.profiles.local import LocalProfile, LocalTarget, ShareOfMax, VariantSettings
from app.profiles.pricing.catalog import find_offer, load_catalog
from app.profiles.resolved import compute_profile_hash, compute_workload_hash
from app.profiles.serve import get_model_path
from app.records.estimate import Variant
from app.records.language_model import is_gguf_file, is_language_model
from app.records.local import GenerationTest
from app.records.offers import Offer
from app.records.result import Hardware, Target
from app.session.local.spec import DataSpec, LocalSpec, ScenarioSpec, TextSpec, VariantSpec
from app.session.spec import BaselineSpec, LimitSpec
from app.telemetry.machine_checks import read_free_memory_bytes
from app.wiring.hardware import describe_this_machine, resolve_hardware

_USABLE_MEMORY_SHARE = 0.9
_MIN_MEMORY_BYTES = 2**30
_SEARCH_START_SHARE = 0.5
_DEFAULT_LOAD_SHARE = 0.7
"""Default rate of the server scenario, as a fraction of the variant's maximum throughput."""


def build_local_spec(
    profile: LocalProfile, run_id: str, gating: Gating = DEFAULT_GATING, baseline: BaselineSpec | None = None
) -> LocalSpec:
    """Resolve a profile to the specification of a local run. Nothing is measured. Raises UsageError
    if the profile specifies an unknown offer, or tests that exceed the context of a language
    model."""
    check_generation_tests(profile)
    target, load, offer = profile.target, profile.load, _build_offer(profile)
    data = _build_data_spec(profile)
    variants = build_variants(profile)
    return LocalSpec(
        run_id=run_id,
        name=profile.name,
        profile_hash=compute_profile_hash(profile),
        target=Target(
            "local", (), ", ".join(dict.fromkeys(variant.model for variant in variants)), _build_hardware(profile)
        ),
        seed=load.seed,
        variants=tuple(map(partial(_build_variant_spec, target), target.all_variants, variants)),
        scenarios=build_scenarios(profile),
        data=data,
        text=_build_text_spec(profile),
        warmup_s=load.warmup_s,
        min_duration_s=load.min_duration_s,
        max_duration_s=load.max_duration_s,
        half_width=load.half_width,
        cold_starts=load.cold_starts,
        is_best_search=load.search == "best",
        slo=profile.slo,
        gates=profile.gates,
        limits=LimitSpec(profile.limits.duration_s),
        gating=gating,
        baseline=baseline,
        memory_limit_bytes=profile.limits.memory_bytes,
        default_memory_limit_bytes=compute_default_memory_limit_bytes(),
        usd_per_hour=None if offer is None else offer.on_demand_usd_per_hour,
        price_note=None if offer is None else f"price from {offer.as_of.isoformat()}, {offer.source}",
        workload_hash=compute_workload_hash(profile),
    )


def check_generation_tests(profile: LocalProfile) -> None:
    """Raise UsageError if a language model of a profile is not valid, or if a test of the profile
    exceeds its context. A GGUF file is inspected in a child process."""
    models = dict.fromkeys(variant.model for variant in profile.target.all_variants if variant.model is not None)
    for path in map(get_model_path, models):
        if is_language_model(path):
            check_model_context(path, profile.generation_tests)


def check_model_context(model: Path, tests: tuple[GenerationTest, ...]) -> None:
    """Raise UsageError if a language model is not valid, or if a test exceeds its context. A GGUF
    file is inspected in a child process."""
    if is_gguf_file(model):
        context = inspect_language_model(model).architecture.counts.get("context_tokens")
        context = None if context is None else min(context, MAX_CONTEXT)
    else:
        context = read_model_folder(model).context
    if context is not None:  # Without it, the conversion refuses the file.
        check_test_length(max(tests, key=lambda test: test.context_tokens), context, str(model))


def compute_default_memory_limit_bytes() -> int:
    """Return the memory limit in bytes for a variant without a configured limit: 90 % of the free
    memory of this machine, but at least 1 GiB."""
    return max(_MIN_MEMORY_BYTES, round(_USABLE_MEMORY_SHARE * read_free_memory_bytes()))


def build_variants(profile: LocalProfile) -> tuple[Variant, ...]:
    """Return the variants of a profile in order, with display names for results."""
    all_settings = profile.target.all_variants
    names_by_path = _build_display_names(
        {
            get_model_path(variant_settings.model)
            for variant_settings in all_settings
            if variant_settings.model is not None
        }
    )
    return tuple(_build_variant(variant_settings, names_by_path) for variant_settings in all_settings)


def _build_display_names(paths: Collection[Path]) -> dict[Path, str]:
    """Return a unique display name for each model file: the file stem, prefixed by parent folders
    only if several files have the same stem."""
    names_by_path = {path: path.stem for path in paths}
    for depth in range(1, max((len(path.parts) for path in paths), default=0)):
        counts = Counter(names_by_path.values())
        ambiguous_paths = [path for path, name in names_by_path.items() if counts[name] > 1]
        for path in ambiguous_paths:
            names_by_path[path] = "/".join((*path.parts[-1 - depth : -1], path.stem))
    return names_by_path


def _build_variant(settings: VariantSettings, names_by_path: Mapping[Path, str]) -> Variant:
    assert settings.model is not None
    is_on_nvidia = settings.provider in NVIDIA_PROVIDERS
    return Variant(
        model=names_by_path[get_model_path(settings.model)],
        provider=settings.provider,
        precision=settings.precision,
        batch=settings.batch,
        threads=settings.threads,
        streams=settings.streams,
        devices=tuple(map(str, settings.devices)) or _get_first_visible_device() if is_on_nvidia else (),
    )


def _build_variant_spec(target: LocalTarget, settings: VariantSettings, variant: Variant) -> VariantSpec:
    assert settings.model is not None
    runtime, devices = target.runtime, variant.devices
    is_on_nvidia = settings.provider in NVIDIA_PROVIDERS
    return VariantSpec(
        variant=variant,
        model=str(get_model_path(settings.model)),
        precision=settings.precision,
        settings=SessionSettings(
            threads=settings.threads,
            spinning=runtime.spinning,
            arena=runtime.arena,
            io_binding=is_on_nvidia if runtime.io_binding is None else runtime.io_binding,
            cuda_graph=runtime.cuda_graph and is_on_nvidia,
            axes=dict(runtime.axes),
            devices=tuple(range(max(1, len(devices)))),
        ),
        environment=_build_environment(devices) if is_on_nvidia else (),
        is_language_model=is_language_model(get_model_path(settings.model)),
    )


def _build_environment(devices: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the CUDA environment variables of a variant. A device is identified by its index in
    PCI bus order, as in NVML, or by its MIG UUID."""
    visible_devices = (("CUDA_VISIBLE_DEVICES", ",".join(devices)),) if devices else ()
    return (("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), *visible_devices)


def _get_first_visible_device() -> tuple[str, ...]:
    """Return the first device in the user's `CUDA_VISIBLE_DEVICES`, on which a variant runs by
    default; empty if the variable is not set."""
    first_device = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return (first_device,) if first_device and first_device != "-1" else ()


def build_scenarios(profile: LocalProfile) -> tuple[ScenarioSpec, ...]:
    """Return the scenarios in execution order. The server scenario is last, because its rate may
    depend on the maximum throughput measured in the other scenarios. The first test of a language
    model is repeated after the others, which shows drift."""
    if tests := profile.generation_tests:
        scenarios = [ScenarioSpec("generation", test=test) for test in tests]
        return (*scenarios, ScenarioSpec("generation", test=tests[0], repeat=2))
    scenarios = [ScenarioSpec(scenario) for scenario in profile.load.scenarios if scenario != "server"]
    rates = profile.load.server_rates or (ShareOfMax(_DEFAULT_LOAD_SHARE),)
    if not scenarios and not all(isinstance(rate, float) for rate in rates):
        scenarios.append(ScenarioSpec("offline"))  # The maximum throughput must be measured first.
    for rate in rates if "server" in profile.load.scenarios else ():
        if rate == "max":
            scenarios.append(ScenarioSpec("server", share=_SEARCH_START_SHARE, is_max_search=True))
        elif isinstance(rate, ShareOfMax):
            scenarios.append(ScenarioSpec("server", share=rate.share))
        else:
            scenarios.append(ScenarioSpec("server", rate))
    return tuple(scenarios)


def _build_text_spec(profile: LocalProfile) -> TextSpec | None:
    """Return the text that language models predict. Raises UsageError if it cannot be used."""
    path = profile.workload.text
    if path is None:
        return None
    read_evaluation_text(path)
    return TextSpec(str(path), profile.workload.text_tokens)


def _build_data_spec(profile: LocalProfile) -> DataSpec:
    workload = profile.workload
    uses_rows_to_calibrate = workload.calibration is None and any(
        variant.precision == "int8-static" for variant in profile.target.all_variants
    )
    return DataSpec(
        rows=None if workload.tensors is None else str(workload.tensors),
        label=None if workload.tensors is None else workload.labels,
        output=workload.output,
        calibration=None if workload.calibration is None else str(workload.calibration),
        calibration_rows=workload.calibration_rows,
        unscored_rows=workload.calibration_rows if uses_rows_to_calibrate and workload.labels is not None else 0,
    )


def _build_hardware(profile: LocalProfile) -> Hardware:
    if profile.target.hardware is not None:
        return resolve_hardware(profile.target.hardware, load_catalog())
    return describe_this_machine()


def _build_offer(profile: LocalProfile) -> Offer | None:
    hardware = profile.target.hardware
    if hardware is None or hardware.offer is None:
        return None
    return find_offer(load_catalog(), hardware.offer)
