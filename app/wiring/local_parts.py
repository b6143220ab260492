"""The real parts of a local run."""

from __future__ import annotations

import functools
import hashlib
import platform
import time
from functools import partial
from pathlib import Path

import numpy as np

from app.analysis.local.roofline import Arithmetic, card_peaks
from app.errors import SizewiseError
from app.inference.datasets.labelled import calibration_rows, load_labelled
from app.inference.inspection.inspecting import inspect_model
from app.inference.job import VariantJob
from app.inference.peaks import measure_peaks
from app.inference.precision.making import default_cache, make_precision
from app.inference.process import VariantProcess
from app.inference.providers import NVIDIA
from app.inference.rows import Feeds
from app.inference.tensor_spec import TensorSpec
from app.profiles.local import LocalProfile
from app.profiles.pricing.catalogue import load_catalogue
from app.records.local import Peaks, Precision
from app.records.model import BatchCost, GivenShapes, ModelFacts, ModelValue
from app.records.result import Environment
from app.session.local.spec import DataSpec, LocalParts, PreparedModel, VariantOrder
from app.session.machine import gpus_of
from app.storage.calibrations import stored_selftest
from app.storage.run_directory import RunWriter
from app.telemetry.clock import read_clock
from app.telemetry.environment import runtime_packages
from app.telemetry.gpu import gpu_memory_used_gib
from app.telemetry.gpu_description import foreign_processes
from app.wiring.inspecting import card_named
from app.wiring.machine import inspect_for_run, sampler_of
from app.wiring.parts import wall_now

_MAKING_LIMIT_S = 1800.0
_ARITHMETIC: dict[Precision, Arithmetic] = {
    "as-is": "fp32",
    "fp16": "fp16",
    "int8-dynamic": "int8",
    "int8-static": "int8",
}
_KEEPS_OPTIMISED = ("cpu", "cuda", "tensorrt")
"""Providers whose session can be built from something kept: an optimised model, or an engine."""


def build_local_parts(profile: LocalProfile, store: RunWriter) -> LocalParts:
    """Starts nothing: each part starts when the session wants it."""
    return LocalParts(
        inspect_machine=partial(inspect_for_run, store.directory),
        prepare_model=prepare_model,
        start_variant=_start_variant,
        cost_of=cost_of,
        peaks_of=_PeaksHere().of,
        foreign_processes=foreign_processes,
        gpu_memory_gib=gpu_memory_used_gib,
        telemetry=sampler_of(profile),
        store=store,
        read_clock=read_clock,
        now_ns=time.perf_counter_ns,
        wall_now=wall_now,
        pause=time.sleep,
        load_selftest=stored_selftest,
    )


def prepare_model(order: VariantOrder, data: DataSpec) -> PreparedModel:
    """Raises UsageError for a file that a careful runtime would not open, before one does; UsageError or
    InstrumentError for a precision that cannot be made of it."""
    path = Path(order.model)
    _inspected(order.model, tuple(sorted(order.settings.axes.items())))
    calibration = _calibration(path, data) if order.precision == "int8-static" else None
    made = make_precision(path, order.precision, calibration, cache=default_cache(), timeout_s=_MAKING_LIMIT_S)
    return PreparedModel(
        path=str(made.path),
        sha256=made.sha256,
        size_bytes=made.path.stat().st_size,
        kept_model=_kept_model(order, made.sha256),
        notes=made.notes,
    )


def cost_of(path: str, batch: int, axes: dict[str, int]) -> BatchCost | None:
    """At a batch that was not looked at by itself: along the lines through those that were."""
    try:
        facts = _inspected(path, tuple(sorted(axes.items())))
    except SizewiseError:  # the original was opened: what was made of it is not understood
        return None
    if facts.unknown_nodes:
        return None
    known = next((one for one in facts.costs if one.batch == batch), None)
    if known is not None or not facts.costs:
        return known
    flops, moved, memory = facts.flops_growth, facts.moved_growth, facts.memory_growth
    if flops is None or moved is None or memory is None or len(facts.costs) < 2:
        return None
    first, second = facts.costs[:2]
    least_a_row = (second.least_bytes - first.least_bytes) // (second.batch - first.batch)
    moved_bytes = moved.fixed + moved.per_row * batch
    all_flops = flops.fixed + flops.per_row * batch
    return BatchCost(
        batch=batch,
        flops=all_flops,
        moved_bytes=moved_bytes,
        least_bytes=first.least_bytes + least_a_row * (batch - first.batch),
        memory_bytes=memory.fixed + memory.per_row * batch,
        flops_per_byte=all_flops / moved_bytes if moved_bytes else None,
    )


@functools.lru_cache(maxsize=64)
def _inspected(path: str, axes: tuple[tuple[str, int], ...]) -> ModelFacts:
    return inspect_model(Path(path), GivenShapes(axes=dict(axes)))


def _start_variant(what: str, job: VariantJob, environment: tuple[tuple[str, str], ...]) -> VariantProcess:
    return VariantProcess(what, job, environment=dict(environment))


def _calibration(model: Path, data: DataSpec) -> Feeds:
    """Rows spread over the set. Raises UsageError for a set that does not fit the model."""
    source = data.calibration or data.rows
    assert source is not None
    inputs = tuple(_spec(value) for value in inspect_model(model, GivenShapes()).inputs)
    rows = load_labelled(Path(source), inputs, data.label)
    chosen = [rows.batch(int(place), 1) for place in calibration_rows(len(rows), data.calibration_rows)]
    return {name: np.concatenate([one[name] for one in chosen]) for name in chosen[0]}


def _spec(value: ModelValue) -> TensorSpec:
    shape = tuple(axis if isinstance(axis, int) else -1 for axis in value.shape or ())
    return TensorSpec(value.name, value.dtype, shape)


def _kept_model(order: VariantOrder, sha256: str) -> str | None:
    """A file for the optimised model, a folder for engines; named by all that decides what is in it."""
    if order.variant.provider not in _KEEPS_OPTIMISED:
        return None
    versions = [f"{name} {version}" for name, version in runtime_packages()]
    decides = (
        sha256,
        order.variant.provider,
        platform.node(),
        platform.machine(),
        *versions,
        *map(str, (*order.environment, *sorted(order.settings.axes.items()))),
    )
    key = hashlib.sha256("\n".join(decides).encode()).hexdigest()[:32]
    folder = default_cache().parent / "optimised"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / key if order.variant.provider == "tensorrt" else folder / f"{key}.onnx")


class _PeaksHere:
    """Measured once for each number of threads and size of weights, when first asked for."""

    def __init__(self) -> None:
        self._measured: dict[tuple[int, int], dict[str, Peaks]] = {}

    def of(self, order: VariantOrder, environment: Environment, weight_bytes: int) -> Peaks | None:
        """None for providers that the processors here tell nothing of."""
        kind = _ARITHMETIC[order.precision]
        if order.variant.provider in NVIDIA:
            first = next(iter(gpus_of(order.variant, environment.gpus)), None)
            card = None if first is None else card_named(first.name, load_catalogue().accelerators.values())
            return None if card is None else card_peaks(card, kind)
        if order.variant.provider != "cpu":
            return None
        key = (order.settings.threads, weight_bytes)
        if key not in self._measured:
            try:
                self._measured[key] = measure_peaks(*key)
            except SizewiseError:  # then nothing is said of the roof
                self._measured[key] = {}
        return self._measured[key].get("fp32" if kind == "fp16" else kind)  # halves are computed as floats there
