"""YAML of plan files, which contain the inputs and the result of a plan and can be diffed.

Because plan files can be edited by hand, this module also validates the inputs that planning relies
on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from app.analysis.token_samples import find_sample_error
from app.analysis.traces import find_rows_error
from app.errors import UsageError
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.service import BatchService, FittedService, RequestService, TokenService
from reports.shortening import shorten

_MIN_VALUE, _MAX_VALUE = 1e-9, 1e9
_MAX_SLOTS = 100_000
"""Maximum number of slots, sequences or replicas. The simulation allocates memory for each of
them."""
Bound = tuple[str, float, float, float]
"""Name of a value, the value, its minimum and its maximum."""


def find_impossible_input(plan_inputs: PlanningInputs) -> str | None:
    """Return a description of the first invalid or out-of-range value in the inputs of a plan;
    `None` if all values are valid."""
    return next(_iter_impossible_inputs(plan_inputs), None)


def _iter_impossible_inputs(plan_inputs: PlanningInputs) -> Iterator[str]:
    yield from _iter_nan_problems(msgspec.to_builtins(plan_inputs), "inputs")
    if plan_inputs.traffic.rows is not None and (problem := find_rows_error(plan_inputs.traffic.rows)) is not None:
        yield problem
    samples = [plan_inputs.traffic.token_sample, *(target.token_sample for target in plan_inputs.measured)]
    yield from (
        problem for sample in samples if sample is not None and (problem := find_sample_error(sample)) is not None
    )
    for name, value, minimum, maximum in _iter_bounds(plan_inputs):
        if not minimum <= value <= maximum:
            yield f"{name} is {value:g}, but must be {minimum:g} to {maximum:g}"
    for target in plan_inputs.measured:
        for fitted_service in () if target.fit is None else target.fit.services:
            unknown_parameter = next(
                (name for name in fitted_service.parameters if name not in fitted_service.service.__struct_fields__),
                None,
            )
            if unknown_parameter is not None:
                yield f"{target.name} has a service model with an unknown parameter {unknown_parameter!r}"
            if [len(row) for row in fitted_service.log_covariance] != [len(fitted_service.parameters)] * len(
                fitted_service.parameters
            ):
                yield f"{target.name} has a service model whose log_covariance does not match its parameters"


def _iter_nan_problems(value: object, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _iter_nan_problems(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _iter_nan_problems(item, name)
    elif isinstance(value, float) and math.isnan(value):
        yield f"{name} is not a number"


def _iter_bounds(plan_inputs: PlanningInputs) -> Iterator[Bound]:
    traffic, limits = plan_inputs.traffic, plan_inputs.limits
    yield "traffic.peak_per_s", traffic.peak_per_s, _MIN_VALUE, 1e7
    yield "traffic.growth_per_year", traffic.growth_per_year, _MIN_VALUE - 1, 100.0
    yield "the number of values in traffic.hourly_share", len(traffic.hourly_share), 24, 24
    yield "the number of values in traffic.weekly_share", len(traffic.weekly_share), 7, 7
    yield "the largest value in traffic.hourly_share", max(traffic.hourly_share, default=0.0), _MIN_VALUE, _MAX_VALUE
    yield "the largest value in traffic.weekly_share", max(traffic.weekly_share, default=0.0), _MIN_VALUE, _MAX_VALUE
    yield "traffic.cache_share", traffic.cache_share, 0.0, 0.9999
    yield "traffic.prefix_cached_share", traffic.prefix_cached_share, 0.0, 0.9999
    yield "traffic.dispersion.window_s", traffic.dispersion.window_s, _MIN_VALUE, _MAX_VALUE
    for factor in (change.times for changes in (traffic.spikes, traffic.campaigns) for change in changes):
        yield "the factor of a spike or campaign", factor, _MIN_VALUE, 1e6
    for request_class in traffic.classes:
        yield f"the work of traffic class {request_class.name}", request_class.work, _MIN_VALUE, _MAX_VALUE
    if traffic.classes:
        yield (
            "the sum of the shares in traffic.classes",
            sum(request_class.share for request_class in traffic.classes),
            0.99,
            1.01,
        )
    yield "limits.confidence", limits.confidence, 0.5, 0.9999
    yield "limits.redundancy", limits.redundancy, 0, 999
    yield "limits.zones", limits.zones, 1, 9
    yield "limits.max_unavailable", limits.max_unavailable, 0, 1000
    for offer in plan_inputs.catalog.offers:
        yield f"the price of {offer.key}", offer.on_demand_usd_per_hour or 0.0, 0.0, _MAX_VALUE
        yield f"the number of vCPUs of {offer.key}", offer.vcpus or 0.0, 0.0, 10_000
        yield f"the number of accelerators of {offer.key}", offer.accelerator_count, 0.0, 1_000
    for target in plan_inputs.measured:
        yield from _iter_target_bounds(target)


def _iter_target_bounds(target: MeasuredTarget) -> Iterator[Bound]:
    yield f"the number of replicas of {target.name}", target.hardware.replicas, 1, _MAX_SLOTS
    yield f"max_rate_per_s of {target.name}", target.curve.max_rate_per_s, 0.0, _MAX_VALUE
    for load_point in target.load_points:
        yield f"offered_per_s of a load point of {target.name}", load_point.offered_per_s or 0.0, 0.0, _MAX_VALUE
    for fitted_service in () if target.fit is None else target.fit.services:
        for name, value, minimum, maximum in _iter_service_bounds(fitted_service):
            yield f"{name} of a service model of {target.name}", value, minimum, maximum
    if target.fit is not None:
        yield f"the number of service models of {target.name}", len(target.fit.services), 1, 1000
        yield (
            f"the sum of the probabilities of the service models of {target.name}",
            math.fsum(fitted_service.probability for fitted_service in target.fit.services),
            _MIN_VALUE,
            _MAX_VALUE,
        )


def _iter_service_bounds(fitted_service: FittedService) -> Iterator[Bound]:
    match fitted_service.service:
        case RequestService(slots=slots, mean_s=mean_s, slow_share=slow_share, slow_factor=slow_factor):
            yield "slots", slots, 1, _MAX_SLOTS
            yield "slow_share", slow_share, 0.0, 1.0
            yield "slow_factor", slow_factor, _MIN_VALUE, _MAX_VALUE
            yield "mean_s", mean_s, _MIN_VALUE, _MAX_VALUE
        case BatchService(max_batch=max_batch, fixed_s=fixed_s, per_item_s=per_item_s):
            yield "max_batch", max_batch, 1, _MAX_SLOTS
            yield "fixed_s + per_item_s", fixed_s + per_item_s, _MIN_VALUE, _MAX_VALUE
        case TokenService(max_sequences=max_sequences, chunk_tokens=chunk_tokens, kv_tokens=kv_tokens, step_s=step_s):
            yield "max_sequences", max_sequences, 1, _MAX_SLOTS
            yield "chunk_tokens", chunk_tokens, 1, _MAX_VALUE
            yield "kv_tokens", kv_tokens, 1, 1e15
            yield "step_s", step_s, _MIN_VALUE, _MAX_VALUE


MAX_BYTES = 8 * 1024**2
"""Maximum size of a plan file in bytes.

