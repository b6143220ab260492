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
from tests.fakes.stored_pairs import StoredPairs

REQUEST = ComparisonRequest(
    (ComparisonEntry(Path("/a"), "baseline"), ComparisonEntry(Path("/b"), "candidate")), 0.1, is_forced=True
)


def test_saved_comparison_request_is_loaded_until_it_is_deleted(tmp_path: Path) -> None:
    save_comparison(tmp_path / "pairs", REQUEST)
    assert load_comparison(tmp_path / "pairs") == REQUEST
    delete_comparison(tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()
    assert load_comparison(tmp_path / "pairs") is None


def test_unreadable_comparison_file_loads_as_none(tmp_path: Path) -> None:
    (tmp_path / COMPARISON_FILE).write_text("{}")
    assert load_comparison(tmp_path) is None


def test_finished_ab_pairs_are_shown_once_and_running_pairs_by_the_next_window() -> None:
    assert find_pairs_to_show() is None
    terminal_pairs = StoredPairs("20261127-120002-b-0002")
    window_pairs = StoredPairs("20261127-120001-a-0001")
    save_comparison(window_pairs.directory, REQUEST)
    assert find_pairs_to_show() == (terminal_pairs.directory, True)
    terminal_pairs.end()
    assert find_pairs_to_show() == (window_pairs.directory, True)
    window_pairs.end()
    assert find_pairs_to_show() == (window_pairs.directory, False)
    mark_shown(window_pairs.directory)
    assert find_pairs_to_show() is None
    save_comparison(window_pairs.directory.parent / "20261127-120003-never-begun", REQUEST)
    assert find_pairs_to_show() is None
