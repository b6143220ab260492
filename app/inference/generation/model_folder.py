"""Read a model folder of ONNX Runtime GenAI, and check it before a library opens it.

Folders are untrusted. The configuration is bounded in size, its files must be regular files of the
folder, and it must not name libraries, because ONNX Runtime would load them."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from app.errors import UsageError
from app.inference.genai_config import GenaiConfig, GenaiCount, GenaiEngine
from app.inference.generation.decoder_shape import PagedCache
from app.inference.model_file import check_external_weights, check_model_file
from app.records.language_model import GENAI_CONFIG_NAME
from app.records.local import GenerationTest
from loadgen.decoding import decode_json
from loadgen.regular_files import open_regular
from reports.shortening import shorten

_MAX_CONFIG_BYTES = 2**20
_MAX_FILES = 1000
_MAX_COUNT = 2**31
_FORBIDDEN_KEY_PARTS = ("library", "path", "profil")
"""Parts of keys that name libraries to load, or files to write."""
_FOLDER_HINT = "Set the folder of a model that was exported for ONNX Runtime GenAI."
_EXPORT_HINT = "Export the model again with a tool you trust."


class GenerativeModel(msgspec.Struct, frozen=True, kw_only=True):
    """A checked model folder. `context` is the maximum number of tokens of a sequence.

    `paged_cache` is set if the model has a paged KV cache, so that requests are batched
    continuously; otherwise batches are static."""

    folder: str
    architecture: str
    model_file: str
    context: int
    vocabulary: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    paged_cache: PagedCache | None
    size_bytes: int
    """Size in bytes of all files of the folder."""


def read_model_folder(folder: Path) -> GenerativeModel:
    """Read and check a model folder. Raises UsageError if it is not a valid text decoder, or if it
    is unsafe to open."""
    files = _list_files(folder)
    content = _read_config(folder)
    try:
        config = decode_json(content, GenaiConfig)
        _check_keys(decode_json(content))
    except msgspec.DecodeError as error:
        raise UsageError(f"{_name_config(folder)} is not a valid configuration: {error}", hint=_EXPORT_HINT) from (
            error
        )
    model, decoder = config.model, config.model.decoder
    kv_heads = decoder.num_attention_heads if decoder.num_key_value_heads is None else decoder.num_key_value_heads
    counts = _check_counts(
        folder,
        context_length=model.context_length,
        vocab_size=model.vocab_size,
        num_hidden_layers=decoder.num_hidden_layers,
        num_attention_heads=decoder.num_attention_heads,
        num_key_value_heads=kv_heads,
        head_size=decoder.head_size,
    )
    if model.type is None or decoder.filename is None:
        key = "model.type" if model.type is None else "model.decoder.filename"
        raise UsageError(f"{_name_config(folder)}: {key} is missing", hint=_EXPORT_HINT)
    if decoder.filename not in files:
        raise UsageError(
            f"{_name_config(folder)} names the model file {decoder.filename!r}, which is not a file of the folder",
            hint=_EXPORT_HINT,
        )
    check_model_file(folder / decoder.filename)
    check_external_weights(folder / decoder.filename)
    return GenerativeModel(
        folder=str(folder),
        architecture=model.type,
        model_file=decoder.filename,
        context=counts["context_length"],
        vocabulary=counts["vocab_size"],
        layers=counts["num_hidden_layers"],
        heads=counts["num_attention_heads"],
        kv_heads=counts["num_key_value_heads"],
        head_dim=counts["head_size"],
        paged_cache=_build_paged_cache(folder, config.engine),
        size_bytes=sum(files.values()),
    )


def check_test_length(test: GenerationTest, context: int, model: str) -> None:
    """Raise UsageError if a test needs more tokens than the context of a model."""
    if test.context_tokens > context:
        raise UsageError(
            f"the test {test.name} needs {test.context_tokens:,} tokens, but the context of {model} is {context:,} "
            "tokens",
            hint="Use a shorter test.",
        )


def compute_folder_sha256(folder: Path) -> str:
    """Return the SHA-256 hash over the names and contents of all files of a model folder."""
    digest = hashlib.sha256()
    for name in sorted(_list_files(folder)):
        with open_regular(folder / name) as file:
            digest.update(f"{name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _list_files(folder: Path) -> dict[str, int]:
    """Return the sizes in bytes of the regular files of a folder, by name. Raises UsageError if the
    folder contains anything but regular files and folders."""
    if not folder.is_dir():
        raise UsageError(f"the model folder {folder} does not exist", hint=_FOLDER_HINT)
    sizes: dict[str, int] = {}
    for path in folder.iterdir():
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            sizes[path.name] = status.st_size
        elif not stat.S_ISDIR(status.st_mode):
            raise UsageError(
                f"{folder.name} is rejected: {path.name} is not a regular file",
                hint="Copy the model into a folder without links.",
            )
        if len(sizes) > _MAX_FILES:
            raise UsageError(f"{folder.name} is rejected: it has more than {_MAX_FILES} files", hint=_FOLDER_HINT)
    return sizes


def _read_config(folder: Path) -> bytes:
    path = folder / GENAI_CONFIG_NAME
    if not path.is_file():
        raise UsageError(f"the folder {folder} has no {GENAI_CONFIG_NAME}", hint=_FOLDER_HINT)
    with open_regular(path) as file:
        content = file.read(_MAX_CONFIG_BYTES + 1)
    if len(content) > _MAX_CONFIG_BYTES:
        raise UsageError(f"{_name_config(folder)} exceeds the maximum of {_MAX_CONFIG_BYTES} bytes", hint=_EXPORT_HINT)
    return content


def _check_keys(document: Any) -> None:
    for key in _list_keys(document):
        if any(word in key.lower() for word in _FORBIDDEN_KEY_PARTS):
            raise UsageError(
                f"the model is rejected: {GENAI_CONFIG_NAME} sets {shorten(key)!r}, which could load a library or "
                "write a file",
                hint="Remove the key from the configuration.",
            )


def _list_keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _list_keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _list_keys(item)


def _check_counts(folder: Path, **counts: GenaiCount) -> dict[str, int]:
    """Return the counts of a configuration. Raises UsageError if one is missing or out of range."""
    checked = {}
    for key, count in counts.items():
        if not isinstance(count, int):
            problem = "is missing" if count is None else "is a list, but must be one number"
            raise UsageError(f"{_name_config(folder)}: {key} {problem}", hint=_EXPORT_HINT)
        if not 1 <= count <= _MAX_COUNT:
            raise UsageError(f"{_name_config(folder)}: {key} is {count}, but must be at least 1", hint=_EXPORT_HINT)
        checked[key] = count
    return checked


def _build_paged_cache(folder: Path, engine: GenaiEngine | None) -> PagedCache | None:
    if engine is None or engine.dynamic_batching is None:
        return None
    batching = engine.dynamic_batching
    if batching.num_blocks is None:
        raise UsageError(
            f"{_name_config(folder)}: engine.dynamic_batching has no num_blocks, so the size of the KV cache is "
            "unknown",
            hint="Set num_blocks.",
        )
    _check_counts(
        folder,
        block_size=batching.block_size,
        num_blocks=batching.num_blocks,
        max_batch_size=batching.max_batch_size,
        max_scheduled_tokens=batching.max_scheduled_tokens,
    )
    return PagedCache(
        block_tokens=batching.block_size,
        blocks=batching.num_blocks,
        max_batch=batching.max_batch_size,
        max_step_tokens=batching.max_scheduled_tokens,
    )


def _name_config(folder: Path) -> str:
    """Return the configuration's path as messages name it."""
    return f"{folder.name}/{GENAI_CONFIG_NAME}"
