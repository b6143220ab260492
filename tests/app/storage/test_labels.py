from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.errors import UsageError
from app.records.bundle import Labels, Note
from app.storage.labels import LABELS, add_note, add_tags, read_labels, remove_tags, set_title

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_tags_and_notes_are_stored_together(tmp_path: Path) -> None:
    add_tags(tmp_path, ["nightly", "a100", "nightly"])
    add_note(tmp_path, "after the\x1b[31m driver\n update", NOON)
    add_tags(tmp_path, ["b=2"])
    remove_tags(tmp_path, ["a100"])
    note = Note("2026-01-02T12:00:00+00:00", "after the [31m driver update")
    assert read_labels(tmp_path) == Labels(tags=("b=2", "nightly"), notes=(note,))
    assert [path.name for path in tmp_path.iterdir()] == [LABELS]


def test_title_of_a_run_is_a_single_line_and_does_not_change_other_labels(tmp_path: Path) -> None:
    add_tags(tmp_path, ["nightly"])
    assert set_title(tmp_path, "\x1b[31mbefore\n the  driver ").title == "[31mbefore the driver"
    assert read_labels(tmp_path) == Labels(title="[31mbefore the driver", tags=("nightly",))
    with pytest.raises(UsageError, match=r"at most 120 characters \(got 121\)"):
        set_title(tmp_path, "x" * 121)
    assert set_title(tmp_path, " ") == Labels(tags=("nightly",))


@pytest.mark.parametrize("tag", ["", " ", "two words", "-x", "a" * 65, "x\n", "<b>", "é"])
def test_invalid_tag_is_rejected_without_any_change(tmp_path: Path, tag: str) -> None:
    with pytest.raises(UsageError, match="is not a valid tag"):
        add_tags(tmp_path, ["right", tag])
    assert read_labels(tmp_path) == Labels()


def test_missing_tag_cannot_be_removed(tmp_path: Path) -> None:
    add_tags(tmp_path, ["nightly"])
    with pytest.raises(UsageError, match="has no tag 'nihtly'") as caught:
        remove_tags(tmp_path, ["nightly", "nihtly"])
    assert caught.value.hint == "It has nightly."
    assert read_labels(tmp_path).tags == ("nightly",)


def test_number_of_tags_and_notes_is_limited(tmp_path: Path) -> None:
    add_tags(tmp_path, [f"t{number}" for number in range(100)])
    with pytest.raises(UsageError, match=r"at most 100 tags \(got 101\)"):
        add_tags(tmp_path, ["one-more"])
    for _ in range(100):
        add_note(tmp_path, "x", NOON)
    with pytest.raises(UsageError, match="maximum of 100 notes"):
        add_note(tmp_path, "x", NOON)


@pytest.mark.parametrize(
    "content", ["", "[", '{"sizewise_labels": 2}', '{"tags": ["<script>"]}', '{"notes": [{"at": "x", "text": 3}]}']
)
def test_invalid_labels_file_is_rejected(tmp_path: Path, content: str) -> None:
    (tmp_path / LABELS).write_text(content)
    with pytest.raises(UsageError, match=r"labels\.json cannot be read"):
        read_labels(tmp_path)
