"""Table of the shapes of published language models, by key and by the names that they are published under."""

from __future__ import annotations

import csv
import re
from functools import cache

import msgspec

from app.profiles.bundled import DATA_DIRECTORY
from app.records.planning_inputs import LanguageModel

TABLE = DATA_DIRECTORY / "evidence" / "language_models.csv"


class ListedModel(msgspec.Struct, frozen=True):
    """Shape of a language model, and the names of all published models of that shape."""

    key: str
    names: tuple[str, ...]
    shape: LanguageModel


@cache
def load_language_models() -> dict[str, ListedModel]:
    """Return the models of the bundled table by key."""
    models = {}
    with TABLE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key, names = row.pop("key"), tuple(row.pop("names").split(";"))
            cells = {field: value for field, value in row.items() if value}
            models[key] = ListedModel(key, names, msgspec.convert(cells, LanguageModel, strict=False))
    return models


_VARIANTS = re.compile(
    r"-(fp8|nvfp4|mxfp4|fp4|int4|awq|gptq|bf16|dynamic|instruct|chat|thinking|base|hf|it|v\d|\d{4})(?=-|$)"
)
"""Parts of names that tell the weights or their format apart, but not the shape."""


def find_model_key(name: str) -> str | None:
    """Return the key of a model by a name that it is published under, whoever publishes it in whatever
    precision; None if its shape is unknown."""
    names = _map_names()
    return names.get(name.lower()) or names.get(_simplify(name))


@cache
def _map_names() -> dict[str, str]:
    """Return the key of a model by its key, its names in lower case and its simplified names."""
    models = load_language_models().values()
    simplified = {_simplify(name): model.key for model in models for name in model.names}
    return simplified | {name.lower(): model.key for model in models for name in (model.key, *model.names)}


def _simplify(name: str) -> str:
    """Return a name without its publisher and without what does not change the shape."""
    return _VARIANTS.sub("", name.lower().rpartition("/")[2])
