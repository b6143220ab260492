from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from app.errors import UsageError
from app.planning.fleets import plan_fleets
from app.storage import plan_file
from app.storage.plan_file import MAX_BYTES, PlanFile, format_plan, is_plan_file, read_plan, write_plan
from tests.fakes import planned
from tests.fakes.whole_plan import question, whole_plan

WHOLE = PlanFile(2, "sizewise 0.1.0", whole_plan(), question())
TEXT = format_plan(WHOLE)
ODD_NOTES = (
    "1e6",
    "no",
    "~",
    "2026-08-01",
    "a: b # c",
    "- d",
    "two\nlines \u2028\x85",
    "\0",
    "×≤é💡",
    " \t",
    "!!int 3",
    "&a *a",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.yaml"


def test_a_whole_plan_is_read_back_as_it_was(path: Path) -> None:
    odd = replace(WHOLE, plan=replace(WHOLE.plan, notes=ODD_NOTES))
    write_plan(path, odd)
    assert read_plan(path) == odd
    assert [one.name for one in path.parent.iterdir()] == ["plan.yaml"]


def test_it_begins_with_its_mark_and_shows_nothing_twice_by_reference(path: Path) -> None:
    fleet = WHOLE.plan.offers[0]
    shared = replace(WHOLE, plan=replace(WHOLE.plan, offers=(fleet, fleet), runner_up=fleet))
    text = format_plan(shared)
    assert text.startswith("sizewise_plan: 2\ntool: sizewise 0.1.0\nplan:\n")
    assert " &id" not in text
    path.write_text(text, encoding="utf-8")
    assert read_plan(path) == shared


def test_what_was_read_is_planned_and_written_again_to_the_byte(path: Path) -> None:
    asked = planned.question()
    write_plan(path, PlanFile(2, "sizewise 0.1.0", plan_fleets(asked, estimate_only=True), asked))
    first, file = path.read_bytes(), read_plan(path)
    write_plan(path, replace(file, plan=plan_fleets(file.inputs, estimate_only=True)))
    assert path.read_bytes() == first


def test_what_a_later_version_added_is_left_out(path: Path) -> None:
    path.write_text(TEXT.replace("\nplan:\n", "\nadded: {a: 1}\nplan:\n  added: 2\n"), encoding="utf-8")
    assert read_plan(path) == WHOLE


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (TEXT[: TEXT.index("inputs:")], "missing required field `inputs`"),
        (TEXT[: TEXT.index("provider:") + 4], "could not find expected ':'"),
        ("sizewise_plan: 2\n", "missing required field `tool`"),
        (
            TEXT.replace("sizewise_plan: 2", "sizewise_plan: 3"),
            "is a plan file of version 3, but this version of Sizewise reads version 2",
        ),
        (TEXT.replace("sizewise_plan: 2", "sizewise_plan: '1'"), "`$.sizewise_plan`"),
        (TEXT.replace("peak_per_s: 90.0", "peak_per_s: many"), "Expected `float`, got `str` - at `$.plan.traffic"),
        (TEXT.replace("slo:", "slo: 3\nx:", 1), "while parsing"),
        ("sizewise_plan: !!python/object/apply:pathlib.Path.touch [ran]\n", "could not determine a constructor"),
        ("sizewise_plan: !!python/name:os.system\n", "could not determine a constructor"),
        ("sizewise_plan: !!set {1}\n", "got `set`"),
        ("sizewise_plan: &a [x]\ntool: [*a, *a]\n", "it has YAML aliases"),
        ("sizewise_plan: " + "[" * 100_000, "maximum nesting depth"),
        ("sizewise_plan: " + "9" * 5000, "digits"),
        ("sizewise_plan: 2\n? [a]\n: b\n", "unhashable key"),
        ("sizewise_plan: 2\ntool: 2026-99-99\n", "month must be in 1..12"),
        (TEXT + "---\n" + TEXT, "a single document"),
        ("sizewise_plan: 2\n\0", "control characters"),
        (b"sizewise_plan: 2\n\xff", "invalid leading UTF-8"),
        ("", "Expected `object`, got `null`"),
    ],
    ids=lambda one: (one if isinstance(one, str) else repr(one))[:24],
)
def test_what_is_no_plan_is_refused_in_one_sentence_with_what_to_do(
    path: Path, content: str | bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        read_plan(path)
    reported = str(caught.value)
    assert reported.startswith(f"{path} is ")
    assert says in reported
    assert "\n" not in reported
    assert len(reported) < len(str(path)) + 300
    assert caught.value.hint is not None
    assert [one.name for one in path.parent.iterdir()] == ["plan.yaml"]  # and nothing in it was run


def test_what_is_too_large_is_not_even_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole: no space on the disk
    with pytest.raises(UsageError, match="is too large for a plan file"):
        read_plan(path)


def test_a_place_that_cannot_be_read_is_reported(path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_plan(path)
    with pytest.raises(UsageError, match="directory"):
        read_plan(path.parent)


def test_an_older_plan_stays_where_another_cannot_be_written(path: Path) -> None:
    write_plan(path, WHOLE)
    (path.parent / ".plan.yaml.part").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_plan(path, replace(WHOLE, tool="another"))
    assert read_plan(path) == WHOLE


@pytest.mark.parametrize("place", ["none/plan.yaml", "file/plan.yaml", "", "file/..", "x" * 300])
def test_a_place_that_cannot_be_written_is_reported_and_nothing_is_left_there(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written: "):
        write_plan(tmp_path / place, WHOLE)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        (b"sizewise_plan: 2\n", True),
        (b"sizewise_plan:", True),
        (b"sizewise: 1\nname: a-profile\n", False),
        (b"# sizewise_plan: 2\n", False),
        (b"sizewise_plan", False),
        (b'{"sizewise_plan": 1}', False),
        (b"language_model: {}\n", False),
        (b"", False),
    ],
)
def test_a_plan_file_is_reported_by_how_it_begins(path: Path, content: bytes, is_one: bool) -> None:
    path.write_bytes(content)
    assert is_plan_file(path) is is_one


def test_what_cannot_be_opened_is_no_plan_file(path: Path) -> None:
    assert not is_plan_file(path)
    assert not is_plan_file(path.parent)


def test_more_values_than_any_plan_has_are_refused_before_they_are_made(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text("sizewise_plan: 2\nplan: [" + "1," * (plan_file.MAX_EVENTS + 1) + "1]\n")
    assert path.stat().st_size < MAX_BYTES
    with pytest.raises(UsageError, match="too many values for a plan"):
        read_plan(path)
