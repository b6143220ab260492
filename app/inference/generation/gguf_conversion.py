"""Convert a GGUF file to a model folder in a child process with a memory limit, or return a cached
conversion.

Each cached folder is named after the hash of its content, and each cache entry after the hash of the
source file and the parameters. Readers never see an incomplete folder or cache entry."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from app.errors import MeasurementError, UsageError
from app.inference.conversion_folder import open_conversion_folder
from app.inference.generation.decoder_shape import PagedCache, WeightBits
from app.inference.generation.model_folder import compute_folder_sha256
from app.inference.parent import MODEL_TIMEOUT_HINT, run_child
from app.inference.precision.recipe import hash_file
from app.inference.tensor_spec import printable
from loadgen.decoding import decode_json

_VERSION = 2
"""Version of the conversion, incremented whenever the same file would give a different folder."""
MAX_CONTEXT = 32_768
"""Maximum number of tokens of a sequence of a converted model, which limits its tables of rotary
angles."""
_CHILD_MODULE = "app.inference.generation.gguf_decoder"


class GgufJob(msgspec.Struct, frozen=True, kw_only=True):
    """Job of the child process: convert the file `source` to a model folder at the path `folder`.
    The model is paged if `paged_cache` is set, and otherwise contiguous."""

    source: str
    folder: str
    weight_bits: WeightBits
    paged_cache: PagedCache | None


class GgufRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """All inputs of a conversion, from which its cache key is computed."""

    source_sha256: str
    weight_bits: WeightBits
    paged_cache: PagedCache | None
    version: int = _VERSION

    @property
    def key(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class StoredFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A cache entry: the recipe and the hash of a converted model folder."""

    recipe: GgufRecipe
    sha256: str


def convert_gguf(
    source: Path, weight_bits: WeightBits, paged_cache: PagedCache | None = None, *, cache: Path, timeout_s: float
) -> Path:
    """Return the model folder of a GGUF file: paged if `paged_cache` is set, and otherwise
    contiguous. The folder belongs to the cache and must not be changed.

    Raises UsageError if the file cannot be converted, UnavailableError if a package is missing, and
    MeasurementError if the conversion process failed."""
    if not source.is_file():
        raise UsageError(f"the model {source} does not exist or is not a file", hint="Set the path of a .gguf file.")
    try:
        return _convert_or_load(source, weight_bits, paged_cache, cache, timeout_s)
    except OSError as error:
        raise UsageError(
            f"{printable(source.name)} cannot be converted: {error.filename or cache}: {error.strerror}",
            hint=f"Converted models are stored in {cache}. Check that the folder is writable and has free space.",
        ) from error


def _convert_or_load(
    source: Path, weight_bits: WeightBits, paged_cache: PagedCache | None, cache: Path, timeout_s: float
) -> Path:
    recipe = GgufRecipe(source_sha256=hash_file(source), weight_bits=weight_bits, paged_cache=paged_cache)
    cached_folder = _find_folder(cache, recipe)
    if cached_folder is not None:
        return cached_folder
    with open_conversion_folder(cache) as temporary_folder:
        folder = temporary_folder / "model"
        job = GgufJob(
            source=str(source.absolute()), folder=str(folder), weight_bits=weight_bits, paged_cache=paged_cache
        )
        run_child(
            f"the conversion of {printable(source.name)}",
            _CHILD_MODULE,
            msgspec.json.encode(job).decode(),
            timeout_s=timeout_s,
            timeout_hint=MODEL_TIMEOUT_HINT,
        )
        if hash_file(source) != recipe.source_sha256:
            raise MeasurementError(
                f"{printable(source.name)} changed during the conversion", hint="Run again when the file is complete."
            )
        return _store(cache, recipe, folder)


def _find_folder(cache: Path, recipe: GgufRecipe) -> Path | None:
    """Return the cached folder of a recipe; `None` if there is none, or if its files have changed
    since."""
    try:
        entry = decode_json((cache / f"{recipe.key}.json").read_bytes(), StoredFolder)
        folder = _get_path(cache, entry.sha256)
        is_valid = entry.recipe == recipe and compute_folder_sha256(folder) == entry.sha256
    except (OSError, UsageError, msgspec.DecodeError):
        return None  # A new conversion will replace the entry.
    return folder if is_valid else None


def _store(cache: Path, recipe: GgufRecipe, folder: Path) -> Path:
    """Move a model folder into the cache, and write its cache entry."""
    entry = StoredFolder(recipe=recipe, sha256=compute_folder_sha256(folder))
    for path in folder.iterdir():
        _sync_file(path)
    target = _get_path(cache, entry.sha256)
    if target.exists() and not _has_content(target, entry.sha256):
        target.rename(folder.with_name("damaged"))  # The temporary folder is deleted afterwards.
    if not target.exists():
        folder.rename(target)
    entry_path = folder.with_name("entry.json")
    entry_path.write_bytes(msgspec.json.format(msgspec.json.encode(entry), indent=2))
    _sync_file(entry_path)
    entry_path.replace(cache / f"{recipe.key}.json")
    return target


def _has_content(folder: Path, sha256: str) -> bool:
    try:
        return compute_folder_sha256(folder) == sha256
    except (OSError, UsageError):
        return False


def _get_path(cache: Path, sha256: str) -> Path:
    return cache / f"gguf-{sha256}"


def _sync_file(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
