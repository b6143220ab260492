from __future__ import annotations

import pytest

from app.profiles.bundled import bundled_profiles
from app.profiles.pricing.catalog import load_catalog
from app.telemetry.cgroup import Cgroup
from app.wiring import hardware
from app.wiring.hardware import find_hardware
from tests.fakes.profiles import load_endpoint_profile


def test_a_container_has_the_cores_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "read_cgroup", lambda: Cgroup(cpu_limit_cores=0.5))
    here = find_hardware(load_endpoint_profile(bundled_profiles()["quickstart"]), load_catalog())
    assert here is not None
    assert here.is_this_machine
    assert here.vcpus == 0.5
    assert "(0.5 vCPUs, " in here.description


def test_hardware_that_the_profile_names_is_taken() -> None:
    profile = load_endpoint_profile(bundled_profiles()["quickstart"], ["target.hardware={vcpus: 3, accelerator: l4}"])
    named = find_hardware(profile, load_catalog())
    assert named is not None
    assert (named.vcpus, named.accelerator, named.is_this_machine) == (3, "l4", False)
