"""Read and write plan files: the inputs and the result of a plan, with its catalog in a file beside.

The catalog is in a CSV file, which plan files of the same catalog share. A plan file contains only
the catalog's facts about the recommended fleet, the Pareto front and the nearest excluded offers.
Of a fleet it contains what does not follow from the catalog, and a fleet that occurs again is only
named.
"""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from app.errors import UNWRITABLE_FILE_HINT, UsageError
from app.planning.offers.candidates import build_rejected_fleet
from app.records.offers import Catalog, Offer
from app.records.plan import Fleet, Plan
from app.records.planning_inputs import PlanningInputs
from app.storage.catalog_file import CatalogReference, build_catalog_reference, format_catalog, read_catalog
from app.storage.plan_file import (
    VERSION,
    Block,
    OneLine,
    build_plan_file_error,
    build_sparse,
    find_impossible_input,
    format_plan_document,
    read_plan_document,
)
from app.storage.run_directory import write_atomically

_NEAREST_EXCLUDED = 5
"""Number of excluded offers that are listed with their facts, nearest to qualifying first."""
_CATALOG_FIELDS = frozenset(
    ("provider", "instance_type", "region", "accelerator", "accelerator_count", "vcpus", "memory_gib",
     "usd_per_hour_each", "price_date", "price_age_days", "price_source")
)  # fmt: skip
"""Fields of a fleet that follow from its offer and the date of the plan. Those of an excluded offer
all do, except for the reason."""
_KEY_FIELDS = ("provider", "instance_type", "region")
_FACTS_HINT = "To plan with other facts, use --set price.OFFER=USD/h or --offers FILE."


UNCHECKED_NOTE = (
    "The result is unchecked: its plan file has no digest, so it may have been edited. To compute it again, plan the "
    "file."
)


