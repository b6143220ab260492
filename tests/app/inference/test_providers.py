from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import UsageError
from app.inference.providers import get_profile_name, get_runtime_name, is_nvidia_driver_available


def test_names_go_there_and_back() -> None:
    assert get_runtime_name("tensorrt") == "TensorrtExecutionProvider"
    assert get_profile_name("TensorrtExecutionProvider") == "tensorrt"
    assert get_profile_name("AzureExecutionProvider") == "AzureExecutionProvider"


@pytest.mark.parametrize(("typed", "hint"), [("CUDA", "Did you mean cuda?"), ("vulkanx", "Use one of cpu, cuda")])
def test_unknown_provider_names_the_nearest(typed: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_runtime_name(typed)
    assert (caught.value.hint or "").startswith(hint)


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is a Linux library")
def test_driver_is_there_when_its_library_loads(nvml_stand_in: Path) -> None:
    program = "from app.inference.providers import is_nvidia_driver_available; print(is_nvidia_driver_available())"
    here = str(is_nvidia_driver_available()).encode()
    for library_path, answer in ((str(nvml_stand_in), b"True"), ("", here)):
        run = subprocess.run(
            [sys.executable, "-c", program], env={"LD_LIBRARY_PATH": library_path}, capture_output=True, check=True
        )
        assert run.stdout.strip() == answer
