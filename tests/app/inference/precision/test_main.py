from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.inference.precision.conversion_records import ConversionJob, ConversionResult
from tests.fakes import networks

pytestmark = pytest.mark.process


def test_conversion_process_prints_only_its_result(tmp_path: Path) -> None:
    network = networks.upsampled()
    network.graph.initializer.append(networks.weights("unused", 3))  # ONNX Runtime warns about it
    model = networks.save_network(tmp_path / "m.onnx", network)
    work = tmp_path / "work"
    work.mkdir()
    np.savez(work / "rows.npz", np.random.default_rng(2).random((4, 3, 8, 8), np.float32))
    job = ConversionJob(
        model=str(model),
        model_bytes=model.stat().st_size,
        precision="int8-static",
        output_path=str(work / "draft.onnx"),
        has_7_bit_weights=False,
        calibration=str(work / "rows.npz"),
        inputs=("x",),
    )
    command = [sys.executable, "-m", "app.inference.precision", msgspec.json.encode(job).decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        stdout, stderr = child.stdout.read(), child.stderr.read()
    assert msgspec.json.decode(stdout, type=ConversionResult).calibration_rows == 4
    assert stderr == b""
    assert set(tmp_path.iterdir()) == {model, work}