class PlanFile(msgspec.Struct, frozen=True):
    """Contents of a plan file. New fields do not change the version of the format.

    `has_digest` is False for a file of an older version, whose result cannot be checked.
    """

    tool: str
    plan: Plan
    inputs: PlanningInputs
    has_digest: bool = True

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes about the file, to be shown with its result."""
        return () if self.has_digest else (UNCHECKED_NOTE,)


class EncodedPlan(msgspec.Struct, frozen=True):
    """A plan as YAML, and the catalog file that it refers to."""

    text: str
    catalog_name: str
    catalog: bytes


class _Facts(msgspec.Struct, frozen=True):
    offers: dict[str, dict[str, Any]] = {}
    accelerators: dict[str, dict[str, Any]] = {}


class _Header(msgspec.Struct, frozen=True):
    """Values of a plan file besides the plan."""

    sizewise_plan: int
    tool: str
    catalog: CatalogReference
    plan: dict[str, Any]
    inputs: dict[str, Any]
    facts: _Facts = _Facts()
    digest: str | None = None


def encode_plan(plan_file: PlanFile) -> EncodedPlan:
    """Return a plan as the content of its files. The same plan always results in the same content,
    even after it was written and read again."""
    # The conversion turns integers in float fields into floats: 8.0, not 8.
    plan_file = msgspec.convert(msgspec.to_builtins(plan_file), PlanFile)
    catalog = format_catalog(plan_file.inputs.catalog)
    reference = build_catalog_reference(catalog)
    inputs = build_sparse(plan_file.inputs)
    del inputs["catalog"]
    inputs["limits"] = Block(inputs["limits"])
    plan = _FleetEncoder(plan_file.inputs).encode(plan_file.plan)
    document = {
        "sizewise_plan": VERSION,
        "tool": plan_file.tool,
        "catalog": Block(build_sparse(reference)),
        "facts": _build_facts(plan_file),
        "digest": _compute_digest(plan, inputs, reference),
        "plan": plan,
        "inputs": inputs,
    }
    return EncodedPlan(format_plan_document(document), reference.file, catalog)


def write_plan(path: Path, plan_file: PlanFile) -> tuple[Path, ...]:
    """Write a plan file and the catalog file beside it, and return their paths. Each is written
    completely or not at all, first the catalog. Raises UsageError on failure."""
    encoded_plan = encode_plan(plan_file)
    catalog_path = path.parent / encoded_plan.catalog_name
    if not _has_content(catalog_path, encoded_plan.catalog):
        _write_file(catalog_path, encoded_plan.catalog)
    _write_file(path, encoded_plan.text.encode())
    return path, catalog_path


def _write_file(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint=UNWRITABLE_FILE_HINT) from error


def _has_content(path: Path, content: bytes) -> bool:
    try:
        return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def read_plan(path: Path) -> PlanFile:
    """Read a plan file and its catalog file. Raises UsageError if one of them is missing or invalid,
    or if the result was changed since it was written."""
    try:
        header, inputs = _read_header(path)
        plan = msgspec.convert(_FleetDecoder(inputs).decode(header.plan), Plan)
        actual_digest = _compute_digest(header.plan, header.inputs, header.catalog)
    except (RecursionError, ValueError, OverflowError, TypeError, msgspec.ValidationError) as error:
        raise build_plan_file_error(path, error) from error
    if header.digest not in (None, actual_digest):
        message = f"the result in {path} was changed after it was written"
        raise UsageError(message, hint=f"Compute it again from its inputs: sizewise plan {path} --out {path}")
    return PlanFile(header.tool, plan, inputs, has_digest=header.digest is not None)


def read_plan_inputs(path: Path) -> PlanningInputs:
    """Read the inputs of a plan file and its catalog file, to plan again. The result is not read.
    Raises UsageError if a file is missing or the inputs are invalid."""
    try:
        return _read_header(path)[1]
    except (RecursionError, ValueError, msgspec.ValidationError) as error:
        raise build_plan_file_error(path, error) from error


def _read_header(path: Path) -> tuple[_Header, PlanningInputs]:
    header = msgspec.convert(read_plan_document(path), _Header)
    inputs = msgspec.convert(header.inputs | {"catalog": build_sparse(Catalog({}, ()))}, PlanningInputs)
    catalog = read_catalog(path, header.catalog)
    inputs = msgspec.structs.replace(inputs, catalog=catalog)
    _check_facts(path, header.facts, catalog)
    if (problem := find_impossible_input(inputs)) is not None:
        raise ValueError(problem)
    return header, inputs


def _compute_digest(plan: dict[str, Any], inputs: dict[str, Any], catalog: CatalogReference) -> str:
    """Return the SHA-256 of the result of a plan as it is in the document, with what completes its
    fleets: the catalog and the date. Layout and comments of the file do not change it."""
    content = msgspec.json.encode((plan, catalog.sha256, inputs["today"]), order="sorted")
    return hashlib.sha256(content).hexdigest()


def _build_facts(plan_file: PlanFile) -> dict[str, Any]:
    """Return the catalog's facts about the offers that decide the plan, and about the accelerators
    of these offers and of the measured hardware."""
    plan, catalog = plan_file.plan, plan_file.inputs.catalog
    excluded_fleets = [fleet for fleet in plan.offers if fleet.rejected is not None]
    fleets = [*_list_single_fleets(plan), *plan.pareto, *excluded_fleets[:_NEAREST_EXCLUDED]]
    keys = {fleet.offer for fleet in fleets}
    offers = sorted((offer for offer in catalog.offers if offer.key in keys), key=lambda offer: offer.key)
    accelerator_keys = {offer.accelerator for offer in offers} | {
        target.hardware.accelerator for target in plan_file.inputs.measured
    }
    return {
        "offers": {offer.key: _build_offer_facts(offer) for offer in offers},
        "accelerators": {
            key: Block(build_sparse(catalog.accelerators[key]))
            for key in sorted(catalog.accelerators.keys() & accelerator_keys)
        },
    }


def _build_offer_facts(offer: Offer) -> dict[str, Any]:
    return Block({name: value for name, value in build_sparse(offer).items() if name not in _KEY_FIELDS})


def _check_facts(path: Path, facts: _Facts, catalog: Catalog) -> None:
    """Raise UsageError if a fact was edited in the plan file, where it would have no effect."""
    offer_facts = {offer.key: _build_offer_facts(offer) for offer in catalog.offers if offer.key in facts.offers}
    accelerator_facts = {
        key: build_sparse(accelerator) for key, accelerator in catalog.accelerators.items() if key in facts.accelerators
    }
    stated_facts, catalog_facts = facts.offers | facts.accelerators, offer_facts | accelerator_facts
    for key in stated_facts:
        if stated_facts[key] != catalog_facts.get(key):
            message = f"the facts of {key:.100} in {path} differ from those in its catalog file"
            raise UsageError(message, hint=_FACTS_HINT)


def _list_single_fleets(plan: Plan) -> list[Fleet]:
    recommended_fleet = None if plan.recommendation is None else plan.recommendation.fleet
    return [fleet for fleet in (recommended_fleet, plan.runner_up, plan.cheapest_rejected) if fleet is not None]


class _FleetBases:
    """Fields of fleets that follow from the catalog and the date of the plan."""

    def __init__(self, plan_inputs: PlanningInputs) -> None:
        self._offers = {offer.key: offer for offer in plan_inputs.catalog.offers}
        self._today: datetime.date = plan_inputs.today

    def build(self, key: object, rejected: object, rejected_by: object, rejection: object) -> dict[str, Any]:
        """Return the fields of a fleet that follow from the catalog; none for an unknown offer."""
        offer = self._offers.get(key) if isinstance(key, str) else None
        if offer is None:
            return {}
        fleet: dict[str, Any] = build_sparse(build_rejected_fleet(offer, str(rejected or ""), self._today))
        if rejected is None:
            return {name: value for name, value in fleet.items() if name in _CATALOG_FIELDS}
        reason = {"rejected": rejected, "rejected_by": rejected_by, "rejection": rejection}
        return fleet | {name: value for name, value in reason.items() if value is not None}


_REASON_FIELDS = ("rejected", "rejected_by", "rejection")
_LIKE = "like"
"""Key of a fleet whose other fields are those of the named fleet."""
_MAX_DIFFERENCES = 10
_MAX_FLEETS, _MAX_REFERENCES = 20_000, 8
"""Maximum number of fleets in a plan file, and of references to one of them. Without these limits, a
small file could describe more data than the memory holds."""


class _FleetEncoder:
    """Encodes the fleets of a plan: each fleet once, without what follows from the catalog."""

    def __init__(self, plan_inputs: PlanningInputs) -> None:
        self._bases = _FleetBases(plan_inputs)
        self._fleets: dict[str, dict[str, Any]] = {}
        self._names: dict[tuple[object, ...], str] = {}
        self._reference_counts: Counter[str] = Counter()

    def encode(self, plan: Plan) -> dict[str, Any]:
        document: dict[str, Any] = build_sparse(plan)
        if plan.recommendation is not None:
            document["recommendation"]["fleet"] = self._encode_fleet(plan.recommendation.fleet, "recommendation")
        for name, fleet in (("runner_up", plan.runner_up), ("cheapest_rejected", plan.cheapest_rejected)):
            document[name] = None if fleet is None else self._encode_fleet(fleet, name)
        document["pareto"] = [self._encode_fleet(fleet, f"pareto[{index}]") for index, fleet in enumerate(plan.pareto)]
        offers = [self._encode_fleet(fleet, f"offers[{index}]") for index, fleet in enumerate(plan.offers)]
        document["offers"] = [OneLine(fleet) if isinstance(fleet, dict) else fleet for fleet in offers]
        return document

    def _encode_fleet(self, fleet: Fleet, name: str) -> str | dict[str, Any]:
        values: dict[str, Any] = build_sparse(fleet)
        key = (fleet.offer, fleet.instances, fleet.rejected)
        similar_name = self._names.setdefault(key, name)
        self._fleets[name] = values
        if similar_name != name and self._reference_counts[similar_name] < _MAX_REFERENCES:
            differences = _list_differences(values, self._fleets[similar_name])
            if len(differences) <= _MAX_DIFFERENCES:
                self._reference_counts[similar_name] += 1
                return {_LIKE: similar_name} | differences if differences else similar_name
        base = self._bases.build(fleet.offer, fleet.rejected, fleet.rejected_by, fleet.rejection)
        own_fields = ("offer", *_REASON_FIELDS)
        return {field: values[field] for field in own_fields if field in values} | _list_differences(values, base)


def _list_differences(values: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a fleet that differ from those of another; `None` for a field that only
    the other one has."""
    differences = {field: value for field, value in values.items() if field not in base or base[field] != value}
    return differences | {field: None for field in base if field not in values}


