from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.bundled import bundled_models, bundled_profiles, find_profile


def test_bundled_profile_is_selected_by_name() -> None:
    assert find_profile("quickstart") == bundled_profiles()["quickstart"]
    assert "digits" in bundled_models()


def test_profile_file_is_selected_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.touch()
    assert find_profile(str(path)) == path


def test_misspelled_profile_name_suggests_the_nearest_name() -> None:
    with pytest.raises(UsageError) as caught:
        find_profile("quikstart")
    assert "'quickstart'" in (caught.value.hint or "")


def test_folder_is_not_a_valid_profile(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        find_profile(str(tmp_path))


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("localhost/v1", "http://localhost:8000/v1"),
        ("[::1]", "http://[::1]:8000"),
        ("localhost:9000", "http://localhost:9000"),
    ],
)
def test_host_name_suggests_a_complete_url(target: str, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_profile(target)
    assert f"`sizewise run {url}`" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["127.0.0", "::1", "[127.0.0.1]", "1.2.yaml"])
def test_invalid_host_does_not_suggest_a_url(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_profile(name)
    assert "URL" not in (caught.value.hint or "")
