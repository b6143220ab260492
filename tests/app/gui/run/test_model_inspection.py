from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.gui.run.model_inspection import (
    TreeNode,
    build_tree,
    estimate_fits,
    find_stored_precision,
    find_unset_axes,
    format_fit,
)
from app.inference.inspection.client import inspect_model
from app.inference.probe import DIGITS_MODEL
from app.records.model import ExternalFile, GpuFit, ModelInspection, ShapeOverrides
from tests.fakes.graphs import attention


@pytest.fixture(scope="module")
def digits() -> ModelInspection:
    return ModelInspection(inspect_model(DIGITS_MODEL, ShapeOverrides()), ())


def flatten(branches: tuple[TreeNode, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for node in branches:
        values[node.name] = node.value
        values |= flatten(node.children)
    return values


def test_inspection_tree_has_tensors_axes_opset_parameters_and_flops(digits: ModelInspection) -> None:
    values = flatten(build_tree(digits))
    assert values["image"] == "float32, batch × 1 × 8 × 8"
    assert values["batch"] == "batch size"
    assert values["Opset"] == "ai.onnx 17 (IR version 8)"
    assert values["Parameters"].startswith("367,855")
    assert find_stored_precision(digits) == "fp32"
    assert values["External files"].startswith("none")
    assert "FLOPs" in values["batch size 64"]
    assert values["GPUs in this machine"] == "none detected"


def test_dynamic_axis_without_length_is_unset_and_flops_are_na(tmp_path: Path) -> None:
    inspected = inspect_model(attention(tmp_path / "m.onnx"), ShapeOverrides())
    assert find_unset_axes(inspected) == ("seq",)
    values = flatten(build_tree(ModelInspection(inspected, ())))
    assert values["seq"] == "no length set"
    assert values["FLOPs and memory"].startswith("n/a: ")
    with_length = inspect_model(tmp_path / "m.onnx", ShapeOverrides(axes={"seq": 8}))
    assert find_unset_axes(with_length) == ()
    assert flatten(build_tree(ModelInspection(with_length, ())))["seq"] == "length 8"


def test_external_files_and_gpus_of_this_machine_are_listed(digits: ModelInspection) -> None:
    card = GpuFit(name="GPU 0: L4", key="l4", is_installed=True, memory_gib=24, largest_batch=None, min_latency_ms=None,
                   limited_by=None)  # fmt: skip
    inspected = msgspec.structs.replace(digits.model, external_files=(ExternalFile("weights.bin", 1_500_000),))
    values = flatten(build_tree(ModelInspection(inspected, (card,))))
    assert values["weights.bin"].startswith("1.50")
    assert values["GPU 0: L4"] == "does not fit"


def test_estimated_memory_is_compared_with_that_of_the_gpus(digits: ModelInspection) -> None:
    card = GpuFit(name="GPU 0: tiny", key=None, is_installed=True, memory_gib=0.005, largest_batch=1,
                  min_latency_ms=None, limited_by=None)  # fmt: skip
    inspection = ModelInspection(digits.model, (card,))
    small, large = estimate_fits(inspection, (1, 64), ("as-is",), 10**9)
    (fp16,) = estimate_fits(inspection, (64,), ("fp16",), None)
    assert (small.insufficient_devices, large.insufficient_devices) == ((), ("GPU 0: tiny",))
    assert fp16.needed_bytes is not None
    assert large.needed_bytes is not None
    assert fp16.needed_bytes == pytest.approx(large.needed_bytes / 2, abs=1)
    assert format_fit(small).endswith("fits")
    assert format_fit(large).endswith("does not fit in GPU 0: tiny")
    assert format_fit(msgspec.structs.replace(small, needed_bytes=None)) == "n/a"
