"""An NVIDIA GPU that ONNX Runtime can use. Without one, all tests of this folder are skipped with the reason."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from app.inference.probe import probe_providers
from app.telemetry.gpu import open_gpus
from tests.fakes.program import Sizewise
from tests.gpu.findings import Findings

TABLE = "SIZEWISE_GPU_TABLE"
"""Names the file that the findings are written to."""


@pytest.fixture(scope="session", autouse=True)
def findings() -> Iterator[Findings]:
    """The findings of the first GPU. Skips the tests without a GPU."""
    with open_gpus() as gpus:
        if not gpus.readers:
            pytest.skip(f"no NVIDIA GPU here ({gpus.note or 'no driver'}): tests/gpu/run is for a machine with one")
        gpu_findings = Findings(gpus.readers[0].description)
    probe = probe_providers()
    if "cuda" not in probe.working_providers:
        why = next(
            (failure.reason for failure in probe.failed_providers if failure.provider == "cuda"), "this build has none"
        )
        pytest.skip(f"a GPU, but no CUDA provider that opens a session: {why}")
    gpu_findings.add("ONNX Runtime", f"{probe.runtime_version}; opens {', '.join(probe.working_providers)}")
    yield gpu_findings
    if TABLE in os.environ:
        Path(os.environ[TABLE]).write_text(gpu_findings.markdown(), encoding="utf-8")


@pytest.fixture(scope="session")
def resnet50() -> Path:
    """ResNet-50 from the onnx wheel: batch 1 and equal weights, so it is good for timing and not for predictions."""
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_resnet50.onnx"


@pytest.fixture
def sizewise(tmp_path: Path) -> Sizewise:
    return Sizewise(tmp_path / "home", tmp_path)


@pytest.fixture
def without_cuda_libraries(tmp_path: Path) -> dict[str, str]:
    """An environment whose ONNX Runtime has no NVIDIA libraries in the folder beside it, where it searches for them."""
    import onnxruntime

    folder = tmp_path / "alone"
    folder.mkdir()
    (folder / "onnxruntime").symlink_to(Path(onnxruntime.__file__).parent, target_is_directory=True)
    return {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": ""} if sys.platform == "linux" else {}
