"""A language model's shape in a file of its own, for a plan of what nobody measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from app.profiles.settings import Name, Settings
from app.records.language_model import Engine, LanguageModel, Precision, SupposedModel

_Dtype = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "fp4"]
_Whole = Annotated[int, Field(ge=1, le=10_000_000)]
_Parameters = Annotated[float, Field(gt=0, le=1e14)]


class ShapeSettings(Settings):
    """As the model's own configuration tells it; `parameters` from its weight files."""

    parameters: _Parameters
    layers: _Whole
    hidden: _Whole
    heads: _Whole
    kv_heads: _Whole
    head_dim: _Whole
    vocabulary: _Whole
    active_parameters: _Parameters | None = None
    experts: _Whole | None = None
    experts_per_token: _Whole | None = None
    latent_dim: _Whole | None = None
    window_layers: Annotated[int, Field(ge=0)] = 0
    window_tokens: _Whole | None = None
    linear_layers: Annotated[int, Field(ge=0)] = 0


class PrecisionSettings(Settings):
    weights: _Dtype = "bf16"
    compute: _Dtype = "bf16"
    kv: _Dtype = "bf16"


class EngineSettings(Settings):
    chunk_tokens: _Whole = 2048
    max_sequences: _Whole = 256
    utilisation: Annotated[float, Field(gt=0, le=1)] = 0.90


class LanguageModelFile(Settings):
    name: Name = "model"
    language_model: ShapeSettings
    precision: PrecisionSettings = PrecisionSettings()
    engine: EngineSettings = EngineSettings()


def is_language_model(path: Path) -> bool:
    """Whether a YAML file describes one."""
    if path.suffix not in (".yaml", ".yml"):
        return False
    try:
        with path.open("rb") as file:
            head = file.read(65_536)
    except OSError:
        return False
    return any(line.startswith(b"language_model:") for line in head.splitlines())


def supposed_of(file: LanguageModelFile) -> SupposedModel:
    shape = LanguageModel(**file.language_model.model_dump())
    engine = Engine(file.engine.chunk_tokens, file.engine.max_sequences, file.engine.utilisation)
    return SupposedModel(file.name, shape, Precision(**file.precision.model_dump()), engine)
