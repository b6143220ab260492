"""Build evidence from the user's own measurements: stored runs and results of other tools."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.analysis.accelerator_names import matches_accelerator
from app.analysis.curve import build_client_load_points, build_load_points
from app.analysis.language_models import find_language_model
from app.analysis.published_points import load_published_points
from app.errors import InvalidRunError, UsageError
from app.profiles.plan import is_model_shape_file
from app.profiles.pricing.catalog import check_accelerator, load_catalog
from app.records.evidence import OWN_SOURCE, PUBLISHED_SOURCES, EngineName, PublishedServer
from app.records.planning_inputs import LanguageModel, MeasuredLoadPoint, OwnEvidence, OwnPoint
from app.records.result import Result
from app.storage.foreign.reading import read_foreign
from app.storage.own_evidence import identify, remove_evidence, store_evidence
from app.storage.run_directory import EVENTS, find_run
from app.wiring.assumed_models import load_assumed_model
from reports.formatting import format_count_noun
from reports.sections.evidence import UNKNOWN_VERSION


class EvidenceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Measurements that the user adds, and what their results do not state: the server.

    `source` is a run, or the result file or folder of another tool. A value of None is read from the result.
    """

    source: str
    engine: EngineName
    precision: str
    model: str | None = None
    accelerator: str | None = None
    tensor_parallel: int | None = None
    expert_parallel: int = 1
    version: str = UNKNOWN_VERSION
    kv_dtype: str = "bf16"
    input_tokens: float | None = None
    output_tokens: float | None = None
    speculation: bool | None = None


class AddedEvidence(msgspec.Struct, frozen=True):
    """Evidence that was added to the user's own, and the path of its file."""

    evidence: OwnEvidence
    path: Path

    @property
    def summary(self) -> str:
        points = format_count_noun(len(self.evidence.points), "point")
        return f"{self.evidence.id}: {points} of {self.evidence.model_name} stored in {self.path}"


def add_evidence(request: EvidenceRequest, today: datetime.date) -> AddedEvidence:
    """Read measurements and store them as the user's own evidence.

    Raises UsageError as `build_evidence` does or if they are already stored, and StorageError if they cannot be
    written.
    """
    evidence = build_evidence(request, today)
    return AddedEvidence(evidence, store_evidence(evidence))


def remove_own_evidence(evidence_id: str) -> str:
    """Remove the user's own evidence with all of its points, and return a sentence about it. Raises UsageError if the
    ID is not that of own evidence, and StorageError if it cannot be removed."""
    own_id, dot, _ = evidence_id.partition(".")
    if dot and own_id.startswith(f"{OWN_SOURCE}-"):
        raise UsageError(
            f"{evidence_id} is one point of {own_id}",
            hint=f"Remove all of its points with `sizewise evidence remove {own_id}`.",
        )
    published_ids = {point.id for point in load_published_points()} | {source.id for source in PUBLISHED_SOURCES}
    if evidence_id in published_ids:
        raise UsageError(f"{evidence_id} is published", hint="Only your own measurements can be removed.")
    remove_evidence(evidence_id)
    return f"{evidence_id} was removed"


class _Measured(msgspec.Struct, frozen=True):
    """What a result states: load points of one replica, and the server as far as it is known."""

    tool: str
    origin: str
    model: str | None
    load_points: tuple[MeasuredLoadPoint, ...]
    accelerator: str | None = None
    accelerators: int | None = None
    measured_on: datetime.date | None = None
    notes: tuple[str, ...] = ()


def build_evidence(request: EvidenceRequest, today: datetime.date) -> OwnEvidence:
    """Read measurements and build evidence of them.

    Raises UsageError if the result cannot be read, if the model or the accelerator is neither stated nor known, or if
    the result has no load with a mean TTFT or TPOT.
    """
    measured = _read_source(request.source)
    model_name, key, shape = _find_model(request.model or measured.model)
    accelerator = _find_accelerator(request.accelerator or measured.accelerator)
    accelerators = request.tensor_parallel or measured.accelerators or 1
    if accelerators % request.expert_parallel:
        raise UsageError(
            f"{request.expert_parallel} expert-parallel ranks do not divide {accelerators} accelerators",
            hint="Use --expert-parallel with a divisor of --tensor-parallel.",
        )
    points = [point for load_point in measured.load_points if (point := _build_point(load_point, request)) is not None]
    if not points:
        raise UsageError(
            f"{measured.origin} has no load with its lengths and a mean TTFT or TPOT",
            hint="Use --input-tokens and --output-tokens if the result does not state the lengths.",
        )
    skipped = len(measured.load_points) - len(points)
    notes = (f"{skipped} load points have no mean TTFT or TPOT and were left out",) if skipped else ()
    served = PublishedServer(
        model=key,
        accelerator=accelerator,
        precision=request.precision,
        engine=request.engine,
        version=request.version,
        accelerators=accelerators,
        expert_parallel=request.expert_parallel,
    )
    return identify(
        OwnEvidence(
            id="",
            added_on=today,
            tool=measured.tool,
            origin=measured.origin,
            model_name=model_name,
            shape=shape,
            served=served,
            kv_dtype=request.kv_dtype,
            speculation=request.speculation,
            measured_on=measured.measured_on,
            points=tuple(points),
            notes=(*measured.notes, *notes),
        )
    )


