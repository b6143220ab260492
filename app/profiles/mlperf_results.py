"""Bundled results of MLPerf Inference, closed division: a dated table beside the catalog of accelerators, whose README
states its sources."""

from __future__ import annotations

import datetime
from collections.abc import Container
from functools import cache, partial
from pathlib import Path

import msgspec

from app.profiles.bundled import DATA_DIRECTORY
from app.profiles.pricing.catalog import load_catalog
from app.profiles.pricing.csv_rows import CsvRow, read_unique_items


class MlperfResult(msgspec.Struct, frozen=True):
    """Throughput that one submission reports, of all of its accelerators together. `date` is that of the run's own log.

    `dtype` is what most of the arithmetic is done in. Results can be compared only within a round, runtime and dtype.
    """

    round: str
    date: datetime.date
    submitter: str
    system: str
    accelerator_key: str
    accelerator_count: int
    model: str
    scenario: str
    runtime: str
    dtype: str
    samples_per_s: float
    tokens_per_s: float | None
    source: str

    @property
    def key(self) -> str:
        """What the table has one result of."""
        return " ".join((self.round, self.model, self.scenario, self.runtime, self.dtype, self.accelerator_key))


LANGUAGE_MODELS = {
    "gptj-99": "gpt-j-6b",
    "llama2-70b-99": "llama-2-70b",
    "llama3.1-8b": "llama-3.1-8b",
    "llama3.1-405b": "llama-3.1-405b",
    "mixtral-8x7b": "mixtral-8x7b",
}
"""Keys of the language models that MLPerf measures, by MLPerf's names of its benchmarks."""


def list_model_results(model: str) -> tuple[MlperfResult, ...]:
    """Return the results of a language model by its key, in the order of the table."""
    return tuple(result for result in _load_language_model_results() if LANGUAGE_MODELS[result.model] == model)


def count_results() -> int:
    """Return the number of results of all language models."""
    return len(_load_language_model_results())


@cache
def _load_language_model_results() -> tuple[MlperfResult, ...]:
    results = load_mlperf_results(load_catalog().accelerators)
    return tuple(result for result in results if result.model in LANGUAGE_MODELS)


def load_mlperf_results(accelerators: Container[str], directory: Path | None = None) -> tuple[MlperfResult, ...]:
    """Return the bundled results, or those of another folder. Raises UsageError with the file and the line of an
    invalid cell, such as an accelerator that is not in `accelerators`."""
    path = (directory or DATA_DIRECTORY / "hardware") / "published.csv"
    return tuple(read_unique_items(path, partial(_read_result, accelerators)))


def _read_result(accelerators: Container[str], row: CsvRow) -> MlperfResult:
    try:
        result = msgspec.convert({name: cell or None for name, cell in row.cells.items()}, MlperfResult, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    if result.accelerator_key not in accelerators:
        raise ValueError(f"accelerator_key {result.accelerator_key!r} is not in accelerators.csv")
    if not (result.accelerator_count >= 1 and result.samples_per_s > 0):
        raise ValueError("a result is above zero, of at least one accelerator")
    return result
