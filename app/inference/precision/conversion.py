"""Converts a model to another precision in a limited child process, or returns a cached conversion.

Cached models are named by their content, and their entries by the recipe's key. Two processes that convert the same
recipe write two models or the same one, and the later entry wins; either one is complete when read.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import msgspec
import numpy as np

from app.errors import MeasurementError, UsageError
from app.inference.inspection.client import inspect_model
from app.inference.parent import ChildKilledError, run_child
from app.inference.precision.conversion_records import ConversionJob, ConversionResult, ConvertedModel
from app.inference.precision.recipe import Recipe, build_recipe, hash_file
from app.inference.rows import Feeds
from app.records.local import Precision
from app.records.model import ShapeOverrides
from loadgen.decoding import decode_json


class StoredConversion(msgspec.Struct, frozen=True, kw_only=True):
    """A cached conversion."""

    recipe: Recipe
    sha256: str
    delivery: ConversionResult


def default_cache() -> Path:
    """Return the cache folder: in SIZEWISE_HOME, else in the user's cache folder. It may be deleted at any time."""
    home = os.environ.get("SIZEWISE_HOME")
    if home:
        return Path(home) / "cache" / "precision"
    import platformdirs

    return platformdirs.user_cache_path("sizewise", appauthor=False) / "precision"


def cached_model_path(cache: Path, entry: StoredConversion) -> Path:
    return cache / f"{entry.recipe.precision}-{entry.sha256}.onnx"


def find_cached(cache: Path, recipe: Recipe) -> StoredConversion | None:
    """Return the cached conversion of a recipe; `None` if there is none, or if its files have changed."""
    try:
        entry = decode_json((cache / f"{recipe.key}.json").read_bytes(), StoredConversion)
        is_whole = entry.recipe == recipe and hash_file(cached_model_path(cache, entry)) == entry.sha256
    except (OSError, msgspec.DecodeError):
        return None  # Converting again repairs the entry.
    return entry if is_whole else None


def store_conversion(cache: Path, recipe: Recipe, draft: Path, delivery: ConversionResult) -> StoredConversion:
    """Move the draft, which is on the same disk, into the cache. Raises OSError."""
    entry = StoredConversion(recipe=recipe, sha256=hash_file(draft), delivery=delivery)
    _sync(draft)
    draft.replace(cached_model_path(cache, entry))
    entry_draft = draft.with_suffix(".json")
    entry_draft.write_bytes(msgspec.json.format(msgspec.json.encode(entry), indent=2))
    _sync(entry_draft)
    entry_draft.replace(cache / f"{recipe.key}.json")
    return entry


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


_CHILD = "app.inference.precision"


def convert_precision(
    model: Path,
    precision: Precision,
    calibration: Feeds | None = None,
    *,
    cache: Path,
    timeout_s: float,
    now_ns: Callable[[], int] = perf_counter_ns,
) -> ConvertedModel:
    """Return the model as one file of this precision, with its inputs and outputs unchanged; "as-is" is the file
    itself.

    `calibration` maps input names to rows, which int8-static needs. Raises UsageError if the model cannot be converted
    and InstrumentError if the conversion itself failed, both in one sentence that names model and precision.
    """
    if precision == "as-is":
        return ConvertedModel(path=model, sha256=hash_file(model), was_cached=False, duration_s=None)
    try:
        return _convert_or_load(model, precision, calibration, cache, timeout_s, now_ns)
    except ChildKilledError as error:
        raise MeasurementError(
            f"{model.name} cannot be converted to {precision}: {error}",
            hint="Allow more time or memory, or convert it elsewhere and measure that file with precision as-is.",
        ) from error
    except MeasurementError as error:
        raise MeasurementError(f"{model.name} cannot be converted to {precision}: {error}", hint=error.hint) from error
    except UsageError as error:
        raise UsageError(f"{model.name} cannot be converted to {precision}: {error}", hint=error.hint) from error
    except OSError as error:
        raise UsageError(
            f"{model.name} cannot be converted to {precision}: {error.filename or cache}: {error.strerror}",
            hint=f"Converted models are stored in {cache}. Make sure it is writable and has space.",
        ) from error


def _convert_or_load(
    model: Path,
    precision: Precision,
    calibration: Feeds | None,
    cache: Path,
    timeout_s: float,
    now_ns: Callable[[], int],
) -> ConvertedModel:
    if precision == "int8-static":
        _check_calibration(calibration)
    recipe = build_recipe(model, precision, calibration)
    cached = find_cached(cache, recipe)
    if cached is not None:
        return _made_model(cache, cached, took_s=None)
    start_ns = now_ns()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as folder:
        delivery = _run_child(model, recipe, calibration, Path(folder), timeout_s)
        if build_recipe(model, precision, calibration) != recipe:
            raise MeasurementError(
                "its file changed during the conversion", hint="Start again once the file is complete."
            )
        entry = store_conversion(cache, recipe, _draft_path(Path(folder)), delivery)
    return _made_model(cache, entry, took_s=(now_ns() - start_ns) / 1e9)


def _run_child(
    model: Path, recipe: Recipe, calibration: Feeds | None, folder: Path, timeout_s: float
) -> ConversionResult:
    inspect_model(model, ShapeOverrides())  # Inspected within narrow limits first, which rejects hostile files.
    rows = folder / "rows.npz"
    feeds = calibration if recipe.calibration_sha256 is not None and calibration is not None else {}
    # By index: a name may be anything, such as `file`, which is an argument of NumPy. Text is stored without pickle.
    np.savez(rows, *(values.astype(str) if values.dtype.hasobject else values for values in feeds.values()))
    order = ConversionJob(
        model=str(model.absolute()),
        model_bytes=recipe.model_bytes,
        precision=recipe.precision,
        draft=str(_draft_path(folder)),
        has_7_bit_weights=recipe.spares_a_bit,
        calibration=str(rows) if feeds else None,
        inputs=tuple(feeds),
    )
    output = run_child("the conversion", _CHILD, msgspec.json.encode(order).decode(), timeout_s=timeout_s)
    return decode_json(output, ConversionResult)


def _draft_path(folder: Path) -> Path:
    return folder / "draft.onnx"


def _check_calibration(calibration: Feeds | None) -> None:
    if not calibration:
        raise UsageError(
            "it needs calibration rows, and there are none",
            hint="Provide rows as model inputs, other than those used to measure accuracy, or use int8-dynamic.",
        )
    lengths = {rows.shape[:1] for rows in calibration.values()}
    if len(lengths) != 1 or lengths <= {(), (0,)}:
        raise UsageError("the calibration arrays must all have the same number of rows, at least one")


def _made_model(cache: Path, entry: StoredConversion, took_s: float | None) -> ConvertedModel:
    return ConvertedModel(
        path=cached_model_path(cache, entry),
        sha256=entry.sha256,
        was_cached=took_s is None,
        duration_s=took_s,
        calibration_rows=entry.delivery.calibration_rows,
        notes=entry.delivery.notes,
    )
