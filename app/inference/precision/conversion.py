"""Convert a model to another precision in a child process with resource limits, or return a
cached conversion.

Each cached model is named after the hash of its content, and each cache entry after the key of its
recipe. If two processes convert the same recipe at the same time, the later cache entry replaces
the earlier one. Readers never see an incomplete model or cache entry."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import msgspec
import numpy as np

from app.errors import MeasurementError, UsageError
from app.inference.conversion_folder import open_conversion_folder
from app.inference.inspection.client import inspect_model
from app.inference.parent import MODEL_TIMEOUT_HINT, ChildKilledError, run_child
from app.inference.precision.conversion_records import ConversionJob, ConversionResult, ConvertedModel
from app.inference.precision.recipe import Recipe, build_recipe, hash_file
from app.inference.rows import Feeds
from app.records.local import OnnxPrecision
from app.records.model import ShapeOverrides
from loadgen.decoding import decode_json


class StoredConversion(msgspec.Struct, frozen=True, kw_only=True):
    """A cache entry: the recipe, hash and report of a converted model."""

    recipe: Recipe
    sha256: str
    delivery: ConversionResult


def get_default_cache() -> Path:
    """Return the path of the conversion cache: a folder in SIZEWISE_HOME if set, otherwise in the
    user's cache folder. The cache may be deleted at any time."""
    home = os.environ.get("SIZEWISE_HOME")
    if home:
        return Path(home) / "cache" / "precision"
    import platformdirs

    return platformdirs.user_cache_path("sizewise", appauthor=False) / "precision"


def get_cached_model_path(cache: Path, entry: StoredConversion) -> Path:
    return cache / f"{entry.recipe.precision}-{entry.sha256}.onnx"


def find_cached_conversion(cache: Path, recipe: Recipe) -> StoredConversion | None:
    """Return the cached conversion of a recipe; `None` if there is none, or if its files have
    changed since."""
    try:
        entry = decode_json((cache / f"{recipe.key}.json").read_bytes(), StoredConversion)
        is_valid = entry.recipe == recipe and hash_file(get_cached_model_path(cache, entry)) == entry.sha256
    except (OSError, msgspec.DecodeError):
        return None  # A new conversion will replace the entry.
    return entry if is_valid else None


def store_conversion(
    cache: Path, recipe: Recipe, output_path: Path, conversion_result: ConversionResult
) -> StoredConversion:
    """Move a converted model into the cache, and write its cache entry. The model must be on the
    same file system as the cache. Raises OSError."""
    entry = StoredConversion(recipe=recipe, sha256=hash_file(output_path), delivery=conversion_result)
    _sync_file(output_path)
    output_path.replace(get_cached_model_path(cache, entry))
    temporary_entry_path = output_path.with_suffix(".json")
    temporary_entry_path.write_bytes(msgspec.json.format(msgspec.json.encode(entry), indent=2))
    _sync_file(temporary_entry_path)
    temporary_entry_path.replace(cache / f"{recipe.key}.json")
    return entry


