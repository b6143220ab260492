"""Has a model made in another precision by a limited child, or finds it made before.

Where models made before are kept. A model is named by its content, its entry by the recipe's key.

Two makers of one recipe write two models or the same one, and the later entry stands: whichever is
read is whole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import msgspec
import numpy as np

from app.errors import InstrumentError, UsageError
from app.inference.inspection.inspecting import inspect_model
from app.inference.parent import ChildKilledError, answer_of
from app.inference.precision.made import Delivery, MadeModel, Order
from app.inference.precision.recipe import Recipe, recipe_of, sha256_of
from app.inference.rows import Feeds
from app.records.local import Precision
from app.records.model import GivenShapes
from loadgen.decoding import decode_json


class StoredConversion(msgspec.Struct, frozen=True, kw_only=True):
    recipe: Recipe
    sha256: str
    delivery: Delivery


def default_cache() -> Path:
    """In SIZEWISE_HOME, else in the user's folder for caches; it can be deleted at any time."""
    home = os.environ.get("SIZEWISE_HOME")
    if home:
        return Path(home) / "cache" / "precision"
    import platformdirs

    return platformdirs.user_cache_path("sizewise", appauthor=False) / "precision"


def model_path(cache: Path, entry: StoredConversion) -> Path:
    return cache / f"{entry.recipe.precision}-{entry.sha256}.onnx"


def kept_entry(cache: Path, recipe: Recipe) -> StoredConversion | None:
    """None where nothing was kept, or not all of it is as it was."""
    try:
        entry = decode_json((cache / f"{recipe.key}.json").read_bytes(), StoredConversion)
        is_whole = entry.recipe == recipe and sha256_of(model_path(cache, entry)) == entry.sha256
    except (OSError, msgspec.DecodeError):
        return None  # it is made again, which mends it
    return entry if is_whole else None


def keep(cache: Path, recipe: Recipe, draft: Path, delivery: Delivery) -> StoredConversion:
    """Moves the draft, which lies on the same disk, into the cache. Raises OSError."""
    entry = StoredConversion(recipe=recipe, sha256=sha256_of(draft), delivery=delivery)
    _flush(draft)
    draft.replace(model_path(cache, entry))
    entry_draft = draft.with_suffix(".json")
    entry_draft.write_bytes(msgspec.json.format(msgspec.json.encode(entry), indent=2))
    _flush(entry_draft)
    entry_draft.replace(cache / f"{recipe.key}.json")
    return entry


def _flush(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


_CHILD = "app.inference.precision"


def make_precision(
    model: Path,
    precision: Precision,
    calibration: Feeds | None = None,
    *,
    cache: Path,
    timeout_s: float,
    now_ns: Callable[[], int] = perf_counter_ns,
) -> MadeModel:
    """The model as one file of that precision, with the inputs and outputs it has; "as-is" is the file itself.

    `calibration` is rows by the names of the inputs, as int8-static needs them. Raises UsageError for what cannot be
    made, InstrumentError where the making itself failed: both in one sentence that names model and precision.
    """
    if precision == "as-is":
        return MadeModel(path=model, sha256=sha256_of(model), was_cached=False, took_s=None)
    try:
        return _made(model, precision, calibration, cache, timeout_s, now_ns)
    except ChildKilledError as error:
        raise InstrumentError(
            f"{model.name} cannot be made {precision}: {error}",
            hint="Give it more time or memory, or make it elsewhere and measure that file as it is.",
        ) from error
    except InstrumentError as error:
        raise InstrumentError(f"{model.name} cannot be made {precision}: {error}", hint=error.hint) from error
    except UsageError as error:
        raise UsageError(f"{model.name} cannot be made {precision}: {error}", hint=error.hint) from error
    except OSError as error:
        raise UsageError(
            f"{model.name} cannot be made {precision}: {error.filename or cache}: {error.strerror}",
            hint=f"What is made is kept in {cache}, which needs room and the right to write.",
        ) from error


def _made(
    model: Path,
    precision: Precision,
    calibration: Feeds | None,
    cache: Path,
    timeout_s: float,
    now_ns: Callable[[], int],
) -> MadeModel:
    if precision == "int8-static":
        _check_calibration(calibration)
    recipe = recipe_of(model, precision, calibration)
    kept = kept_entry(cache, recipe)
    if kept is not None:
        return _told(cache, kept, took_s=None)
    start_ns = now_ns()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as folder:
        delivery = _delivered(model, recipe, calibration, Path(folder), timeout_s)
        if recipe_of(model, precision, calibration) != recipe:
            raise InstrumentError("its file was changed meanwhile", hint="Start again once it is written.")
        entry = keep(cache, recipe, _draft(Path(folder)), delivery)
    return _told(cache, entry, took_s=(now_ns() - start_ns) / 1e9)


def _delivered(model: Path, recipe: Recipe, calibration: Feeds | None, folder: Path, timeout_s: float) -> Delivery:
    inspect_model(model, GivenShapes())  # within narrow limits: what is made to harm is refused there
    rows = folder / "rows.npz"
    feeds = calibration if recipe.calibration_sha256 is not None and calibration is not None else {}
    # by number: a name may be anything, `file` too, which NumPy would take for its own; text is kept without pickle
    np.savez(rows, *(each.astype(str) if each.dtype.hasobject else each for each in feeds.values()))
    order = Order(
        model=str(model.absolute()),
        model_bytes=recipe.model_bytes,
        precision=recipe.precision,
        draft=str(_draft(folder)),
        spares_a_bit=recipe.spares_a_bit,
        calibration=str(rows) if feeds else None,
        inputs=tuple(feeds),
    )
    answer = answer_of("the attempt", _CHILD, msgspec.json.encode(order).decode(), timeout_s=timeout_s)
    return decode_json(answer, Delivery)


def _draft(folder: Path) -> Path:
    return folder / "draft.onnx"


def _check_calibration(calibration: Feeds | None) -> None:
    if not calibration:
        raise UsageError(
            "it needs rows to be calibrated with, and there are none",
            hint="Give rows as the model takes them, other than those its accuracy is measured on; or int8-dynamic.",
        )
    lengths = {rows.shape[:1] for rows in calibration.values()}
    if len(lengths) != 1 or lengths <= {(), (0,)}:
        raise UsageError("the arrays it is to be calibrated with do not all have the same number of rows, at least one")


def _told(cache: Path, entry: StoredConversion, took_s: float | None) -> MadeModel:
    return MadeModel(
        path=model_path(cache, entry),
        sha256=entry.sha256,
        was_cached=took_s is None,
        took_s=took_s,
        calibration_rows=entry.delivery.calibration_rows,
        notes=entry.delivery.notes,
    )
