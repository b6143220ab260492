from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.inference.probe import probe_providers
from app.inference.providers import is_nvidia_driver_available
from app.inference.session import list_providers

pytestmark = pytest.mark.process


def test_each_provider_of_the_build_either_works_or_fails() -> None:
    probe = probe_providers()
    assert "cpu" in probe.working_providers
    failed_providers = [failure.provider for failure in probe.failed_providers]
    assert sorted([*probe.working_providers, *failed_providers]) == sorted(list_providers())
    assert probe.runtime_version is not None
    assert probe.runtime_version.count(".") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the mock driver is a Linux library")
def test_missing_cuda_libraries_and_missing_driver_have_different_reasons(
    simulated_nvml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = probe_providers()
    if "cuda" not in {failure.provider for failure in probe.failed_providers}:
        pytest.skip("CUDA is not missing from this machine, or not listed by this build")
    if not is_nvidia_driver_available():
        assert "no NVIDIA driver" in {failure.provider: failure.reason for failure in probe.failed_providers}["cuda"]
    monkeypatch.setenv("LD_LIBRARY_PATH", str(simulated_nvml))
    reasons = {failure.provider: failure.reason for failure in probe_providers().failed_providers}
    assert reasons["cuda"].startswith("a library of the provider is missing: lib")
