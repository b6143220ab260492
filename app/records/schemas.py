"""JSON Schemas of the documents that Sizewise writes. As a script, this module writes each schema to a folder:
`python -m app.records.schemas docs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from app.records.plan import Plan
from app.records.result import SCHEMA, Result

_DOCUMENTS = {"result": (Result, f"Sizewise result, schema {SCHEMA}"), "plan": (Plan, "Sizewise plan")}


def build_json_schemas() -> dict[str, dict[str, Any]]:
    """Build the JSON Schema of `result.json` and of the JSON of a plan, by the name of the file in which it is
    published."""
    return {
        f"{name}.schema.json": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": title,
            **msgspec.json.schema(record),
        }
        for name, (record, title) in _DOCUMENTS.items()
    }


def write_json_schemas(folder: Path) -> None:
    for name, schema in build_json_schemas().items():
        text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
        (folder / name).write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    import sys

    write_json_schemas(Path(sys.argv[1]))
