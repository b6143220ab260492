"""A model run on this machine by ONNX Runtime: which variants of it, how they are measured, what they are fed."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationInfo, model_validator

from app.profiles import units
from app.profiles.endpoint import HardwareSettings
from app.profiles.problems import BadValueError, did_you_mean
from app.profiles.serve import ModelFile
from app.profiles.settings import (
    Count,
    GateText,
    Listed,
    Name,
    ObjectiveText,
    Seconds,
    Settings,
    Share,
    SomeSeconds,
    Unit,
    at_most,
    files_must_exist,
    profile_directory,
)
from app.profiles.telemetry import Scrapes
from app.records.local import Precision, Scenario

Provider = Literal["cpu", "cuda", "tensorrt", "openvino", "directml", "coreml", "rocm", "migraphx"]
_ON_NVIDIA = ("cuda", "tensorrt")
_PRECISIONS = ("as-is", "fp16", "int8-dynamic", "int8-static")
_MOST_VARIANTS = 1000
_MOST_ARRIVALS = 1_000_000
_GRID = ("providers", "precision", "batch", "streams", "threads", "devices")
_OF_ENDPOINTS = "It is of endpoints: this target is a model that runs here."


def _listed(value: object) -> object:
    """One may be written without brackets."""
    return value if isinstance(value, list | tuple) else [value]


def _some(value: object) -> object:
    """As `_listed`, where none asks for nothing."""
    if value == []:
        raise BadValueError("an empty list asks for nothing", hint="Leave the key out for its default.")
    return _listed(value)


def _read_precision(value: object) -> str:
    if value == "fp32":
        return "as-is"
    if isinstance(value, str) and value in _PRECISIONS:
        return value
    hint = "There are int8-dynamic and int8-static." if value == "int8" else did_you_mean(str(value), _PRECISIONS)
    raise BadValueError(f"unknown precision {value!r}", hint=hint or f"Precisions are {', '.join(_PRECISIONS)}.")


def _read_memory(value: object) -> int | None:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("GB", 10**9), ("MB", 10**6)):
        number = value.removesuffix(unit).strip() if isinstance(value, str) and value.endswith(unit) else ""
        if number.replace(".", "", 1).isdecimal() and float(number) > 0:
            return round(float(number) * size)
    raise BadValueError(f"{value!r} is not an amount of memory", hint="Write it like 8 GiB.")


def _format_memory(size: int) -> str:
    return f"{size / 2**20:.9f}".rstrip("0").rstrip(".") + " MiB"  # to the byte


def _read_data(value: object, info: ValidationInfo) -> Path:
    """A file, or a folder of files."""
    if not isinstance(value, str) or not value:
        raise BadValueError(f"{value!r} is not the path of a data set")
    path = (profile_directory(info) / value).resolve()
    if not path.exists() and files_must_exist(info):
        raise BadValueError(f"no such file or folder: {path}", hint="Paths are relative to the profile's folder.")
    return path


ProviderList = Annotated[tuple[Provider, ...], Field(strict=False), BeforeValidator(_some)]
OnePrecision = Annotated[Precision, BeforeValidator(_read_precision)]
PrecisionList = Annotated[tuple[OnePrecision, ...], Field(strict=False), BeforeValidator(_some)]
Counts = Annotated[tuple[Annotated[Count, at_most(65_536)], ...], Field(strict=False), BeforeValidator(_some)]
Devices = Annotated[tuple[int | str, ...], Field(strict=False), BeforeValidator(_listed)]
DataPath = Annotated[Path, BeforeValidator(_read_data), PlainSerializer(str)]
Memory = Annotated[int, BeforeValidator(_read_memory), PlainSerializer(_format_memory), Unit("MiB, GiB, MB, GB")]


class VariantSettings(Settings):
    """One of a list, in place of the grid. `devices` work together; none is the first one."""

    model: ModelFile | None = None
    """The model of this variant; empty is the target's."""
    provider: Provider = "cpu"
    """What it runs on."""
    precision: OnePrecision = "as-is"
    """The arithmetic: as the file has it, or converted."""
    batch: Annotated[Count, at_most(65_536)] = Field(default=1, examples=[1])
    """Rows in one call, like 1."""
    streams: Annotated[Count, at_most(1024)] = Field(default=1, examples=[1])
    """Calls at once, like 1."""
    threads: Annotated[Count, at_most(1024)] = Field(default=1, examples=[1])
    """Processor threads of each call, like 1."""
    devices: Devices = Field(default=(), examples=[[0, 1]])
    """GPUs by number, like 0, 1; empty is the first."""


