"""Every bundled profile, measured with short stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.profiles.bundled import bundled_profiles
from app.profiles.loading import load_profile
from app.profiles.local import LocalProfile
from tests.fakes.program import SizewiseInProcess

pytestmark = pytest.mark.process

NEEDS_A_SERVER = {"http"}
IS_TESTED_ELSEWHERE = {"quickstart", "local-model"}
PRESETS = sorted(bundled_profiles().keys() - NEEDS_A_SERVER - IS_TESTED_ELSEWHERE)
OF_EVERY_KIND = {"chat", "fraud-scoring", "image-generation", "speech"}
"""One for each protocol and kind of target; the others are measured in `make soak`."""
FASTER = {
    "image-generation": ["target.scripted.delay=150ms", "load.stages.1.rate=10/s"],
    "speech": ["load.stages.1.ramp.to=15/s"],
    "recommendation": ["load.stages.1.duration=1200ms"],
    "medical-imaging": ["load.stages.1.spike.at=300ms", "load.stages.1.spike.for=200ms"],
    "agents": ["workload.prompts.turns=3", "workload.prompts.think_time=50ms", "load.stages.0.rate=3/s"],
}
"""Overrides that suit stages of one second."""


@pytest.mark.parametrize("name", bundled_profiles())
def test_bundled_profile_has_one_line_description(name: str) -> None:
    description = load_profile(bundled_profiles()[name]).description
    assert description is not None
    assert 10 < len(description) < 100


@pytest.mark.parametrize(
    "name", [name if name in OF_EVERY_KIND else pytest.param(name, marks=pytest.mark.soak) for name in PRESETS]
)
def test_bundled_profile_runs_with_short_stages(calibrated_home: Path, tmp_path: Path, name: str) -> None:
    profile = load_profile(bundled_profiles()[name])
    assert not isinstance(profile, LocalProfile)
    overrides = ["load.warmup=0s"]
    overrides += [f"load.stages.{index}.duration=1s" for index, _ in enumerate(profile.load.stages)]
    if "prompts" in type(profile.workload).model_fields:
        overrides += ["workload.prompts.output_tokens=5", "target.scripted.delay=30ms"]
    if getattr(profile.target, "serve", None) is not None:
        overrides.append("target.serve.max_batch=1")  # the model alone is measured once for each power of two
    settings = [part for override in overrides + FASTER.get(name, []) for part in ("--set", override)]
    sizewise = SizewiseInProcess(calibrated_home, tmp_path, draws=False)
    done = sizewise("run", name, *settings, "--out", str(tmp_path / "run"))
    # a busy machine may invalidate the measurement (4) or fail an SLO (10); only the completed requests are tested
    assert done.returncode in (0, 4, 10), done.stderr
    result = sizewise.result(tmp_path / "run")
    loaded = [stage for stage in result["stages"] if stage["kind"] != "warmup" and not stage["variant"]]
    assert {stage["name"] for stage in loaded} == {stage.name for stage in profile.load.stages}
    for stage in loaded:
        assert stage["completed"] > 0
        assert not stage["errors"]
    is_scripted = getattr(profile.target, "scripted", None) is not None
    assert any("scripted server" in note for note in result["notes"]) == is_scripted


@pytest.mark.soak
def test_bundled_local_profile_runs_with_short_measurements(tmp_path: Path) -> None:
    shorter = (
        "load.warmup=500ms",
        "load.min_duration=200ms",
        "load.max_duration=300ms",
        "load.cold_starts=1",
        "target.batch=[1, 4]",
    )
    settings = [part for override in shorter for part in ("--set", override)]
    sizewise = SizewiseInProcess(tmp_path / "home", tmp_path, draws=False)
    done = sizewise("run", "local-model", *settings, "--out", str(tmp_path / "run"))
    assert done.returncode in (0, 10), done.stderr  # on a busy machine calls may take longer than the SLO allows
    local = sizewise.result(tmp_path / "run")["local"]
    assert [variant["variant"]["precision"] for variant in local["variants"]] == [
        precision for precision in ("as-is", "int8-dynamic", "int8-static") for _ in (1, 4)
    ]
    assert not any(variant["failure"] for variant in local["variants"])
    assert all(variant["accuracy"]["value"]["value"] > 0.9 for variant in local["variants"])
