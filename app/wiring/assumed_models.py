"""Find the shape of a language model that is planned without a measurement: by the name that the model is published
under, or from its configuration or files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from app.analysis.language_models import find_language_model, find_weights
from app.errors import UsageError
from app.profiles.loading import ResolvedModel, load_language_model, load_named_language_model
from app.records.language_model import GENAI_CONFIG_NAME
from app.records.planning_inputs import AssumedModel, LanguageModel
from loadgen.regular_files import open_regular

_CONFIG_NAME = "config.json"
_MAX_CONFIG_BYTES = 4 << 20
_WEIGHT_SUFFIXES = (".gguf", ".safetensors")


def load_assumed_model(file: Path, overrides: tuple[str, ...] = ()) -> AssumedModel:
    """Load a language model from a YAML file with `language_model`, with `--set` overrides of its keys. Raises
    UsageError if the file is not valid or the model is unknown."""
    return load_language_model(file, overrides, find_model=find_model)


def load_model_by_name(name: str, overrides: tuple[str, ...] = ()) -> AssumedModel:
    """Return a language model by its name or path, with `--set` overrides of the keys of its file. Raises UsageError if
    the model is unknown."""
    return load_named_language_model(name, overrides, find_model=find_model)


def find_model(stated: str | dict[str, Any], directory: Path) -> ResolvedModel:
    """Return a language model by its name, by the content of its `config.json`, or by the path of its `config.json`, of
    its weights or of their folder, relative to `directory`. Raises UsageError with the most similar names if the name
    is unknown, or with what is wrong with the files."""
    if isinstance(stated, dict):
        from app.inference.inspection.configured_model import read_configured_model

        return ResolvedModel("model", *read_configured_model(msgspec.json.encode(stated), _CONFIG_NAME))
    text = stated
    path = _find_path(text, directory)
    if path is None:
        model = find_language_model(text)
        return ResolvedModel(format_model_name(text.rpartition("/")[2]), model.shape, find_weights(text, model))
    folder = path if path.is_dir() else path.parent
    name = path.name if path.is_dir() or path.suffix in _WEIGHT_SUFFIXES else folder.resolve().name
    return ResolvedModel(format_model_name(name), *_read_files(path))


def _find_path(text: str, directory: Path) -> Path | None:
    """Return the path that a text states; None if it is a name. A file or folder takes precedence over a name."""
    try:
        path = directory / Path(text).expanduser()
        is_path = path.exists()
    except (OSError, RuntimeError, ValueError):
        return None
    if is_path:
        return path
    if text.endswith((".json", *_WEIGHT_SUFFIXES)) or text.startswith((".", "/", "~")):
        raise UsageError(f"{text} does not exist", hint="Use the path of a config.json or of its folder, or a name.")
    return None


def _read_files(path: Path) -> tuple[LanguageModel, str | None]:
    """Return the shape of a model from its weights, otherwise from its configuration, and the data type of its
    weights; `None` if they are not quantized or it is not known."""
    from app.inference.inspection.client import inspect_language_model
    from app.inference.inspection.configured_model import read_configured_model, read_weight_dtype

    config = path / _CONFIG_NAME if path.is_dir() else path
    files = list(path.iterdir()) if path.is_dir() else [path]
    if any(file.suffix in _WEIGHT_SUFFIXES or file.name == GENAI_CONFIG_NAME for file in files):
        metadata = inspect_language_model(path)
        if metadata.language_model is not None:
            weights = (
                read_weight_dtype(_read_config(config), config.name) if path.is_dir() and config.is_file() else None
            )
            return metadata.language_model, weights
        reasons = "; ".join(dict.fromkeys(metadata.missing.values())) or "its files do not state it"
        raise UsageError(
            f"the shape of {path.name} is unknown: {reasons}",
            hint=f"Use the path of its {_CONFIG_NAME}, or describe it with the keys of language_model.",
        )
    return read_configured_model(_read_config(config), config.name)


def _read_config(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            content = file.read(_MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="Check the path and its permissions."
        ) from error
    if len(content) > _MAX_CONFIG_BYTES:
        raise UsageError(
            f"{path} has more than {_MAX_CONFIG_BYTES >> 20} MiB", hint="Use the config.json of a language model."
        )
    return content


def format_model_name(name: str) -> str:
    """Return a name in the characters that names of profiles and models may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "model"
