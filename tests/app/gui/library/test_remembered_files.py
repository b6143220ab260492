from __future__ import annotations

from pathlib import Path

from app.gui.library.remembered_files import forget, list_remembered_files, relocate, remember, remember_opened
from app.profiles.bundled import bundled_profiles
from tests.app.gui.library.conftest import FULL_RESULT, store_run


def test_remembered_files_are_unique_and_newest_first(tmp_path: Path) -> None:
    for name in ("a", "b", "a"):
        remember("profiles", tmp_path / name)
    assert list_remembered_files("profiles") == (tmp_path / "a", tmp_path / "b")
    assert list_remembered_files("models") == ()


def test_relocated_file_has_the_same_position_and_forgotten_file_is_removed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        remember("models", tmp_path / name)
    relocate("models", tmp_path / "b", tmp_path / "c")
    assert list_remembered_files("models") == (tmp_path / "c", tmp_path / "a")
    forget("models", tmp_path / "a")
    assert list_remembered_files("models") == (tmp_path / "c",)


def test_opened_file_is_remembered_unless_bundled_or_part_of_a_run(tmp_path: Path) -> None:
    remember_opened("profiles", next(iter(bundled_profiles().values())))
    remember_opened("profiles", store_run("run", FULL_RESULT) / "spec.yaml")
    remember_opened("profiles", tmp_path / "mine.yaml")
    assert list_remembered_files("profiles") == (tmp_path / "mine.yaml",)