def is_of_many(variant: VariantSettings) -> bool:
    """Whether it makes several calls at once."""
    return variant.streams > 1 or len(variant.devices) > 1


class RuntimeSettings(Settings):
    """How ONNX Runtime is set up. `io_binding` of None is yes on GPUs and no on CPUs."""

    spinning: bool = False
    """Whether idle threads spin, which is faster and burns the processor."""
    arena: bool = True
    """Whether ONNX Runtime keeps memory for later calls."""
    io_binding: bool | None = None
    """Whether tensors stay on the device; empty is yes on GPUs."""
    cuda_graph: bool = False
    """Whether calls are captured as a CUDA graph."""
    axes: dict[str, Annotated[int, Field(ge=1), at_most(2**31)]] = Field(
        default_factory=dict, examples=[{"sequence": 128}]
    )
    """Sizes of dynamic axes, like sequence: 128."""


class LocalTarget(Settings):
    """A grid of variants, or a list of them. The accuracy of all is held against that of the first of `models`."""

    keys_of_others: ClassVar[dict[str, str]] = dict.fromkeys(
        ("url", "urls", "headers", "api_key", "serve", "scripted", "start", "timeouts", "tls"), _OF_ENDPOINTS
    )
    protocol: Literal["local"] = "local"
    """The language the target speaks: here none, the model runs on this machine."""
    models: Annotated[tuple[ModelFile, ...], Field(strict=False, alias="model"), BeforeValidator(_listed)] = Field(
        default=(), examples=[["digits"]]
    )
    """An .onnx file, or a bundled model's name, like digits; several are compared."""
    providers: ProviderList = ("cpu",)
    """What it runs on; each is measured."""
    precision: PrecisionList = ("as-is",)
    """The arithmetic: as the file has it, or converted; each is measured."""
    batch: Counts = Field(default=(1,), examples=[[1, 4, 16]])
    """Rows in one call, like 1, 4, 16; each is measured."""
    streams: Counts = Field(default=(1,), examples=[[1, 8]])
    """Calls at once, like 1, 8; each is measured."""
    threads: Counts = Field(default=(1,), examples=[[1, 2]])
    """Processor threads of each call, like 1, 2; each is measured."""
    devices: Devices = Field(default=(), examples=[[0, 1]])
    """GPUs by number, like 0, 1; alone and together."""
    variants: Listed[VariantSettings] = ()
    """A list of combinations in place of the grid above."""
    runtime: RuntimeSettings = RuntimeSettings()
    """How ONNX Runtime is set up."""
    hardware: HardwareSettings | None = None
    """What this machine is in the price list; without it, as found."""

    @property
    def all_variants(self) -> tuple[VariantSettings, ...]:
        """In the order they are measured: batches rise last, so that a search can stop at the first too slow."""
        if self.variants:
            first = self.models[0]
            return tuple(one if one.model else one.model_copy(update={"model": first}) for one in self.variants)
        grid = itertools.product(
            self.models, self.providers, self.precision, self.threads, self.streams, sorted(set(self.batch))
        )
        return tuple(
            VariantSettings.model_construct(
                model=model, provider=provider, precision=precision, batch=batch, streams=streams, threads=threads,
                devices=devices,
            )
            for model, provider, precision, threads, streams, batch in grid
            for devices in self._devices_of(provider)
        )  # fmt: skip

    def _devices_of(self, provider: str) -> tuple[tuple[int | str, ...], ...]:
        """Of several devices the first one alone too: how well they work together is told from both."""
        if provider not in _ON_NVIDIA or len(self.devices) < 2:
            return (self.devices if provider in _ON_NVIDIA else (),)
        return (self.devices[:1], self.devices)

    @model_validator(mode="before")
    @classmethod
    def _names_the_models_of_its_variants(cls, value: Any) -> Any:
        """Where each of a list names its own."""
        variants = value.get("variants") if isinstance(value, dict) else None
        if not isinstance(variants, list) or value.get("model") is not None:
            return value
        named = [one.get("model") for one in variants if isinstance(one, dict)]
        if not named or not all(isinstance(one, str) for one in named):
            return value
        return {**value, "model": list(dict.fromkeys(named))}

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if not self.models:
            raise BadValueError("target lacks model", hint="Name an .onnx file, or a bundled model.")
        # a default says nothing: a spec that is read back has them all
        grid = {name for name in _GRID if getattr(self, name) != type(self).model_fields[name].default}
        if self.variants and grid:
            raise BadValueError(f"target has both variants and {', '.join(sorted(grid))}: write a list or a grid")
        every = self.all_variants
        if len(every) > _MOST_VARIANTS:
            raise BadValueError(f"the grid has {len(every):,} variants, and {_MOST_VARIANTS} are the most")
        twice = next((one for one, times in Counter(every).items() if times > 1), None)
        if twice is not None:
            raise BadValueError(f"two of the variants are the same: {twice.precision} on {twice.provider}")
        return self

    @model_validator(mode="after")
    def _captures_what_can_be(self) -> Self:
        is_on_nvidia = any(one.provider in _ON_NVIDIA for one in self.all_variants)
        if not is_on_nvidia and (self.devices or any(one.devices for one in self.variants)):
            raise BadValueError("target.devices are GPUs, of cuda or tensorrt, and no variant runs on one")
        if not is_on_nvidia and self.runtime.cuda_graph:
            raise BadValueError("cuda_graph is of cuda or tensorrt, and no variant runs on one")
        if self.runtime.cuda_graph and any(is_of_many(one) for one in self.all_variants):
            raise BadValueError(
                "a CUDA graph is replayed by one stream at a time", hint="Use streams: 1, or no cuda_graph."
            )
        if self.runtime.cuda_graph and self.runtime.io_binding is False:
            raise BadValueError("a CUDA graph needs io_binding: its inputs and outputs must stay where they are")
        return self


