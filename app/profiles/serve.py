"""Settings of the embedded endpoint, which serves an ONNX model or a language model during the
run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo

from app.profiles.bundled import bundled_models
from app.profiles.problems import BadValueError, did_you_mean
from app.profiles.settings import Count, Seconds, Settings, files_must_exist, resolve_path, upper_bound


def parse_model(value: object, info: ValidationInfo) -> str:
    """Return the name of a bundled model, or the absolute path of a model file."""
    if not isinstance(value, str):
        raise BadValueError(f"{value!r} is not a valid model")
    models = bundled_models()
    if value in models:
        return value
    path = resolve_path(value, info)
    if files_must_exist(info) and not path.is_file():
        hint = did_you_mean(value, models) or (
            f"Use one of these bundled models: {', '.join(models)}. A path is relative to the profile's folder."
        )
        raise BadValueError(f"{value!r} is neither a bundled model nor a file", hint=hint)
    return str(path)


def _parse_model_folder(value: object, info: ValidationInfo) -> Path:
    """Return the absolute path of a model folder."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise BadValueError(f"{value!r} is not a valid model folder")
    path = resolve_path(value, info)
    if files_must_exist(info) and not path.is_dir():
        hint = "Set the folder of a model that was exported for ONNX Runtime GenAI, relative to the profile's folder."
        raise BadValueError(f"{value!r} is not a folder", hint=hint)
    return path


ModelFolder = Annotated[Path, BeforeValidator(_parse_model_folder), PlainSerializer(str)]
ModelFile = Annotated[str, BeforeValidator(parse_model)]


def get_model_path(model: str) -> Path:
    return bundled_models().get(model, Path(model))


class _EndpointSettings(Settings):
    """Settings that the endpoints of all kinds of models have."""

    provider: Literal["cpu", "cuda"] = "cpu"
    """Execution provider of ONNX Runtime."""
    threads: Annotated[Count, upper_bound(1024)] = Field(default=1, examples=[1])
    """Number of CPU threads of the model, such as 1."""
    queue_limit: Annotated[Count, upper_bound(100_000)] = Field(default=128, examples=[128])
    """Maximum number of queued requests, such as 128. Further requests are rejected."""


class ServeSettings(_EndpointSettings):
    model: ModelFile = Field(examples=["digits"])
    """Name of a bundled model, such as digits, or path of an .onnx file."""
    max_batch: Annotated[Count, upper_bound(4096)] = Field(default=8, examples=[8])
    """Maximum number of rows batched into one call of the model, such as 8."""
    queue_delay_s: Seconds = Field(default=0.002, alias="queue_delay", examples=["2ms"])
    """Maximum time that a request waits for further requests to form a batch, such as 2ms."""

    @property
    def model_path(self) -> Path:
        return get_model_path(self.model)


class ServeLanguageModelSettings(_EndpointSettings):
    model: ModelFolder = Field(examples=["my-model"])
    """Folder of a language model that was exported for ONNX Runtime GenAI, such as my-model."""
    max_batch: Annotated[Count, upper_bound(4096)] | None = Field(default=None, examples=[8])
    """Maximum number of requests in a batch, such as 8. Leave it empty for the limit in the model's
    configuration."""

    @property
    def model_path(self) -> Path:
        return self.model
