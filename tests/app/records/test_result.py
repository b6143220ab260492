from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import msgspec

from app.errors import ExitCode, get_precedence
from app.records.metrics import METRICS
from app.records.result import build_json_schema
from tests.fakes.results import full_run

PUBLISHED = Path(__file__).parents[3] / "docs" / "result.schema.json"


def test_published_result_schema_matches_code() -> None:
    """Regenerate the file with `python -m app.records.result > docs/result.schema.json`."""
    assert json.loads(PUBLISHED.read_text()) == json.loads(msgspec.json.encode(build_json_schema()))


def test_full_result_conforms_to_published_schema() -> None:
    document = json.loads(msgspec.json.encode(full_run().result))
    jsonschema.validate(document, json.loads(PUBLISHED.read_text()))


def test_result_with_other_schema_number_violates_published_schema() -> None:
    document = json.loads(msgspec.json.encode(full_run().result)) | {"schema": 4}
    schema = json.loads(PUBLISHED.read_text())
    errors = jsonschema.validators.validator_for(schema)(schema).iter_errors(document)
    assert [error.json_path for error in errors] == ["$.schema"]


def test_metric_names_end_with_their_unit() -> None:
    suffix = {"ms": "_ms", "1/s": "_per_s", "%": "_percent", "GiB": "_gib", "cores": "_cores", "W": "_w"}
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.unit not in suffix or name.endswith(suffix[metric.unit])


def test_exit_code_precedence_prefers_invalid_and_interrupted() -> None:
    assert min(ExitCode.GATE_FAILED, ExitCode.INVALID, key=get_precedence) == ExitCode.INVALID
    assert min(ExitCode.LIMIT, ExitCode.INTERRUPTED, key=get_precedence) == ExitCode.INTERRUPTED


def test_integers_of_result_schema_have_minimum_0() -> None:
    """Monotonic times, and the age of a price, whose date can be in the future, are the only exceptions."""

    def find_unbounded(node: object, path: str = "") -> Iterator[str]:
        if isinstance(node, dict):
            if node.get("type") == "integer" and node.get("minimum") != 0:
                yield path
            for key, value in node.items():
                yield from find_unbounded(value, f"{path}/{key}")
        elif isinstance(node, list):
            for value in node:
                yield from find_unbounded(value, path)

    paths = list(find_unbounded(build_json_schema()))
    assert [path for path in paths if not re.search(r"_ns(/anyOf)?$|/price_age_days$", path)] == []
