"""Find the shape of a language model that is planned without a measurement, by the name that the model is published
under."""

from __future__ import annotations

from pathlib import Path

from app.profiles.language_models import find_language_model
from app.profiles.loading import FoundModel, load_language_model, load_named_language_model
from app.records.planning_inputs import AssumedModel


def load_assumed_model(file: Path, overrides: tuple[str, ...] = ()) -> AssumedModel:
    """Load a language model from a YAML file with `language_model`, with `--set` overrides of its keys. Raises
    UsageError if the file is not valid or the model is unknown."""
    return load_language_model(file, overrides, find_model=find_model)


def load_model_by_name(name: str, overrides: tuple[str, ...] = ()) -> AssumedModel:
    """Return a language model by its name, with `--set` overrides of the keys of its file. Raises UsageError if the
    model is unknown."""
    return load_named_language_model(name, overrides, find_model=find_model)


def find_model(name: str, _directory: Path) -> FoundModel:
    """Return a language model by its name. Raises UsageError with the most similar names if it is unknown."""
    model = find_language_model(name)
    return FoundModel(model.key, model.shape)
