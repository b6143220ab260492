from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import msgspec
import pytest

from app.records.plan import Plan
from app.records.result import Result
from app.records.schemas import build_json_schemas, write_json_schemas
from tests.fakes.results import full_run
from tests.fakes.whole_plan import whole_plan

DOCS = Path(__file__).parents[3] / "docs"
NAMES = ("result.schema.json", "plan.schema.json")


@pytest.mark.parametrize("name", NAMES)
def test_published_schema_matches_code(name: str, tmp_path: Path) -> None:
    """Regenerate the files with `python -m app.records.schemas docs`."""
    write_json_schemas(tmp_path)
    assert (DOCS / name).read_text("utf-8") == (tmp_path / name).read_text("utf-8")


def test_every_schema_is_published() -> None:
    assert sorted(build_json_schemas()) == sorted(path.name for path in DOCS.glob("*.schema.json")) == sorted(NAMES)


@pytest.mark.parametrize(("name", "record"), [(NAMES[0], full_run().result), (NAMES[1], whole_plan())])
def test_document_conforms_to_published_schema(name: str, record: Result | Plan) -> None:
    jsonschema.validate(json.loads(msgspec.json.encode(record)), json.loads((DOCS / name).read_text("utf-8")))


def test_result_with_other_schema_number_violates_published_schema() -> None:
    document = json.loads(msgspec.json.encode(full_run().result)) | {"schema": 4}
    schema = json.loads((DOCS / "result.schema.json").read_text("utf-8"))
    errors = jsonschema.validators.validator_for(schema)(schema).iter_errors(document)
    assert [error.json_path for error in errors] == ["$.schema"]


@pytest.mark.parametrize("name", NAMES)
def test_integers_of_schema_have_minimum_0(name: str) -> None:
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

    paths = list(find_unbounded(build_json_schemas()[name]))
    assert [path for path in paths if not re.search(r"_ns(/anyOf)?$|/price_age_days$", path)] == []
