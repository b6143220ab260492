from __future__ import annotations

import pytest

from app.profiles.bundled import bundled_profiles
from app.profiles.pricing.catalog import load_catalog
from app.telemetry.cgroup import Cgroup
from app.wiring import hardware
from app.wiring.hardware import find_hardware
from tests.fakes.profiles import load_endpoint_profile


def test_hardware_of_a_container_has_its_cpu_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "read_cgroup", lambda: Cgroup(cpu_limit_cores=0.5))
    hardware_of_target = find_hardware(load_endpoint_profile(bundled_profiles()["quickstart"]), load_catalog())
    assert hardware_of_target is not None
    assert hardware_of_target.is_this_machine
    assert hardware_of_target.vcpus == 0.5
    assert "(0.5 vCPUs, " in hardware_of_target.description


def test_hardware_of_the_profile_is_not_this_machine() -> None:
    profile = load_endpoint_profile(bundled_profiles()["quickstart"], ["target.hardware={vcpus: 3, accelerator: l4}"])
    hardware_of_target = find_hardware(profile, load_catalog())
    assert hardware_of_target is not None
    assert (hardware_of_target.vcpus, hardware_of_target.accelerator, hardware_of_target.is_this_machine) == (
        3,
        "l4",
        False,
    )
