from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.inference.inspection.language_model import read_language_model
from app.planning.language_models.memory import MemoryPlan, compute_kv_bytes, find_smallest_degree
from app.profiles.pricing.catalog import load_catalog
from app.records.language_model import LanguageModelInspection, LanguageModelMetadata
from app.records.planning_inputs import Precision
from app.records.result import Gpu
from app.wiring.inspecting_language_models import FitQuestion, build_inspection
from tests.fakes.language_model_files import published_model, write_folder

CARDS = load_catalog().accelerators
GPUS = [CARDS[key] for key in ("h100-sxm5-80gb", "l4")]


@pytest.fixture(scope="module")
def llama_70b(tmp_path_factory: pytest.TempPathFactory) -> LanguageModelMetadata:
    model = published_model("llama-3.1-70b")
    return read_language_model(write_folder(tmp_path_factory.mktemp("models") / "llama", model.tensors, model.config))


def inspect(metadata: LanguageModelMetadata, question: FitQuestion, *local_gpus: Gpu) -> LanguageModelInspection:
    return build_inspection(metadata, question, local_gpus, GPUS)


def test_smallest_degrees_equal_those_of_the_planner(llama_70b: LanguageModelMetadata) -> None:
    inspection = inspect(llama_70b, FitQuestion((4096, 65_536), (1, 32)))
    assert llama_70b.language_model is not None
    model = msgspec.structs.replace(llama_70b.language_model, parameters=llama_70b.weights.size_bytes / 2)
    for fit in inspection.fits:
        for batch in fit.degrees:
            plan = find_smallest_degree(
                model, CARDS[fit.key or ""], Precision(), fit.context_tokens, sequences=batch.batch
            )
            assert batch.degree == (plan.degree if isinstance(plan, MemoryPlan) else None)
    assert {batch.degree for fit in inspection.fits for batch in fit.degrees} == {None, 2, 4, 8}


def test_gpu_fits_are_sorted_by_context_and_memory_with_installed_gpus_first(llama_70b: LanguageModelMetadata) -> None:
    local_gpus = (Gpu(0, "NVIDIA L4", None, 22.5, None), Gpu(1, "Unheard Of", None, 48.0, None))
    fits = inspect(llama_70b, FitQuestion((1024, 2048)), *local_gpus).fits
    assert [(fit.context_tokens, fit.key, fit.is_installed) for fit in fits[:4]] == [
        (1024, "l4", True),
        (1024, None, True),
        (1024, "l4", False),
        (1024, "h100-sxm5-80gb", False),
    ]
    assert fits[4].context_tokens == 2048


def test_default_context_does_not_exceed_that_of_the_model(llama_70b: LanguageModelMetadata) -> None:
    assert [cache.context_tokens for cache in inspect(llama_70b, FitQuestion()).kv_caches] == [8192]
    short = msgspec.structs.replace(
        llama_70b, architecture=msgspec.structs.replace(llama_70b.architecture, counts={"context_tokens": 2048})
    )
    assert [cache.context_tokens for cache in inspect(short, FitQuestion()).kv_caches] == [2048]


def test_kv_cache_type_is_requested_declared_by_the_model_or_assumed(llama_70b: LanguageModelMetadata) -> None:
    requested = inspect(llama_70b, FitQuestion(kv_dtype="fp8"))
    assert (requested.kv_dtype, requested.kv_dtype_source) == ("fp8", "option")
    assert requested.kv_bytes_per_token == 327_680 / 2
    stated = inspect(llama_70b, FitQuestion())
    assert (stated.kv_dtype, stated.kv_dtype_source) == ("bf16", "model")
    without_kv_dtype = msgspec.structs.replace(
        llama_70b, architecture=msgspec.structs.replace(llama_70b.architecture, kv_dtype=None)
    )
    assert inspect(without_kv_dtype, FitQuestion()).kv_dtype_source == "assumed"


def test_kv_cache_beyond_the_attention_window_grows_only_in_the_other_layers(tmp_path: Path) -> None:
    gemma = published_model("gemma-2-9b")
    metadata = read_language_model(write_folder(tmp_path / "gemma", gemma.tensors, gemma.config))
    inspection = inspect(metadata, FitQuestion((8192,)))
    assert (inspection.kv_bytes_per_token, inspection.window_bytes_per_token) == (344_064, 172_032)
    assert inspection.kv_caches[0].bytes_per_sequence == 4096 * 344_064 + 4096 * 172_032
    assert metadata.language_model is not None
    assert inspection.kv_caches[0].bytes_per_sequence == compute_kv_bytes(metadata.language_model, 8192, "bf16")


def test_gpu_fits_are_empty_for_an_unknown_kv_cache(llama_70b: LanguageModelMetadata) -> None:
    inspection = inspect(msgspec.structs.replace(llama_70b, language_model=None), FitQuestion((1024,)))
    assert (inspection.kv_bytes_per_token, inspection.kv_caches, inspection.fits) == (None, (), ())
