from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import UsageError
from app.inference.providers import get_profile_name, get_runtime_name, is_nvidia_driver_available


def test_provider_names_are_converted_in_both_directions() -> None:
    assert get_runtime_name("tensorrt") == "TensorrtExecutionProvider"
    assert get_profile_name("TensorrtExecutionProvider") == "tensorrt"
    assert get_profile_name("AzureExecutionProvider") == "AzureExecutionProvider"


@pytest.mark.parametrize(("provider", "hint"), [("CUDA", "Did you mean cuda?"), ("vulkanx", "Use one of cpu, cuda")])
def test_unknown_provider_suggests_the_nearest(provider: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        get_runtime_name(provider)
    assert (error.value.hint or "").startswith(hint)


@pytest.mark.skipif(sys.platform != "linux", reason="the mock driver is a Linux library")
def test_nvidia_driver_is_available_if_its_library_loads(simulated_nvml: Path) -> None:
    program = "from app.inference.providers import is_nvidia_driver_available; print(is_nvidia_driver_available())"
    is_available_here = str(is_nvidia_driver_available()).encode()
    for library_path, is_available in ((str(simulated_nvml), b"True"), ("", is_available_here)):
        run = subprocess.run(
            [sys.executable, "-c", program], env={"LD_LIBRARY_PATH": library_path}, capture_output=True, check=True
        )
        assert run.stdout.strip() == is_available
