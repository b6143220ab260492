"""Rows of the list of evidence: published points and the user's own."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from app.analysis.accelerator_names import matches_accelerator
from app.analysis.language_models import find_model_key
from app.analysis.published_points import load_published_points
from app.errors import UsageError
from app.profiles.pricing.catalog import check_accelerator, load_catalog
from app.profiles.problems import did_you_mean
from app.records.evidence import OWN_SOURCE, PUBLISHED_SOURCES, EvidenceSource, PublishedPoint
from app.records.planning_inputs import OwnEvidence

_SOURCES_BY_ID = {source.id: source for source in PUBLISHED_SOURCES}
SOURCE_IDS = (*_SOURCES_BY_ID, OWN_SOURCE)


class EvidenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A measured load of one replica of a language model.

    Latencies are means in ms. Lengths of published points are nominal, those of the user's own are means, in tokens.
    `clients` is None for an open loop, and `rate_per_s` for a closed one. Values that the source does not state are
    None.
    """

    id: str
    source: str
    model: str
    accelerator: str
    accelerators: int
    tensor_parallel: int
    expert_parallel: int
    precision: str
    engine: str
    version: str
    input_tokens: float
    output_tokens: float
    clients: float | None
    rate_per_s: float | None
    ttft_ms: float | None
    tpot_ms: float | None
    measured_on: datetime.date | None
    flags: str | None
    """Script of InferenceX with the flags of the engine."""
    speculation: bool | None
    """Whether the server decoded speculatively."""
    image: str | None = None
    """Container image of the server."""


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
    return EvidenceRow(
        id=point.id,
        source=point.source,
        model=point.served.model,
        accelerator=point.served.accelerator,
        accelerators=point.served.accelerators,
        tensor_parallel=point.served.tensor_parallel,
        expert_parallel=point.served.expert_parallel,
        precision=point.served.precision,
        engine=point.served.engine,
        version=point.served.version,
        input_tokens=point.input_tokens,
        output_tokens=point.output_tokens,
        clients=point.clients,
        rate_per_s=None,
        ttft_ms=point.ttft_ms,
        tpot_ms=point.tpot_ms,
        measured_on=point.measured_on,
        flags=point.recipe,
        speculation=None,
        image=point.image,
    )


def build_own_rows(evidence: OwnEvidence) -> Iterator[EvidenceRow]:
    served = evidence.served
    for number, point in enumerate(evidence.points, 1):
        yield EvidenceRow(
            id=f"{evidence.id}.{number}",
            source=OWN_SOURCE,
            model=served.model,
            accelerator=served.accelerator,
            accelerators=served.accelerators,
            tensor_parallel=served.tensor_parallel,
            expert_parallel=served.expert_parallel,
            precision=served.precision,
            engine=served.engine,
            version=served.version,
            input_tokens=point.input_tokens,
            output_tokens=point.output_tokens,
            clients=point.clients,
            rate_per_s=point.rate_per_s,
            ttft_ms=point.ttft_ms,
            tpot_ms=point.tpot_ms,
            measured_on=evidence.measured_on,
            flags=None,
            speculation=evidence.speculation,
        )


def find_sources(rows: Sequence[EvidenceRow]) -> list[EvidenceSource]:
    """Return the publishers of some rows, whose attributions are shown beside them."""
    return [source for source in PUBLISHED_SOURCES if any(row.source == source.id for row in rows)]


def find_source(source_id: str) -> EvidenceSource | None:
    return _SOURCES_BY_ID.get(source_id)
