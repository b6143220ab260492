from __future__ import annotations

from pathlib import Path

from app.gui.compare.entries import (
    COMPARISON_FILE,
    ComparisonEntry,
    ComparisonRequest,
    delete_comparison,
    find_pairs_to_show,
    load_comparison,
    mark_shown,
    save_comparison,
)
from tests.fakes.stored_pairs import WrittenPairs

ASKED = ComparisonRequest(
    (ComparisonEntry(Path("/a"), "baseline"), ComparisonEntry(Path("/b"), "candidate")), 0.1, is_forced=True
)


def test_what_was_compared_is_kept(tmp_path: Path) -> None:
    save_comparison(tmp_path / "pairs", ASKED)
    assert load_comparison(tmp_path / "pairs") == ASKED
    delete_comparison(tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()
    assert load_comparison(tmp_path / "pairs") is None


def test_what_cannot_be_read_is_nothing(tmp_path: Path) -> None:
    (tmp_path / COMPARISON_FILE).write_text("{}")
    assert load_comparison(tmp_path) is None


def test_pairs_that_go_on_are_shown_by_the_next_window_and_their_end_once() -> None:
    assert find_pairs_to_show() is None
    of_a_terminal = WrittenPairs("20261127-120002-b-0002")
    asked = WrittenPairs("20261127-120001-a-0001")
    save_comparison(asked.directory, ASKED)
    assert find_pairs_to_show() == (of_a_terminal.directory, True)
    of_a_terminal.end()
    assert find_pairs_to_show() == (asked.directory, True)
    asked.end()
    assert find_pairs_to_show() == (asked.directory, False)
    mark_shown(asked.directory)
    assert find_pairs_to_show() is None
    save_comparison(asked.directory.parent / "20261127-120003-never-begun", ASKED)
    assert find_pairs_to_show() is None
