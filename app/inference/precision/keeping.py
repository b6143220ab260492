"""Where models made before are kept. A model is named by its content, its entry by the recipe's key.

Two makers of one recipe write two models or the same one, and the later entry stands: whichever is read is whole.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from app.inference.precision.made import Delivery
from app.inference.precision.recipe import Recipe, sha256_of
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