class LocalData(Settings):
    """`tensors` is an .npz, a CSV file or a folder with a sub-folder a class, with the right answers in `labels`;
    without it inputs are made up. int8-static is calibrated with `calibration_rows` of `calibration`, or else of
    `tensors`, spread evenly and at most a quarter of them; no variant is scored by those."""

    keys_of_others: ClassVar[dict[str, str]] = dict.fromkeys(("method", "path", "body", "prompts"), _OF_ENDPOINTS)
    tensors: DataPath | None = None
    """An .npz or .csv file, or a folder with a sub-folder a class; without it inputs are made up."""
    labels: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(default="label", examples=["label"])
    """The array or column with the right answers, like label."""
    output: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(default=None, examples=["probabilities"])
    """The output with the answer of each row, like probabilities; empty is found by itself."""
    calibration: DataPath | None = None
    """Rows that int8-static is calibrated with, as for tensors."""
    calibration_rows: Annotated[Count, at_most(100_000)] = Field(default=128, examples=[128])
    """How many rows it is calibrated with, like 128."""


class ShareOfMost(msgspec.Struct, frozen=True):
    """A rate as a share of the most that the variant does."""

    share: float


ServerRate = float | ShareOfMost | Literal["max"]
"""`max` searches the highest rate that meets the SLO."""


def _read_server_rate(value: object) -> ServerRate:
    if value == "max":
        return "max"
    if isinstance(value, str) and value.strip().endswith("%"):
        return ShareOfMost(units.parse_share(value))
    return units.parse_rate_per_s(value)


def _format_server_rate(value: ServerRate) -> str:
    if value == "max":
        return "max"
    return units.format_share(value.share) if isinstance(value, ShareOfMost) else units.format_rate(value)


