from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.errors import UsageError
from app.records.offers import PlanLimits
from app.storage import plan_file
from app.storage.plan_file import (
    MAX_BYTES,
    Block,
    OneLine,
    build_sparse,
    format_plan_document,
    is_plan_file,
    read_plan_document,
)
from tests.fakes.small_plan import SERVICE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.yaml"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "sizewise_plan: 2\n",
            "is a plan file of version 2, but this version of Sizewise reads version 3",
        ),
        ("sizewise_plan: 3\nslo: 3\nx:1\n", "while scanning"),
        ("sizewise_plan: !!python/object/apply:pathlib.Path.touch [ran]\n", "could not determine a constructor"),
        ("sizewise_plan: !!python/name:os.system\n", "could not determine a constructor"),
        ("sizewise_plan: &a [x]\ntool: [*a, *a]\n", "it has YAML aliases"),
        ("sizewise_plan: " + "[" * 100_000, "maximum nesting depth"),
        ("sizewise_plan: " + "9" * 5000, "digits"),
        ("sizewise_plan: 3\n? [a]\n: b\n", "unhashable key"),
        ("sizewise_plan: 3\n1: b\n", "Expected `str`, got `int`"),
        ("sizewise_plan: 3\ntool: 2026-99-99\n", "month must be in 1..12"),
        ("sizewise_plan: 3\n---\nsizewise_plan: 3\n", "a single document"),
        ("sizewise_plan: 3\n\0", "control characters"),
        (b"sizewise_plan: 3\n\xff", "invalid leading UTF-8"),
        ("", "Expected `object`, got `null`"),
    ],
    ids=lambda value: (value if isinstance(value, str) else repr(value))[:24],
)
def test_invalid_plan_file_is_rejected_with_a_short_message_and_a_hint(
    path: Path, content: str | bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        read_plan_document(path)
    text = str(caught.value)
    assert text.startswith(f"{path} is ")
    assert message in text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 300
    assert caught.value.hint is not None
    assert [file.name for file in path.parent.iterdir()] == ["plan.yaml"]  # no code of the file was executed


def test_oversized_plan_file_is_rejected(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a sparse file, which uses no disk space
    with pytest.raises(UsageError, match="is too large for a plan file"):
        read_plan_document(path)


def test_number_of_values_in_a_plan_file_is_limited(path: Path) -> None:
    path.write_text("sizewise_plan: 3\nplan: [" + "1," * (plan_file.MAX_EVENTS + 1) + "1]\n")
    assert path.stat().st_size < MAX_BYTES
    with pytest.raises(UsageError, match="too many values for a plan"):
        read_plan_document(path)


def test_unreadable_plan_path_is_reported(path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_plan_document(path)
    with pytest.raises(UsageError, match="directory"):
        read_plan_document(path.parent)


@pytest.mark.parametrize(
    ("content", "is_plan"),
    [
        (b"sizewise_plan: 3\n", True),
        (b"sizewise_plan:", True),
        (b"sizewise: 1\nname: a-profile\n", False),
        (b"# sizewise_plan: 3\n", False),
        (b"sizewise_plan", False),
        (b'{"sizewise_plan": 1}', False),
        (b"language_model: {}\n", False),
        (b"", False),
    ],
)
def test_plan_file_is_recognized_by_its_first_line(path: Path, content: bytes, is_plan: bool) -> None:
    path.write_bytes(content)
    assert is_plan_file(path) is is_plan


def test_unreadable_path_is_not_a_plan_file(path: Path) -> None:
    assert not is_plan_file(path)
    assert not is_plan_file(path.parent)


def test_sparse_record_omits_only_absent_defaults() -> None:
    sparse = build_sparse(PlanLimits(regions=("here",), redundancy=0))
    assert sparse["regions"] == ["here"]
    assert sparse["redundancy"] == 0, "a default that is a number may change in a later version"
    assert not {"providers", "budget_usd_per_month", "accelerators"} & sparse.keys()
    for record in (PlanLimits(), PlanLimits(regions=("here",)), SERVICE):
        assert msgspec.convert(build_sparse(record), type(record)) == record
    assert build_sparse(SERVICE)["type"] == "request"


def test_changing_one_value_of_a_plan_changes_one_line() -> None:
    document = {
        "numbers": [0.1] * 100,
        "sentences": ["one " * 100, "two"],
        "leaf": {"a": 1, "b": 2},
        "block": Block(a=1, b=2),
        "lines": [OneLine(a=1, b=[1, 2], c={"d": "e"}), OneLine(a=2)],
    }
    lines = format_plan_document(document).splitlines()
    assert lines[0] == f"numbers: [{', '.join(['0.1'] * 100)}]"
    assert [line.split(" ")[0] for line in lines[1:4]] == ["sentences:", "-", "-"]
    assert lines[4:] == [
        "leaf: {a: 1, b: 2}", "block:", "  a: 1", "  b: 2", "lines:", "- {a: 1, b: [1, 2], c: {d: e}}", "- {a: 2}"
    ]  # fmt: skip
