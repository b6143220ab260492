from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.inference.probe import probe_providers
from app.inference.providers import is_nvidia_driver_available

pytestmark = pytest.mark.process


def test_only_providers_that_open_a_session_work() -> None:
    probe = probe_providers()
    assert "cpu" in probe.working_providers
    assert set(probe.build_providers) == {
        *probe.working_providers,
        *(refused.provider for refused in probe.failed_providers),
    }
    assert probe.runtime_version is not None
    assert probe.runtime_version.count(".") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is a Linux library")
def test_missing_libraries_are_reported_from_a_missing_driver(
    nvml_stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = probe_providers()
    if "cuda" not in probe.build_providers or "cuda" in probe.working_providers:
        pytest.skip("CUDA is not missing from this machine, or not listed by this build")
    if not is_nvidia_driver_available():
        assert "no NVIDIA driver" in {refused.provider: refused.reason for refused in probe.failed_providers}["cuda"]
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_stand_in))
    reasons = {refused.provider: refused.reason for refused in probe_providers().failed_providers}
    assert reasons["cuda"].startswith("a library of the provider is missing: lib")