class LocalLoad(Settings):
    """Each scenario is measured until the interval's half-width is `half_width` of the mean, from `at_least` to
    `at_most`; `warmup` is the longest that is waited for three windows to agree."""

    keys_of_others: ClassVar[dict[str, str]] = dict.fromkeys(("stages", "sweep", "workers"), _OF_ENDPOINTS)
    seed: Annotated[int, Field(ge=0), at_most(2**53 - 1)] = Field(default=7, examples=[7])
    """Of the made-up rows and random arrivals: the same seed makes the same, like 7."""
    scenarios: Annotated[tuple[Scenario, ...], Field(strict=False), BeforeValidator(_some)] = ("single-stream",)
    """How calls come: one after another, several at once, as many as go, or at random."""
    server_rates: Annotated[
        tuple[Annotated[ServerRate, PlainValidator(_read_server_rate), PlainSerializer(_format_server_rate)], ...],
        Field(strict=False, alias="rates"),
        BeforeValidator(_listed),
    ] = ()
    """Of the server scenario: 100/s, 80% of the most, or max inside the SLO."""
    warmup_s: Seconds = Field(default=10.0, alias="warmup", examples=["10s"])
    """The longest that is waited until three windows agree, like 10s."""
    at_least_s: SomeSeconds = Field(default=1.0, alias="at_least", examples=["1s"])
    """Each scenario is measured at least so long, like 1s."""
    at_most_s: SomeSeconds = Field(default=10.0, alias="at_most", examples=["10s"])
    """Each scenario is measured at most so long, like 10s."""
    half_width: Share = Field(default=0.02, examples=["2%"])
    """Ends once the interval's half-width is so small a share of the mean, like 2%."""
    cold_starts: Annotated[int, Field(ge=0), at_most(100)] = Field(default=3, examples=[3])
    """How often a start from nothing is timed, like 3."""
    search: Literal["best"] | None = None
    """best measures only what can be the best inside the SLO."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.at_least_s > self.at_most_s:
            raise BadValueError("load.at_least is longer than load.at_most")
        if len(set(self.scenarios)) < len(self.scenarios):
            raise BadValueError("load.scenarios names one of them twice")
        most = max((rate for rate in self.server_rates if isinstance(rate, float)), default=0.0)
        if most * self.at_most_s > _MOST_ARRIVALS:
            raise BadValueError(
                f"load.rates: {units.format_rate(most)} for {units.format_duration(self.at_most_s)} are more than "
                f"{_MOST_ARRIVALS:,} arrivals, the most that can be asked for"
            )
        if self.server_rates and "server" not in self.scenarios:
            raise BadValueError("load.rates are of the server scenario, which load.scenarios does not have")
        return self


class LocalLimits(Settings):
    """`memory` is what one variant may take; None is what the machine has to spare."""

    duration_s: SomeSeconds | None = Field(default=None, alias="duration", examples=["10m"])
    """The longest the whole run may take, like 10m."""
    memory_bytes: Memory | None = Field(default=None, alias="memory", examples=["8 GiB"])
    """The most memory one variant may take, like 8 GiB; empty is what can be spared."""

    @model_validator(mode="before")
    @classmethod
    def _is_of_time_and_memory(cls, value: Any) -> Any:
        if isinstance(value, dict) and {"requests", "usd"} & value.keys():
            raise BadValueError("a local run is limited by duration and memory")
        return value


class LocalProfile(Settings):
    keys_of_others: ClassVar[dict[str, str]] = dict.fromkeys(
        ("traffic", "plan"), "Plans are made of runs of endpoints: serve the model with protocol oip."
    ) | {"options": _OF_ENDPOINTS}
    sizewise: Literal[1]
    """The version of the profile's form: 1."""
    name: Name = Field(examples=["my-model"])
    """What runs of this profile are called: letters, digits, dots, dashes and underscores, like my-model."""
    description: Annotated[str, Field(max_length=200, pattern=r"^[^\r\n]*$")] | None = None
    """One line of what is asked, for lists and reports."""
    target: LocalTarget
    """The model and the ways of running it that are measured."""
    workload: LocalData = LocalData()
    """What the model is fed."""
    load: LocalLoad = LocalLoad()
    """How it is measured."""
    slo: Listed[ObjectiveText] = Field(default=(), examples=[["service_ms.p95 < 20"]])
    """What is promised, one objective a line, like service_ms.p95 < 20."""
    limits: LocalLimits = LocalLimits()
    """When the run ends, and how much memory a variant gets."""
    gates: Listed[GateText] = Field(default=(), examples=[["accuracy_kept >= 95% | warn"]])
    """What a pipeline fails on, one a line, like accuracy_kept >= 95% | warn."""
    telemetry: Scrapes = ()
    """Pages for Prometheus on other machines, read while the run goes on."""

    @model_validator(mode="after")
    def _can_choose_and_calibrate(self) -> Self:
        if self.load.search == "best" and not any(objective.level == "fail" for objective in self.slo):
            hint = 'Add an objective to slo, like "service_ms.p99 < 20".'
            raise BadValueError("load.search: best is the best inside the SLO, and slo is empty", hint=hint)
        if self.target.runtime.cuda_graph and {"multi-stream", "server"} & set(self.load.scenarios):
            hint = "Use single-stream and offline."
            raise BadValueError("a captured CUDA graph is replayed by the thread that captured it", hint=hint)
        if "multi-stream" in self.load.scenarios and not any(is_of_many(one) for one in self.target.all_variants):
            hint = "Give target.streams, such as 8, or several target.devices."
            raise BadValueError("multi-stream is queries of several calls at once, and no variant has them", hint=hint)
        if "max" in self.load.server_rates and not any(objective.level == "fail" for objective in self.slo):
            hint = 'Add an objective to slo, like "latency_ms.p99 < 20".'
            raise BadValueError("load.rates: max is the highest rate inside the SLO, and slo is empty", hint=hint)
        is_static = any(one.precision == "int8-static" for one in self.target.all_variants)
        if is_static and self.workload.calibration is None and self.workload.tensors is None:
            hint = "Give workload.calibration, or workload.tensors, of which some are then taken for it."
            raise BadValueError("precision int8-static needs rows to be calibrated with", hint=hint)
        return self
