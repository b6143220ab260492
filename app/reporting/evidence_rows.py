"""Rows of the list of evidence: published points and the user's own."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from app.analysis.accelerator_names import matches_accelerator
from app.analysis.language_models import find_model_key
from app.analysis.published_points import load_published_points
from app.errors import UsageError
from app.profiles.mlperf_results import MlperfResult, list_model_results
from app.profiles.pricing.catalog import check_accelerator, load_catalog
from app.profiles.problems import did_you_mean
from app.records.evidence import (
    MLPERF_SOURCE,
    OWN_SOURCE,
    PUBLISHED_SOURCES,
    EvidenceSource,
    PublishedPoint,
    PublishedServer,
)
from app.records.plan import NearestPoint
from app.records.planning_inputs import OwnEvidence, OwnPoint
from reports.sections.evidence import EvidenceRow, NearestPointRow
from reports.sections.mlperf import MlperfRow

_SOURCES_BY_ID = {source.id: source for source in (*PUBLISHED_SOURCES, MLPERF_SOURCE)}
SOURCE_IDS = (*(source.id for source in PUBLISHED_SOURCES), OWN_SOURCE)
"""Sources of points."""


def list_rows(own: Iterable[OwnEvidence]) -> list[EvidenceRow]:
    """Return the rows of the user's own evidence, then those of all published points."""
    own_rows = [row for evidence in own for row in build_own_rows(evidence)]
    return own_rows + [build_published_row(point) for point in load_published_points()]


def find_rows(
    rows: Iterable[EvidenceRow],
    *,
    model: str | None = None,
    accelerator: str | None = None,
    engine: str | None = None,
    source: str | None = None,
) -> list[EvidenceRow]:
    """Return the rows that match all given filters, in their order. An accelerator such as `h100` stands for all of its
    variants, and a model for all models of its shape.

    Raises UsageError for an unknown accelerator, or for a model without any row, with the most similar name as hint.
    """
    rows = list(rows)
    if accelerator is not None:
        check_accelerator(load_catalog(), accelerator)
    if model is not None:
        model = _find_listed_model(model, {row.model for row in rows})
    return [
        row
        for row in rows
        if model in (None, row.model)
        and (accelerator is None or matches_accelerator(row.accelerator, accelerator))
        and engine in (None, row.engine)
        and source in (None, row.source)
    ]


def _find_listed_model(name: str, listed: set[str]) -> str:
    model = name if name in listed else find_model_key(name)
    if model not in listed:
        hint = did_you_mean(name, listed) or f"The models are {', '.join(sorted(listed))}."
        raise UsageError(f"there is no evidence of the model {name!r}", hint=hint)
    return model


def build_published_row(point: PublishedPoint) -> EvidenceRow:
    return EvidenceRow(**_list_published_fields(point))


def build_nearest_row(nearest: NearestPoint) -> NearestPointRow:
    return NearestPointRow(
        **_list_published_fields(nearest.point),
        predicted_ttft_ms=nearest.predicted_ttft_ms,
        predicted_tpot_ms=nearest.predicted_tpot_ms,
        distance=nearest.distance,
    )


def build_own_rows(evidence: OwnEvidence) -> Iterator[EvidenceRow]:
    for number, point in enumerate(evidence.points, 1):
        yield EvidenceRow(
            **_list_fields(point, evidence.served, evidence.measured_on),
            id=f"{evidence.id}.{number}",
            source=OWN_SOURCE,
            rate_per_s=point.rate_per_s,
            speculation=evidence.speculation,
        )


def _list_published_fields(point: PublishedPoint) -> dict[str, Any]:
    return _list_fields(point, point.served, point.measured_on) | {
        "id": point.id,
        "source": point.source,
        "flags": point.recipe,
        "image": point.image,
    }


_SERVER_FIELDS = (
    "model", "accelerator", "accelerators", "tensor_parallel", "expert_parallel", "precision", "engine", "version",
)  # fmt: skip
_LOAD_FIELDS = ("input_tokens", "output_tokens", "clients", "ttft_ms", "tpot_ms")


def _list_fields(
    point: PublishedPoint | OwnPoint, served: PublishedServer, measured_on: datetime.date | None
) -> dict[str, Any]:
    return (
        {name: getattr(served, name) for name in _SERVER_FIELDS}
        | {name: getattr(point, name) for name in _LOAD_FIELDS}
        | {"measured_on": None if measured_on is None else measured_on.isoformat()}
    )


class ModelEvidence(msgspec.Struct, frozen=True):
    """Evidence of one language model: the rows of the user's own measurements and of published points, and apart from
    them the results of MLPerf."""

    model: str
    rows: tuple[EvidenceRow, ...]
    mlperf: tuple[MlperfRow, ...]


@lru_cache(maxsize=4)
def list_model_evidence(model: str, own: tuple[OwnEvidence, ...]) -> ModelEvidence:
    """Return the evidence of a language model. `own` are the user's measurements of it."""
    own_rows = [row for evidence in own for row in build_own_rows(evidence)]
    published = [build_published_row(point) for point in load_published_points() if point.served.model == model]
    return ModelEvidence(model, (*own_rows, *published), tuple(map(build_mlperf_row, list_model_results(model))))


def build_mlperf_row(result: MlperfResult) -> MlperfRow:
    return MlperfRow(
        round=result.round,
        scenario=result.scenario,
        benchmark=result.model,
        accelerator=result.accelerator_key,
        accelerators=result.accelerator_count,
        precision=result.dtype,
        engine=result.runtime,
        tokens_per_s=result.tokens_per_s,
        samples_per_s=result.samples_per_s,
        submitter=result.submitter,
        system=result.system,
        measured_on=result.date.isoformat(),
        source=result.source,
    )


def find_sources(rows: Sequence[EvidenceRow]) -> list[EvidenceSource]:
    """Return the publishers of some rows, whose attributions are shown beside them."""
    return [source for source in PUBLISHED_SOURCES if any(row.source == source.id for row in rows)]


def find_source(source_id: str) -> EvidenceSource | None:
    return _SOURCES_BY_ID.get(source_id)
