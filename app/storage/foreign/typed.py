"""Read a curve entered by the user, as CSV or as YAML with the same keys. All values are treated as
assumptions instead of measurements.

CSV needs a column `offered_per_s` and latency columns such as `latency_ms.p95`. The metric of a
latency column is `latency`, `ttft`, `tpot` or `itl`; the aggregate is `mean`, `p50`, `p99.9` or
`max`, for example. A column `achieved_per_s` is needed only if the achieved rate differs from the
offered rate. YAML is a list of mappings with these keys, or a mapping with `model` and `points`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from app.records.planning_inputs import ImportedCurve, MeasuredLoadPoint
from app.storage.foreign.aggregates import convert_to_seconds, drop_empty, require_single_value
from app.storage.foreign.documents import ForeignDocument, build_file_error, printable
from app.storage.foreign.node import parse_cell_number

TOOL = "typed"
_OFFERED_COLUMN, _ACHIEVED_COLUMN = "offered_per_s", "achieved_per_s"
_COLUMN = re.compile(r"(latency|ttft|tpot|itl)_ms\.(mean|max|p\d{1,2}(?:[._]\d{1,4})?)")
_MAX_CHARACTERS = 64 * 1024
_MAX_DEPTH = 3  # mapping, list of points, point
_ASSUMED_NOTE = "the load curve was entered by hand, so all its numbers are assumptions"
_NO_ACHIEVED_RATE_NOTE = "the completed rate is assumed to equal the offered rate"
_CURVE_FORMAT = f"a list of points, each with {_OFFERED_COLUMN} and latencies such as latency_ms.p95"


def recognizes(document: ForeignDocument) -> bool:
    """Return whether the file is a curve entered by the user: CSV with offered rates, or a file
    that is neither JSON nor CSV and is therefore parsed as YAML."""
    return _OFFERED_COLUMN in document.header or bool(document.text)


def read(documents: tuple[ForeignDocument, ...]) -> ImportedCurve:
    models: list[tuple[str, str | None]] = []
    rows: list[tuple[str, dict[str, str]]] = []
    for document in documents:
        model, points = _parse_yaml(document) if document.text else (None, document.rows())
        models.append((document.name, model))
        rows += [(document.name, point) for point in points]
    notes = (
        (_ASSUMED_NOTE, _NO_ACHIEVED_RATE_NOTE)
        if any(_ACHIEVED_COLUMN not in row for _, row in rows)
        else (_ASSUMED_NOTE,)
    )
    load_points = tuple(_build_load_point(name, row) for name, row in rows)
    return ImportedCurve(
        tool=TOOL, precision="typed", load_points=load_points, notes=notes, model=require_single_value("model", models)
    )


def _build_load_point(name: str, row: dict[str, str]) -> MeasuredLoadPoint:
    latencies_ms: dict[str, dict[str, float]] = {}
    for column in row:
        if match := _COLUMN.fullmatch(column):
            metric, aggregate = match.groups()
            latencies_ms.setdefault(metric, {})[aggregate.replace(".", "_")] = parse_cell_number(row, column, name)
        elif column not in (_OFFERED_COLUMN, _ACHIEVED_COLUMN):
            hint = f"Use {_OFFERED_COLUMN}, {_ACHIEVED_COLUMN} and columns such as latency_ms.p95 or ttft_ms.mean."
            raise build_file_error(name, f'"{printable(column)}" is not a column of a load curve', hint)
    if not latencies_ms:
        raise build_file_error(name, "it has no latencies, such as latency_ms.p95")
    offered_per_s = parse_cell_number(row, _OFFERED_COLUMN, name)
    return MeasuredLoadPoint(
        offered_per_s=offered_per_s,
        clients=None,
        achieved_per_s=parse_cell_number(row, _ACHIEVED_COLUMN, name) if _ACHIEVED_COLUMN in row else offered_per_s,
        duration_s=None,
        completed=None,
        failed=None,
        latencies_s=drop_empty(
            {metric: convert_to_seconds(aggregates, 1e-3) for metric, aggregates in latencies_ms.items()}
        ),
    )


def _parse_yaml(document: ForeignDocument) -> tuple[str | None, list[dict[str, str]]]:
    """Return the model and the points. Scalars remain strings; anything except mappings, lists and
    scalars is rejected."""
    if len(document.text) > _MAX_CHARACTERS:
        raise build_file_error(
            document.name, f"it is not a supported result file, and it is too long to be {_CURVE_FORMAT}"
        )
    try:
        _check_depth(document)
        root_node = yaml.compose(document.text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise build_file_error(document.name, "it is neither a supported result file nor YAML") from error
    model, points_node = None, root_node
    if isinstance(root_node, yaml.MappingNode):
        top_level = dict(_iter_entries(root_node, document.name))
        if set(top_level) - {"model", "points"}:
            raise build_file_error(document.name, f"it is not a supported result file; a load curve is {_CURVE_FORMAT}")
        points_node = top_level.get("points")
        model = _parse_scalar(top_level["model"], document.name) if "model" in top_level else None
    if not isinstance(points_node, yaml.SequenceNode):
        raise build_file_error(document.name, f"it is not a supported result file; a load curve is {_CURVE_FORMAT}")
    return model, [_parse_point(point, document.name) for point in points_node.value]


def _check_depth(document: ForeignDocument) -> None:
    """Reject documents that are nested too deeply or contain aliases. Raises UsageError.

    Parsing stops at the first element that is nested too deeply, because parsing time increases
    with the depth.
    """
    depth = 0
    for event in yaml.parse(document.text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise build_file_error(document.name, "it is nested too deeply for a load curve")
        if isinstance(event, yaml.AliasEvent):
            raise build_file_error(document.name, "it has a YAML alias, which is not allowed")


def _parse_point(node: yaml.Node, name: str) -> dict[str, str]:
    if not isinstance(node, yaml.MappingNode):
        raise build_file_error(name, f"one of its points is not a mapping; a load curve is {_CURVE_FORMAT}")
    return {key: _parse_scalar(value, name) for key, value in _iter_entries(node, name)}


def _iter_entries(node: yaml.MappingNode, name: str) -> Iterator[tuple[str, yaml.Node]]:
    keys: set[str] = set()
    for key_node, value_node in node.value:
        key = _parse_scalar(key_node, name)
        if key in keys:
            raise build_file_error(name, f'the key "{printable(key)}" is duplicated in a mapping')
        keys.add(key)
        yield key, value_node


def _parse_scalar(node: yaml.Node, name: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise build_file_error(name, "it is nested too deeply for a load curve")
    return printable(str(node.value), 200)
