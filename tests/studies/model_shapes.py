"""The bundled table of language models, computed from their configurations by the rules of `models inspect`.

`python -m tests.studies.model_shapes` writes it. `model_configs.json` has, for each model, the names that it is
published under, the parameters that its authors state, and the keys of its `config.json` that determine its shape.
Parameters of draft layers, vision encoders and indexers of sparse attention are not counted.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import msgspec

from app.analysis.language_models import TABLE, ListedModel
from app.inference.inspection.configured_model import build_shape
from app.inference.inspection.huggingface_config import HuggingFaceConfig
from app.records.planning_inputs import LanguageModel

CONFIGS = Path(__file__).with_name("model_configs.json")


class PublishedModel(msgspec.Struct, frozen=True):
    """A model as its authors publish it. Their counts of parameters include `vision_parameters`, those of an encoder,
    where it matters."""

    names: tuple[str, ...]
    published_parameters: float
    published_active: float | None
    config: dict[str, Any]
    vision_parameters: float = 0.0
    weights: str = "bf16"
    """Data type of the weights that the authors publish."""
    weights_by_name: dict[str, str] = {}
    """Data types of the names whose weights are published in another one."""


def load_published_models() -> dict[str, PublishedModel]:
    return msgspec.json.decode(CONFIGS.read_bytes(), type=dict[str, PublishedModel])


def compute_shape(config: dict[str, Any]) -> LanguageModel:
    """Return the shape that a configuration determines."""
    return build_shape(msgspec.convert(config, HuggingFaceConfig), "config.json")


def list_models() -> list[ListedModel]:
    return [
        ListedModel(key, model.names, compute_shape(model.config), model.weights, model.weights_by_name)
        for key, model in load_published_models().items()
    ]


def format_table(models: list[ListedModel]) -> str:
    text = io.StringIO()
    shape_fields = LanguageModel.__struct_fields__
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("key", "names", *shape_fields, "weights"))
    for model in models:
        values = msgspec.structs.asdict(model.shape)
        cells = (_format_cell(values[name]) for name in shape_fields)
        others = (f"{name}={weights}" for name, weights in model.weights_by_name.items())
        writer.writerow((model.key, ";".join(model.names), *cells, ";".join((model.weights, *others))))
    return text.getvalue()


def _format_cell(value: float | None) -> str:
    return "" if value is None or value is False else f"{value:.0f}"


if __name__ == "__main__":
    TABLE.write_text(format_table(list_models()), encoding="utf-8")
