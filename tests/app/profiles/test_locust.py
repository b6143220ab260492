from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ProfileError
from app.profiles.locust import build_locust_profile
from app.profiles.profile import LocustProfile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my shop test.py"
    path.write_text("")
    return path


def test_locust_profile_is_built_from_a_file_and_options(file: Path) -> None:
    profile = build_locust_profile(file, users=25, spawn_per_s=5, duration="30s", host="http://127.0.0.1:8000")
    assert isinstance(profile, LocustProfile)
    assert profile.name == "my-shop-test"
    assert profile.target.file == file
    assert profile.target.url == "http://127.0.0.1:8000"
    assert profile.workload.spawn_per_s == 5.0
    (stage,) = profile.load.stages
    assert (stage.concurrency, stage.duration_s) == (25, 30.0)


def test_overrides_are_applied_to_a_locust_profile(file: Path) -> None:
    profile = build_locust_profile(file, overrides=["slo=[service_ms.p95 < 100]", "target.permitted=true"])
    assert isinstance(profile, LocustProfile)
    assert profile.slo
    assert profile.target.permitted
    assert profile.target.all_urls == ()


def test_invalid_locust_options_are_rejected(file: Path) -> None:
    with pytest.raises(ProfileError, match=r"^--locustfile: target\.file: the file \S+ does not exist"):
        build_locust_profile(file.with_name("none.py"))
    with pytest.raises(ProfileError, match=r"--set load\.seed"):
        build_locust_profile(file, overrides=["load.seed=x"])
    with pytest.raises(ProfileError, match="whole number"):
        build_locust_profile(file, users=0)
