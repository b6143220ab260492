"""Table of the shapes of published language models, by key and by the names that they are published under."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.records.planning_inputs import LanguageModel

TABLE = Path(str(files("profiles"))) / "evidence" / "language_models.csv"


class ListedModel(msgspec.Struct, frozen=True):
    """Shape of a language model, and the names of all published models of that shape."""

    key: str
    names: tuple[str, ...]
    shape: LanguageModel
    weights: str = "bf16"
    """Data type of the weights that the authors publish: bf16 for all of 16 bits."""
    weights_by_name: dict[str, str] = {}
    """Data types of the names whose weights are published in another one."""


@cache
def load_language_models() -> dict[str, ListedModel]:
    """Return the models of the bundled table by key."""
    models = {}
    with TABLE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key, names = row.pop("key"), tuple(row.pop("names").split(";"))
            weights, *others = row.pop("weights").split(";")
            cells = {field: value for field, value in row.items() if value}
            shape = msgspec.convert(cells, LanguageModel, strict=False)
            models[key] = ListedModel(key, names, shape, weights, dict(other.split("=") for other in others))
    return models


_VARIANTS = re.compile(
    r"-((fp8|nvfp4|mxfp4|fp4|int8|int4|awq|gptq|(quantized\.)?w[48]a\d+|bf16)(-v\d)?|dynamic|instruct|chat|thinking|base"
    r"|hf|it|\d{4})(?=-|$)"
)
"""Parts of names that distinguish weights or their format, but not the shape."""


def find_model_key(name: str) -> str | None:
    """Return the key of a model by a name that it is published under, whoever publishes it in whatever
    precision; None if its shape is unknown."""
    names = _map_names()
    return names.get(name.lower()) or names.get(_simplify(name))


def find_shape_key(shape: LanguageModel) -> str | None:
    """Return the key of the model of a shape; None if the table has no model of this shape."""
    return next((key for key, model in load_language_models().items() if model.shape == shape), None)


_WEIGHTS = re.compile(r"-(?:nv|mx|quantized\.)?(fp8|fp4|int8|int4|w8a\d+|w4a\d+|bf16|awq|gptq)(?=-|$)")
"""Parts of names that tell the data type of the weights: `w8a16` are weights of 8-bit integers."""
_METHODS = ("awq", "gptq")
"""Methods whose weights have 4 bits, unless a name states the data type too."""
_WEIGHTS_BY_PART = {**dict.fromkeys(_METHODS, "int4"), "w8": "int8", "w4": "int4"}


def find_weights(name: str, model: ListedModel) -> str:
    """Return the data type of the weights that are published under a name of a model."""
    parts: list[str] = sorted(_WEIGHTS.findall(name.lower()), key=lambda part: part in _METHODS)
    if parts:
        part = parts[0].partition("a")[0] if parts[0].startswith("w") else parts[0]
        return _WEIGHTS_BY_PART.get(part, part)
    names = {_strip_publisher(other): weights for other, weights in model.weights_by_name.items()}
    return names.get(_strip_publisher(name), model.weights)


_MAX_SUGGESTIONS = 5
_SIMILARITY = 0.6
"""Minimum ratio of difflib between a name and a suggested one."""


def find_language_model(name: str) -> ListedModel:
    """Return a model by a name that it is published under, with or without its publisher. Raises UsageError with the
    most similar names for an unknown one."""
    key = find_model_key(name)
    if key is not None:
        return load_language_models()[key]
    suggestions = suggest_models(name)
    hint = (
        f"Did you mean {_join_alternatives(suggestions)}?"
        if suggestions
        else "List the known models with `sizewise models list`, or use the path of the model's config.json."
    )
    raise UsageError(f"the language model {name!r} is unknown", hint=hint)


def _join_alternatives(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def suggest_models(name: str) -> tuple[str, ...]:
    """Return the keys of the models whose names begin with a name, or of those with the most similar keys."""
    searched = _simplify(name)
    prefix_matches = [key for key in load_language_models() if searched and key.startswith(searched)]
    matches = prefix_matches or difflib.get_close_matches(
        searched, load_language_models(), _MAX_SUGGESTIONS, _SIMILARITY
    )
    return tuple(matches[:_MAX_SUGGESTIONS])


@cache
def _map_names() -> dict[str, str]:
    """Return the key of a model by its key, its names in lower case and its simplified names."""
    models = load_language_models().values()
    simplified = {_simplify(name): model.key for model in models for name in model.names}
    return simplified | {name.lower(): model.key for model in models for name in (model.key, *model.names)}


def _simplify(name: str) -> str:
    """Return a name in lower case without its publisher and without the parts that do not identify the shape, such
    as the precision."""
    return _VARIANTS.sub("", _strip_publisher(name))


def _strip_publisher(name: str) -> str:
    return name.strip().lower().rpartition("/")[2].replace(" ", "-")
