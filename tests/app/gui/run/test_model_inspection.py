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


def flat(branches: tuple[TreeNode, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in branches:
        found[one.name] = one.value
        found |= flat(one.children)
    return found


def test_a_tree_holds_all_that_was_found(digits: ModelInspection) -> None:
    reported = flat(build_tree(digits))
    assert reported["image"] == "float32, batch × 1 × 8 × 8"
    assert reported["batch"] == "batch size"
    assert reported["Opset"] == "ai.onnx 17 (IR version 8)"
    assert reported["Parameters"].startswith("367,855")
    assert find_stored_precision(digits) == "fp32"
    assert reported["External files"].startswith("none")
    assert "FLOPs" in reported["batch size 64"]
    assert reported["GPUs in this machine"] == "none detected"


def test_an_open_axis_is_named(tmp_path: Path) -> None:
    facts = inspect_model(attention(tmp_path / "m.onnx"), ShapeOverrides())
    assert find_unset_axes(facts) == ("seq",)
    reported = flat(build_tree(ModelInspection(facts, ())))
    assert reported["seq"] == "no length set"
    assert reported["FLOPs and memory"].startswith("n/a: ")
    given = inspect_model(tmp_path / "m.onnx", ShapeOverrides(axes={"seq": 8}))
    assert find_unset_axes(given) == ()
    assert flat(build_tree(ModelInspection(given, ())))["seq"] == "length 8"


def test_external_files_and_cards_of_this_machine_are_reported(digits: ModelInspection) -> None:
    card = GpuFit(name="GPU 0: L4", key="l4", is_installed=True, memory_gib=24, largest_batch=None, min_latency_ms=None,
                   limited_by=None)  # fmt: skip
    facts = msgspec.structs.replace(digits.model, external_files=(ExternalFile("weights.bin", 1_500_000),))
    reported = flat(build_tree(ModelInspection(facts, (card,))))
    assert reported["weights.bin"].startswith("1.50")
    assert reported["GPU 0: L4"] == "does not fit"


def test_memory_is_held_against_what_this_machine_has(digits: ModelInspection) -> None:
    card = GpuFit(name="GPU 0: tiny", key=None, is_installed=True, memory_gib=0.005, largest_batch=1,
                  min_latency_ms=None, limited_by=None)  # fmt: skip
    inspection = ModelInspection(digits.model, (card,))
    small, large = estimate_fits(inspection, (1, 64), ("as-is",), 10**9)
    (half,) = estimate_fits(inspection, (64,), ("fp16",), None)
    assert (small.insufficient_devices, large.insufficient_devices) == ((), ("GPU 0: tiny",))
    assert half.needed_bytes is not None
    assert large.needed_bytes is not None
    assert half.needed_bytes == pytest.approx(large.needed_bytes / 2, abs=1)
    assert format_fit(small).endswith("fits")
    assert format_fit(large).endswith("does not fit in GPU 0: tiny")
    assert format_fit(msgspec.structs.replace(small, needed_bytes=None)) == "n/a"
