"""A language model's shape in a file of its own, for a plan of what nobody measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from app.profiles.settings import Name, ReadAs, Settings, settings_of
from app.records.language_model import Engine, LanguageModel, Precision, SupposedModel

_Dtype = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "fp4"]
_Whole = Annotated[int, Field(ge=1, le=10_000_000)]
_Layers = Annotated[int, Field(ge=0)]
_Parameters = Annotated[float, Field(gt=0, le=1e14)]
_NUMBERS = {int: _Whole, int | None: _Whole | None, float: _Parameters, float | None: _Parameters | None}

ShapeSettings = settings_of(LanguageModel, _NUMBERS, window_layers=_Layers, linear_layers=_Layers)
PrecisionSettings = settings_of(Precision, {str: _Dtype})
EngineSettings = settings_of(
    Engine, _NUMBERS, utilisation=Annotated[float, Field(gt=0, le=1)], without=("block_tokens",)
)


class LanguageModelFile(Settings):
    name: Name = "model"
    language_model: Annotated[LanguageModel, ReadAs(ShapeSettings)]
    precision: Annotated[Precision, ReadAs(PrecisionSettings)] = Precision()
    engine: Annotated[Engine, ReadAs(EngineSettings)] = Engine()


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
    return SupposedModel(file.name, file.language_model, file.precision, file.engine)
