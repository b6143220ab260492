"""Keys that the classes of a workload have in common (name, weight and SLO), and the objectives of
the classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from msgspec.structs import replace
from pydantic import AfterValidator, Field

from app.analysis.objectives import parse_objective
from app.profiles.problems import BadValueError
from app.profiles.settings import Listed, Name, ObjectiveText, Settings
from app.records.result import CLASS_TAG, Objective

MAX_CLASSES = 64


class ClassKeys(Settings):
    """One class of requests, which has `weight` divided by the sum of all weights of the
    arrivals."""

    name: Name = Field(examples=["chat"])
    """Name of the class in results and objectives, such as chat."""
    weight: Annotated[float, Field(gt=0, le=1e9)] = Field(default=1.0, examples=[3])
    """Share of the arrivals that belong to the class, relative to the weights of the other classes,
    such as 3."""
    slo: Listed[ObjectiveText] = Field(default=(), examples=[["ttft_ms.p95 < 300"]])
    """Objectives for the requests of this class, such as ttft_ms.p95 < 300. They are evaluated in
    addition to the SLO of the profile, and decide the goodput of the class."""


def _check_classes(classes: tuple[ClassKeys, ...]) -> tuple[ClassKeys, ...]:
    if len(classes) > MAX_CLASSES:
        raise BadValueError(f"workload.classes has {len(classes):,} classes, but at most {MAX_CLASSES} are allowed")
    names = Counter(request_class.name for request_class in classes)
    repeated_name = next((name for name, count in names.items() if count > 1), None)
    if repeated_name is not None:
        raise BadValueError(f"two classes have the name {repeated_name!r}", hint="Give each class its own name.")
    return classes


UNIQUE_CLASSES = AfterValidator(_check_classes)


def compute_shares(classes: Sequence[ClassKeys]) -> dict[str, float]:
    """Return the share of the arrivals of each class, by name."""
    return _normalize({request_class.name: request_class.weight for request_class in classes})


def _normalize(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def build_slo(slo: Sequence[Objective], classes: Sequence[ClassKeys]) -> tuple[Objective, ...]:
    """Return the SLO of a profile followed by the objectives of its classes, such as
    `ttft_ms.p95{class=chat} < 300`."""
    class_slos = {request_class.name: request_class.slo for request_class in classes}
    return _add_class_objectives(slo, class_slos, compute_shares(classes))


def parse_slo(document: Mapping[str, Any]) -> tuple[Objective, ...] | None:
    """Return the SLO of a stored profile followed by the objectives of its classes; `None` if the
    profile has no list of objectives. Raises UsageError for an invalid objective."""
    texts = document.get("slo")
    if not isinstance(texts, list):
        return None
    records = list(_iterate_records(document))
    shares = _normalize({record["name"]: float(record["weight"]) for record in records})
    class_slos = {record["name"]: tuple(map(parse_objective, map(str, record.get("slo") or ()))) for record in records}
    return _add_class_objectives([parse_objective(str(text)) for text in texts], class_slos, shares)


def _iterate_records(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the classes of a stored profile, which has all keys."""
    workload = document.get("workload")
    classes = workload.get("classes") if isinstance(workload, dict) else None
    for record in classes if isinstance(classes, list) else ():
        if isinstance(record, dict) and isinstance(record.get("name"), str) and _is_weight(record.get("weight")):
            yield record


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1e9


def _add_class_objectives(
    slo: Sequence[Objective], class_slos: Mapping[str, Sequence[Objective]], shares: Mapping[str, float]
) -> tuple[Objective, ...]:
    objectives = [*slo, *(_add_class(objective, name) for name, own_slo in class_slos.items() for objective in own_slo)]
    return tuple(
        objective
        if objective.request_class is None
        else replace(objective, request_share=shares.get(objective.request_class))
        for objective in objectives
    )


def _add_class(objective: Objective, name: str) -> Objective:
    metric, comparator, limit = objective.text.partition(objective.comparator)
    text = f"{metric.strip()}{{{CLASS_TAG}={name}}} {comparator} {limit.strip()}"
    return replace(objective, text=text, tags={CLASS_TAG: name})