class _FleetDecoder:
    """Decodes the fleets of a plan. Raises ValueError for a reference to a fleet that does not occur
    before it, and above the limits of fleets and references."""

    def __init__(self, plan_inputs: PlanningInputs) -> None:
        self._bases = _FleetBases(plan_inputs)
        self._fleets: dict[str, dict[str, Any]] = {}
        self._reference_counts: Counter[str] = Counter()

    def decode(self, document: dict[str, Any]) -> dict[str, Any]:
        document = dict(document)
        recommendation = document.get("recommendation")
        if isinstance(recommendation, dict):
            fleet = self._decode_fleet(recommendation.get("fleet"), "recommendation")
            document["recommendation"] = recommendation | {"fleet": fleet}
        for name in ("runner_up", "cheapest_rejected"):
            if document.get(name) is not None:
                document[name] = self._decode_fleet(document[name], name)
        for name in ("pareto", "offers"):
            fleets = document.get(name)
            if isinstance(fleets, list):
                document[name] = [self._decode_fleet(fleet, f"{name}[{index}]") for index, fleet in enumerate(fleets)]
        return document

    def _decode_fleet(self, value: object, name: str) -> object:
        if len(self._fleets) == _MAX_FLEETS:
            raise ValueError(f"it has more than {_MAX_FLEETS:,} fleets")
        if isinstance(value, str):
            fleet = self._find_fleet(value, name)
        elif not isinstance(value, dict):
            return value
        elif _LIKE in value:
            differences = {field: difference for field, difference in value.items() if field != _LIKE}
            fleet = self._find_fleet(value[_LIKE], name) | differences
        else:
            fleet = self._bases.build(*(value.get(field) for field in ("offer", *_REASON_FIELDS))) | value
        self._fleets[name] = fleet
        return fleet

    def _find_fleet(self, reference: object, name: str) -> dict[str, Any]:
        if not isinstance(reference, str) or reference not in self._fleets:
            raise ValueError(f"{reference!r:.40} is not a fleet before {name}")
        self._reference_counts[reference] += 1
        if self._reference_counts[reference] > _MAX_REFERENCES:
            raise ValueError(f"{reference} occurs more than {_MAX_REFERENCES} times")
        return self._fleets[reference]
