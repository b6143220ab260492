from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks import dead_code
from tests.checks.dead_code import FIELDS_OF_FORMATS, unread_fields, unused_code

ROOT = Path(__file__).parents[2]


def test_unused_function_is_detected_and_fields_are_not(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "module.py").write_text(
        "class Row:\n    size: int = 0\n\n    def closeEvent(self): ...\n\n\n"
        "def used(): ...\n\n\ndef unused(): ...\n\n\nused(), Row\n"
    )
    for name in ("loadgen", "reports", "sizewise.py"):
        (tmp_path / name).touch() if name.endswith(".py") else (tmp_path / name).mkdir()
    assert [line.rpartition(": ")[2] for line in unused_code(tmp_path)] == ["unused function unused"]


def test_field_named_only_by_its_constructor_is_unread(tmp_path: Path) -> None:
    for name in ("app", "loadgen", "reports/templates", "docs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "sizewise.py").touch()
    (tmp_path / "reports" / "templates" / "row.html").write_text("<td>{{ row.shown }}</td>")
    (tmp_path / "docs" / "result.schema.json").write_text('{"$defs": {"Row": {"properties": {"documented": {}}}}}')
    (tmp_path / "app" / "module.py").write_text(
        "class Row(msgspec.Struct):\n    attribute: int\n    named: int\n    matched: int\n    shown: int\n"
        "    documented: int\n    written: int\n    kind: ClassVar[str]\n\n\n"
        "class Child(Row):\n    also_written: int\n\n\n"
        "class Pair(NamedTuple):\n    second: int\n\n\n"
        "@dataclass(frozen=True)\nclass Point:\n    height: int\n\n\n"
        "class Other:\n    ignored: int\n\n\n"
        "row = Child(written=1, also_written=2)\nrow.written = 3\nprint(row.attribute, getattr(row, 'named'))\n"
        "match row:\n    case Row(matched=3): ...\n"
    )
    assert [line.rpartition(" ")[2] for line in unread_fields(tmp_path)] == [
        "Row.written",
        "Child.also_written",
        "Pair.second",
        "Point.height",
    ]


def test_every_listed_field_exists_and_is_still_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {name.removesuffix("*") for name in FIELDS_OF_FORMATS}
    monkeypatch.setattr(dead_code, "FIELDS_OF_FORMATS", {})
    unread = [line.rpartition(" ")[2] for line in unread_fields(ROOT)]
    assert [name for name in listed if not any(field.startswith(name) for field in unread)] == []


def test_product_code_reads_every_field() -> None:
    assert unread_fields(ROOT) == []
