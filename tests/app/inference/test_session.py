from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from app.errors import UnavailableError, UsageError
from app.inference import session as session_module
from app.inference.model_file import MAX_MODEL_BYTES
from app.inference.session import open_session
from app.inference.tensor_spec import TensorSpec
from app.records.local import Placement
from tests.fakes import onnx_models


def test_session_has_the_inputs_and_outputs_of_the_model(tmp_path: Path) -> None:
    session = open_session(onnx_models.doubling(tmp_path / "m.onnx"), "cpu", threads=1)
    assert session.inputs == (TensorSpec("x", "float32", (-1, 3), ("batch", None)),)
    assert session.outputs == (TensorSpec("y", "float32", (-1, 3), ("batch", None)),)
    assert session.is_batchable
    (output,) = session.run({"x": np.ones((2, 3), np.float32)})
    assert output.tolist() == [[2, 2, 2], [2, 2, 2]]


def test_session_on_cpu_has_no_fallback(tmp_path: Path) -> None:
    session = open_session(onnx_models.doubling(tmp_path / "m.onnx"), "cpu", threads=1)
    assert (session.provider_requested, session.provider_used) == ("cpu", "cpu")
    assert session.placements == (Placement("Add", "CPUExecutionProvider", 1),)
    assert session.provider_reason is None


def test_model_with_fixed_first_axis_is_not_batchable(tmp_path: Path) -> None:
    assert not open_session(onnx_models.doubling(tmp_path / "m.onnx", rows=1), "cpu", threads=1).is_batchable


def test_outputs_that_are_not_tensors_are_omitted(tmp_path: Path) -> None:
    session = open_session(onnx_models.with_sequence_output(tmp_path / "m.onnx"), "cpu", threads=1)
    assert [output.name for output in session.outputs] == ["y"]
    assert len(session.run({"x": np.ones((1, 3), np.float32)})) == 1


def test_unsupported_input_type_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'x' is a tensor\\(bfloat16\\)"):
        open_session(onnx_models.echo(tmp_path / "m.onnx", TensorProto.BFLOAT16), "cpu", threads=1)


def test_inputs_that_the_model_rejects_are_a_usage_error(tmp_path: Path) -> None:
    session = open_session(onnx_models.lookup(tmp_path / "m.onnx"), "cpu", threads=1)
    with pytest.raises(UsageError, match="out of data bounds"):
        session.run({"id": np.array([7])})


def test_missing_model_file_and_folder_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the model .*nowhere\.onnx does not exist"):
        open_session(tmp_path / "nowhere.onnx", "cpu", threads=1)
    with pytest.raises(UsageError, match="is not a file"):
        open_session(tmp_path, "cpu", threads=1)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08"])
def test_invalid_model_file_is_rejected_without_output(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"m\.onnx is"):
        open_session(path, "cpu", threads=1)
    assert capfd.readouterr() == ("", "")


def test_truncated_model_file_is_rejected(tmp_path: Path) -> None:
    path = onnx_models.lookup(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UsageError, match="m\\.onnx is not a model"):
        open_session(path, "cpu", threads=1)


def test_model_above_the_size_limit_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(MAX_MODEL_BYTES + 1)
    with pytest.raises(UsageError, match="above the maximum of"):
        open_session(path, "cpu", threads=1)


def test_provider_outside_this_build_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="has no rocm provider"):
        open_session(onnx_models.doubling(tmp_path / "m.onnx"), "rocm", threads=1)


def test_more_threads_than_cores_are_a_usage_error(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    model = onnx_models.doubling(tmp_path / "m.onnx")
    open_session(model, "cpu", threads=cores)
    with pytest.raises(UsageError, match=f"{cores + 1} threads exceed"):
        open_session(model, "cpu", threads=cores + 1)


def test_session_with_0_threads_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="number of threads must be at least 1 \\(got 0\\)"):
        open_session(onnx_models.doubling(tmp_path / "m.onnx"), "cpu", threads=0)


@pytest.mark.parametrize(
    ("runtime_output", "reason"),
    [
        (
            "\x1b[1;31m2026-01-01 10:00:00.1 [E:onnxruntime:Default, x.cc:1 f()] Failed to load library p.so "
            "with error: libcublasLt.so.13: cannot open shared object file: No such file\x1b[m",
            "a library of the provider is missing: libcublasLt.so.13",
        ),
        (
            "with error: libcuda.so.1: cannot open shared object file",
            "no NVIDIA driver was found: libcuda.so.1 cannot be loaded",
        ),
        ("2026-01-01 10:00:00.1 [W:onnxruntime:, x.cc:1 f] CUDA failure 35\nmore", "CUDA failure 35"),
        ("", "not reported by ONNX Runtime"),
    ],
)
def test_fallback_reason_is_parsed_from_the_runtime_output(runtime_output: str, reason: str) -> None:
    assert session_module.parse_fallback_reason(runtime_output) == reason
