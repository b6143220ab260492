"""A run on CUDA has all operators on the GPU, and a run without CUDA libraries fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fakes.program import Sizewise
from tests.gpu.findings import Findings

PROFILE = """sizewise: 1
name: gpu
target: {{model: {model}, providers: {providers}}}
load: {{min_duration: 1s, max_duration: 3s, cold_starts: 1}}
"""


def write_profile(folder: Path, model: Path, providers: str) -> str:
    path = folder / "gpu.yaml"
    path.write_text(PROFILE.format(model=model, providers=providers))
    return str(path)


def test_cuda_run_has_no_operator_on_fallback_provider(
    sizewise: Sizewise, tmp_path: Path, resnet50: Path, findings: Findings
) -> None:
    done = sizewise("run", write_profile(tmp_path, resnet50, "[cuda, cpu]"), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    result = sizewise.result(tmp_path / "run")
    on_cuda, on_cpu = result["local"]["variants"]
    assert (on_cuda["provider_used"], on_cpu["provider_used"]) == ("cuda", "cpu")
    assert not any(placement.get("is_fallback") for placement in on_cuda["placements"])
    operators = ", ".join(
        f"{placement['nodes']} {placement['operator']} on {placement['provider']}"
        for placement in on_cuda["placements"]
    )
    findings.add("nodes of ResNet-50", operators)
    assert any(
        row.startswith("gpu_energy_j") or row.startswith("gpu_power_w") for row in result["stages"][0]["metrics"]
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the libraries are hidden in a way that works on Linux only")
def test_run_without_cuda_libraries_exits_with_3_or_4(
    sizewise: Sizewise, tmp_path: Path, resnet50: Path, without_cuda_libraries: dict[str, str], findings: Findings
) -> None:
    profile = write_profile(tmp_path, resnet50, "cuda")
    done = sizewise("run", profile, "--out", str(tmp_path / "run"), **without_cuda_libraries)
    if done.returncode == 0:
        pytest.skip("the CUDA libraries are on the system path, so that they cannot be hidden")
    assert done.returncode in (3, 4), done.stderr
    findings.add("without CUDA's libraries", f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
