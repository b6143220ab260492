from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

from app.analysis.language_models import load_language_models
from app.errors import UsageError
from app.profiles.bundled import DATA_DIRECTORY
from app.profiles.mlperf_results import LANGUAGE_MODELS, load_mlperf_results
from app.profiles.pricing.catalog import load_catalog

CARDS = load_catalog().accelerators


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(DATA_DIRECTORY / "hardware" / "published.csv", tmp_path)
    return tmp_path


def test_bundled_published_results_are_complete() -> None:
    results = load_mlperf_results(CARDS)
    assert (len(results), len({result.accelerator_key for result in results})) == (242, 22)
    assert all(result.source.startswith("https://github.com/mlcommons/inference_results_") for result in results)
    assert all(datetime.date(2023, 1, 1) < result.date < datetime.date(2026, 1, 1) for result in results)


def test_published_row_has_values_of_its_line() -> None:
    (row,) = (
        result
        for result in load_mlperf_results(CARDS)
        if (result.round, result.model, result.accelerator_key) == ("v4.1", "llama2-70b-99", "h100-sxm5-80gb")
        and result.scenario == "offline"
    )
    assert (row.submitter, row.accelerator_count, row.samples_per_s, row.tokens_per_s) == (
        "NVIDIA",
        8,
        84.4792,
        24524.9,
    )
    assert (row.runtime, row.dtype, row.scenario) == ("tensorrt", "fp8", "offline")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",a100-pcie-80gb,8,", ",a100-pcie-81gb,8,", "accelerator_key 'a100-pcie-81gb' is not in accelerators.csv"),
        (",28.5403,", ",0,", "above zero"),
        (",28.5403,", ",fast,", "samples_per_s"),
        ("v3.0,2023-02-20,", "v3.0,last year,", "date"),
    ],
)
def test_invalid_cell_is_reported_with_its_line(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "published.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_mlperf_results(CARDS, folder)
    assert f"{path}:2: " in str(caught.value)
    assert message in str(caught.value)


def test_second_result_of_the_same_kind_is_reported(folder: Path) -> None:
    path = folder / "published.csv"
    header, first, *others = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join((header, first, first, *others)), encoding="utf-8")
    with pytest.raises(UsageError, match=r":3: the row v3\.0 3d-unet-99 offline tensorrt int8 a100-pcie-80gb is dup"):
        load_mlperf_results(CARDS, folder)


def test_missing_published_table_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_mlperf_results(CARDS, tmp_path)


def test_language_models_of_the_table_have_a_known_shape() -> None:
    models = {result.model for result in load_mlperf_results(CARDS)}
    assert set(LANGUAGE_MODELS) <= models
    assert set(LANGUAGE_MODELS.values()) - {"gpt-j-6b"} <= set(load_language_models())