def _read_source(source: str) -> _Measured:
    path = Path(source)
    if not path.exists() or (path.is_dir() and (path / EVENTS).exists()):
        return _read_run(source)
    curve = read_foreign([path])
    tool = curve.tool if curve.version is None else f"{curve.tool} {curve.version}"
    return _Measured(tool, curve.source, curve.model, curve.load_points, notes=curve.notes)


def _read_run(source: str) -> _Measured:
    run = find_run(source)
    result = run.complete_result
    if result.verdict.status == "INVALID":
        raise InvalidRunError(f"{run.directory} is INVALID, so its numbers are not reliable", hint="Use another run.")
    if result.local is not None:
        raise UsageError(
            f"{run.directory} measured a model without a server", hint="Use a run that measured an LLM endpoint."
        )
    hardware = result.target.hardware
    replicas = hardware.replicas if hardware is not None else max(1, len(result.target.urls))
    count = None if hardware is None else hardware.accelerator_count / replicas
    return _Measured(
        f"Sizewise {result.tool.version}",
        result.run_id,
        result.target.model,
        _list_load_points(result, replicas),
        None if hardware is None else hardware.accelerator,
        int(count) if count is not None and count >= 1 and count == int(count) else None,
        datetime.datetime.fromisoformat(result.clock.wall_start).date(),
    )


def _list_load_points(result: Result, replicas: int) -> tuple[MeasuredLoadPoint, ...]:
    """Return the load points of one replica: constant rates, and numbers of clients."""
    closed = [
        msgspec.structs.replace(
            point, clients=(point.clients or 0.0) / replicas, achieved_per_s=point.achieved_per_s / replicas
        )
        for point in build_client_load_points(result.stages, sweeps_only=False)
    ]
    return (*build_load_points(result.stages, replicas), *closed)


def _find_model(name: str | None) -> tuple[str, str, LanguageModel]:
    """Return the name of a model as it was stated, its key and its shape. `name` may also be a file with the shape."""
    if name is None:
        raise UsageError(
            "the result does not name its model", hint="Use --model with a name such as llama-3.1-70b, or with a file."
        )
    if is_model_shape_file(Path(name)):
        assumed_model = load_assumed_model(Path(name))
        return assumed_model.name, assumed_model.name, assumed_model.model
    model = find_language_model(name)
    return name, model.key, model.shape


def _find_accelerator(name: str | None) -> str:
    """Return the key of the accelerator that a name such as `l4` denotes. Raises UsageError if it denotes several."""
    if name is None:
        raise UsageError(
            "the result does not name its accelerator", hint="Use --accelerator with a key such as h100-sxm5-80gb."
        )
    catalog = load_catalog()
    check_accelerator(catalog, name)
    keys: Sequence[str] = [key for key in catalog.accelerators if matches_accelerator(key, name)]
    if name in keys:
        keys = [name]
    if len(keys) != 1:
        raise UsageError(
            f"{name!r} denotes {len(keys)} accelerators", hint=f"Use one of {', '.join(keys)}." if keys else None
        )
    return keys[0]


def _build_point(load_point: MeasuredLoadPoint, request: EvidenceRequest) -> OwnPoint | None:
    """Return the evidence of a load point; None if its load, its lengths or both mean latencies are unknown."""
    input_tokens = request.input_tokens or load_point.input_tokens_mean
    output_tokens = request.output_tokens or load_point.output_tokens_mean
    rate_per_s = load_point.achieved_per_s if load_point.clients is None and load_point.offered_per_s else None
    ttft_s, tpot_s = (load_point.latencies_s.get(metric, {}).get("mean") for metric in ("ttft", "tpot"))
    if not (input_tokens and output_tokens and (load_point.clients or rate_per_s) and (ttft_s or tpot_s)):
        return None
    return OwnPoint(
        clients=load_point.clients,
        rate_per_s=rate_per_s,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        ttft_ms=1000 * ttft_s if ttft_s else None,
        tpot_ms=1000 * tpot_s if tpot_s else None,
        requests=load_point.completed,
    )
