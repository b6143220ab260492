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


def profile(**parts: Any) -> LocalProfile:
    target = {"model": "digits", **parts.pop("target", {})}
    made = load_profile_tree({"sizewise": 1, "name": "mine", "target": target, **parts}, "mine.yaml")
    assert isinstance(made, LocalProfile)
    return made


def against(facts: ModelMetadata, **parts: Any) -> dict[str, tuple[str, str]]:
    cells = find_unrunnable_variants(profile(**parts), MACHINE, {DIGITS_MODEL: facts})
    return {one.cell: (one.hint, one.reason) for one in cells}


def test_what_can_run_is_not_reported(digits: ModelMetadata) -> None:
    assert against(digits, target={"batch": [1, 64], "threads": [1, 4], "precision": ["as-is", "fp16"]}) == {}


def test_providers_that_are_not_here_say_why(digits: ModelMetadata) -> None:
    reported = against(digits, target={"providers": ["cpu", "cuda", "openvino"]})
    assert reported == {
        "digits cuda as-is, batch 1": ("target.providers", "cuda is not available on this machine: no driver"),
        "digits openvino as-is, batch 1": ("target.providers", "openvino is not in this build of ONNX Runtime"),
    }


def test_more_threads_than_cores(digits: ModelMetadata) -> None:
    reported = against(digits, target={"threads": [4, 5]})
    assert list(reported) == ["digits cpu as-is, batch 1, 5 threads"]


def test_a_model_of_one_batch_takes_no_other(digits: ModelMetadata) -> None:
    fixed = msgspec.structs.replace(digits, batch_axes=(), costs=digits.costs[:1])
    assert list(against(fixed, target={"batch": [1, 2]})) == ["digits cpu as-is, batch 2"]


def test_what_needs_more_memory_than_there_is(digits: ModelMetadata) -> None:
    reported = against(digits, target={"batch": [1, 64]}, limits={"memory": "3 MiB"})
    ((cell, (settles, reason)),) = reported.items()
    assert cell.endswith("batch 64")
    assert settles == "target.batch"
    assert "but only 0.00293 GiB is allowed by limits.memory" in reason


def test_half_the_precision_takes_half_the_memory_and_int8_less_of_the_weights(digits: ModelMetadata) -> None:
    whole = estimate_memory(digits, 48)
    assert whole is not None
    assert digits.memory_growth is not None
    assert whole == digits.memory_growth.fixed + 48 * digits.memory_growth.per_row
    assert estimate_memory(digits, 48, "fp16") == round(whole / 2)
    assert estimate_memory(digits, 48, "int8-static") == whole - digits.parameters.bytes + digits.parameters.bytes // 4
    assert estimate_memory(msgspec.structs.replace(digits, costs=(), memory_growth=None), 48) is None


def test_a_refused_model_is_against_each_of_its_variants(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a model")
    mine = profile(target={"model": [str(bad), "digits"]})
    models = inspect_models(mine)
    assert isinstance(models[bad], UsageError)
    (cell,) = find_unrunnable_variants(mine, MACHINE, models)
    assert (cell.hint, cell.cell) == ("target.model", "bad cpu as-is, batch 1")


def test_a_gguf_file_whose_context_is_too_short_is_against_its_variants(tmp_path: Path) -> None:
    model = gguf_decoders.write_plain(tmp_path / "tiny.gguf")
    mine = profile(target={"model": str(model)}, load={"tests": "tg8 @ d2040"})
    (cell,) = find_unrunnable_variants(mine, MACHINE, inspect_models(mine))
    assert cell.hint == "target.model"
    assert "needs 2,050 tokens, but the context" in cell.reason
    with pytest.raises(UsageError, match="2,050 tokens"):
        check_generation_tests(mine)
    check_generation_tests(profile(target={"model": str(model)}, load={"tests": "tg6 @ d2040"}))


def test_variants_are_called_as_in_results(digits: ModelMetadata) -> None:
    """Devices tell them apart too, which a card that is not there refuses each."""
    reported = against(digits, target={"providers": ["cuda"], "devices": [0, 1]})
    assert list(reported) == [
        one.label for one in build_variants(profile(target={"providers": ["cuda"], "devices": [0, 1]}))
    ]


def test_this_machine_has_a_processor() -> None:
    machine = inspect_local_machine()
    assert "cpu" in machine.working_providers
    assert machine.cores >= 1
    assert machine.memory_bytes > 0
