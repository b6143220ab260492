from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import UsageError
from app.inference.inspection.client import inspect_model
from app.inference.probe import DIGITS_MODEL
from app.profiles.loading import load_profile_tree
from app.profiles.local import LocalProfile
from app.records.model import ModelMetadata, ShapeOverrides
from app.wiring.local_spec import build_variants, check_generation_tests
from app.wiring.unrunnable_variants import (
    LocalMachine,
    estimate_memory,
    find_unrunnable_variants,
    inspect_local_machine,
    inspect_models,
)
from tests.fakes import gguf_decoders

pytestmark = pytest.mark.process

MACHINE = LocalMachine(
    working_providers=("cpu",), unavailable_reasons={"cuda": "no driver"}, cores=4, memory_bytes=2**30
)


@pytest.fixture(scope="module")
def digits() -> ModelMetadata:
    return inspect_model(DIGITS_MODEL, ShapeOverrides())


def profile(**sections: Any) -> LocalProfile:
    target = {"model": "digits", **sections.pop("target", {})}
    local_profile = load_profile_tree({"sizewise": 1, "name": "mine", "target": target, **sections}, "mine.yaml")
    assert isinstance(local_profile, LocalProfile)
    return local_profile


def find_unrunnable(metadata: ModelMetadata, **sections: Any) -> dict[str, tuple[str, str]]:
    cells = find_unrunnable_variants(profile(**sections), MACHINE, {DIGITS_MODEL: metadata})
    return {variant.cell: (variant.hint, variant.reason) for variant in cells}


def test_runnable_variants_are_not_reported_as_unrunnable(digits: ModelMetadata) -> None:
    assert find_unrunnable(digits, target={"batch": [1, 64], "threads": [1, 4], "precision": ["as-is", "fp16"]}) == {}


def test_unavailable_providers_are_reported_with_the_reason(digits: ModelMetadata) -> None:
    unrunnable = find_unrunnable(digits, target={"providers": ["cpu", "cuda", "openvino"]})
    assert unrunnable == {
        "digits cuda as-is, batch 1": ("target.providers", "cuda is not available on this machine: no driver"),
        "digits openvino as-is, batch 1": ("target.providers", "openvino is not in this build of ONNX Runtime"),
    }


def test_more_threads_than_cores_are_reported(digits: ModelMetadata) -> None:
    unrunnable = find_unrunnable(digits, target={"threads": [4, 5]})
    assert list(unrunnable) == ["digits cpu as-is, batch 1, 5 threads"]


def test_model_with_a_fixed_batch_cannot_run_other_batches(digits: ModelMetadata) -> None:
    fixed = msgspec.structs.replace(digits, batch_axes=(), costs=digits.costs[:1])
    assert list(find_unrunnable(fixed, target={"batch": [1, 2]})) == ["digits cpu as-is, batch 2"]


def test_variant_that_exceeds_the_memory_limit_is_reported(digits: ModelMetadata) -> None:
    unrunnable = find_unrunnable(digits, target={"batch": [1, 64]}, limits={"memory": "3 MiB"})
    ((cell, (key, reason)),) = unrunnable.items()
    assert cell.endswith("batch 64")
    assert key == "target.batch"
    assert "but only 0.00293 GiB is allowed by limits.memory" in reason


def test_memory_estimate_depends_on_precision(digits: ModelMetadata) -> None:
    full_precision = estimate_memory(digits, 48)
    assert full_precision is not None
    assert digits.memory_growth is not None
    assert full_precision == digits.memory_growth.fixed + 48 * digits.memory_growth.per_row
    assert estimate_memory(digits, 48, "fp16") == round(full_precision / 2)
    assert (
        estimate_memory(digits, 48, "int8-static")
        == full_precision - digits.parameters.bytes + digits.parameters.bytes // 4
    )
    assert estimate_memory(msgspec.structs.replace(digits, costs=(), memory_growth=None), 48) is None


def test_invalid_model_is_reported_for_each_of_its_variants(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a model")
    local_profile = profile(target={"model": [str(bad), "digits"]})
    models = inspect_models(local_profile)
    assert isinstance(models[bad], UsageError)
    (cell,) = find_unrunnable_variants(local_profile, MACHINE, models)
    assert (cell.hint, cell.cell) == ("target.model", "bad cpu as-is, batch 1")


def test_gguf_model_with_a_short_context_is_reported_for_its_variants(tmp_path: Path) -> None:
    model = gguf_decoders.write_plain(tmp_path / "tiny.gguf")
    local_profile = profile(target={"model": str(model)}, load={"tests": "tg8 @ d2040"})
    (cell,) = find_unrunnable_variants(local_profile, MACHINE, inspect_models(local_profile))
    assert cell.hint == "target.model"
    assert "needs 2,050 tokens, but the context" in cell.reason
    with pytest.raises(UsageError, match="2,050 tokens"):
        check_generation_tests(local_profile)
    check_generation_tests(profile(target={"model": str(model)}, load={"tests": "tg6 @ d2040"}))


def test_unrunnable_variants_have_the_labels_of_the_results(digits: ModelMetadata) -> None:
    """Devices are part of the labels; the missing GPU makes every variant unrunnable."""
    unrunnable = find_unrunnable(digits, target={"providers": ["cuda"], "devices": [0, 1]})
    assert list(unrunnable) == [
        variant.label for variant in build_variants(profile(target={"providers": ["cuda"], "devices": [0, 1]}))
    ]


def test_inspected_machine_has_the_cpu_provider_cores_and_memory() -> None:
    machine = inspect_local_machine()
    assert "cpu" in machine.working_providers
    assert machine.cores >= 1
    assert machine.memory_bytes > 0