def _sync_file(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


_CHILD_MODULE = "app.inference.precision"


def convert_precision(
    model: Path,
    precision: OnnxPrecision,
    calibration: Feeds | None = None,
    *,
    cache: Path,
    timeout_s: float,
    now_ns: Callable[[], int] = perf_counter_ns,
) -> ConvertedModel:
    """Return a model in the given precision as a single file with unchanged inputs and outputs; for
    "as-is", return the original file.

    `calibration` maps input names to calibration rows, which int8-static requires. Raises
    UsageError if the model cannot be converted, and MeasurementError if the conversion process
    failed. Both messages contain the model name and the precision."""
    if precision == "as-is":
        return ConvertedModel(path=model, sha256=hash_file(model), duration_s=None)
    try:
        return _convert_or_load(model, precision, calibration, cache, timeout_s, now_ns)
    except ChildKilledError as error:
        raise MeasurementError(
            f"{model.name} cannot be converted to {precision}: {error}",
            hint="Free memory, or convert the model on another machine and measure the result with precision as-is.",
        ) from error
    except MeasurementError as error:
        raise MeasurementError(f"{model.name} cannot be converted to {precision}: {error}", hint=error.hint) from error
    except UsageError as error:
        raise UsageError(f"{model.name} cannot be converted to {precision}: {error}", hint=error.hint) from error
    except OSError as error:
        raise UsageError(
            f"{model.name} cannot be converted to {precision}: {error.filename or cache}: {error.strerror}",
            hint=f"Converted models are stored in {cache}. Check that the folder is writable and has free space.",
        ) from error


def _convert_or_load(
    model: Path,
    precision: OnnxPrecision,
    calibration: Feeds | None,
    cache: Path,
    timeout_s: float,
    now_ns: Callable[[], int],
) -> ConvertedModel:
    if precision == "int8-static":
        _check_calibration(calibration)
    recipe = build_recipe(model, precision, calibration)
    cached_entry = find_cached_conversion(cache, recipe)
    if cached_entry is not None:
        return _build_converted_model(cache, cached_entry, duration_s=None)
    start_ns = now_ns()
    with open_conversion_folder(cache) as folder:
        conversion_result = _run_child(model, recipe, calibration, folder, timeout_s)
        if build_recipe(model, precision, calibration) != recipe:
            raise MeasurementError(
                "the model file changed during the conversion", hint="Run again when the file is complete."
            )
        entry = store_conversion(cache, recipe, _get_output_path(folder), conversion_result)
    return _build_converted_model(cache, entry, duration_s=(now_ns() - start_ns) / 1e9)


def _run_child(
    model: Path, recipe: Recipe, calibration: Feeds | None, folder: Path, timeout_s: float
) -> ConversionResult:
    inspect_model(model, ShapeOverrides())  # Rejects malicious files first, within narrow limits.
    rows_path = folder / "rows.npz"
    feeds = calibration if recipe.calibration_sha256 is not None and calibration is not None else {}
    # Stored by index, because a name may be an argument of NumPy, such as `file`. Strings are
    # stored without pickle.
    np.savez(rows_path, *(values.astype(str) if values.dtype.hasobject else values for values in feeds.values()))
    job = ConversionJob(
        model=str(model.absolute()),
        model_bytes=recipe.model_bytes,
        precision=recipe.precision,
        output_path=str(_get_output_path(folder)),
        has_7_bit_weights=recipe.spares_a_bit,
        calibration=str(rows_path) if feeds else None,
        inputs=tuple(feeds),
    )
    output = run_child(
        "the conversion",
        _CHILD_MODULE,
        msgspec.json.encode(job).decode(),
        timeout_s=timeout_s,
        timeout_hint=MODEL_TIMEOUT_HINT,
    )
    return decode_json(output, ConversionResult)


def _get_output_path(folder: Path) -> Path:
    return folder / "converted.onnx"


def _check_calibration(calibration: Feeds | None) -> None:
    if not calibration:
        raise UsageError(
            "int8-static needs calibration rows, but there are none",
            hint="Provide rows that are not used to measure accuracy, or use int8-dynamic.",
        )
    row_shapes = {rows.shape[:1] for rows in calibration.values()}
    if len(row_shapes) != 1 or row_shapes <= {(), (0,)}:
        raise UsageError(
            "the calibration arrays do not have the same number of rows, or have no rows",
            hint="Provide one array per model input, with the same number of rows and at least one row.",
        )


def _build_converted_model(cache: Path, entry: StoredConversion, duration_s: float | None) -> ConvertedModel:
    return ConvertedModel(
        path=get_cached_model_path(cache, entry),
        sha256=entry.sha256,
        duration_s=duration_s,
        calibration_rows=entry.delivery.calibration_rows,
        notes=entry.delivery.notes,
    )