A plan over the whole catalog is 0.2 MiB; the requests of a trace add at most 1.6 MiB.
"""
MAX_EVENTS = 500_000
"""Maximum number of YAML events: scalars, and starts and ends of collections. A plan over the whole
catalog has 8,000 events, which take 0.1 s to read."""
VERSION = 3
_MAX_WIDTH = 1 << 30
_REPLAN_HINT = "Create the plan from the runs with `sizewise plan RUN --out plan.yaml`."
_FIRST_KEY = b"sizewise_plan:"


class OneLine(dict[str, Any]):
    """Mapping that is written to a plan file in one line."""


class Block(dict[str, Any]):
    """Mapping that is written to a plan file with one line per key."""


def is_plan_file(path: Path) -> bool:
    """Return whether a file starts with the first key of a plan file; False if the file cannot be
    read."""
    try:
        with path.open("rb") as file:
            return file.read(len(_FIRST_KEY)) == _FIRST_KEY
    except OSError:
        return False


def read_plan_document(path: Path) -> dict[str, Any]:
    """Read the YAML mapping of a plan file. Raises UsageError if the file is not a plan file of this
    version."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is too large for a plan file (maximum {MAX_BYTES >> 20} MiB)")
        content = path.read_bytes()
        for event_count, event in enumerate(yaml.parse(content, Loader=yaml.CSafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                raise yaml.YAMLError("it has YAML aliases, which are not allowed")
            if event_count > MAX_EVENTS:
                raise yaml.YAMLError("it has too many values for a plan")
        document = yaml.load(content, Loader=yaml.CSafeLoader)
        _check_version(path, document)
        return msgspec.convert(document, dict[str, Any])
    except (OSError, RecursionError, ValueError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise build_plan_file_error(path, error) from error


def build_plan_file_error(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} is not a valid plan file: {shorten(str(error))}", hint=_REPLAN_HINT)


def _check_version(path: Path, document: object) -> None:
    version = document.get("sizewise_plan") if isinstance(document, dict) else None
    if isinstance(version, int) and version != VERSION:
        message = f"{path} is a plan file of version {version}, but this version of Sizewise reads version {VERSION}"
        hint = "Update Sizewise, or create the plan again from the runs." if version > VERSION else _REPLAN_HINT
        raise UsageError(message, hint=hint)


_PLAIN_TYPES = frozenset((str, int, float, bool, type(None)))


def build_sparse(value: Any) -> Any:
    """Return a record as mappings and lists, without the fields whose default is `None` or empty and
    that have this default."""
    if type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        sparse = {} if config.tag_field is None else {config.tag_field: config.tag}
        for name, omitted_value in _list_omitted_values(type(value)):
            field_value = getattr(value, name)
            if type(field_value) is not type(omitted_value) or field_value != omitted_value:
                sparse[name] = build_sparse(field_value)
        return sparse
    if isinstance(value, tuple | list):
        return [build_sparse(item) for item in value]
    if isinstance(value, dict):
        return {key: build_sparse(item) for key, item in value.items()}
    return msgspec.to_builtins(value)


@cache
def list_fields(record_class: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the fields of a record class. msgspec itself evaluates the annotations at each call."""
    return msgspec.structs.fields(record_class)


@cache
def _list_omitted_values(record_class: type[msgspec.Struct]) -> tuple[tuple[str, object], ...]:
    """Return the name of each field with the value that is not written: its default, if this is
    `None` or empty; otherwise `NODEFAULT`, which no field has as a value."""
    return tuple(
        (field.name, default if default is None or default in ((), {}) else msgspec.NODEFAULT)
        for field in list_fields(record_class)
        for default in (field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory(),)
    )


def format_plan_document(document: dict[str, Any]) -> str:
    """Return a plan document as YAML. Lines are never wrapped, so that a change of one value changes
    one line."""
    return yaml.dump(
        document, Dumper=_PlanDumper, sort_keys=False, allow_unicode=True, width=_MAX_WIDTH, default_flow_style=None
    )


class _PlanDumper(yaml.CSafeDumper):
    """YAML dumper that writes repeated values in full, without anchors, and each text of a list in a
    line of its own."""

    def ignore_aliases(self, *_: object) -> bool:
        return True


def _represent_list(dumper: yaml.CSafeDumper, items: list[Any]) -> yaml.SequenceNode:
    is_block = any(isinstance(item, str) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=False if is_block else None)


_PlanDumper.add_representer(list, _represent_list)
_PlanDumper.add_representer(
    OneLine, lambda dumper, mapping: dumper.represent_mapping("tag:yaml.org,2002:map", mapping, flow_style=True)
)
_PlanDumper.add_representer(
    Block, lambda dumper, mapping: dumper.represent_mapping("tag:yaml.org,2002:map", mapping, flow_style=False)
)
