"""Table of the shapes of published language models, by key and by the names that they are published under."""

from __future__ import annotations

import csv
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


@cache
def map_model_names() -> dict[str, str]:
    """Return the key of a model by each of its names, in lower case. The key is a name too."""
    return {name.lower(): model.key for model in load_language_models().values() for name in (model.key, *model.names)}
