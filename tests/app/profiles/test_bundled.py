from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.bundled import bundled_models, bundled_profiles, find_profile


def test_a_bundled_profile_is_found_by_its_name() -> None:
    assert find_profile("quickstart") == bundled_profiles()["quickstart"]
    assert "digits" in bundled_models()


def test_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.touch()
    assert find_profile(str(path)) == path


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find_profile("quikstart")
    assert "'quickstart'" in (caught.value.hint or "")


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        find_profile(str(tmp_path))
