"""Settings of a model that runs on this machine with ONNX Runtime: variants, load and input
data."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from app.profiles import units
from app.profiles.endpoint import TargetHardware
from app.profiles.generation_tests import DEFAULT_TESTS, parse_generation_test
from app.profiles.problems import BadValueError, did_you_mean
from app.profiles.serve import get_model_path, parse_model
from app.profiles.settings import (
    Count,
    GateText,
    Listed,
    Name,
    ObjectiveText,
    PositiveSeconds,
    Seconds,
    Settings,
    Share,
    Unit,
    files_must_exist,
    get_profile_directory,
    require_file_or_folder,
    resolve_path,
    upper_bound,
)
from app.profiles.telemetry import Scrapes
from app.records.language_model import is_gguf_file, is_language_model
from app.records.local import GenerationTest, Precision, Scenario
from app.records.result import Objective

Provider = Literal["cpu", "cuda", "tensorrt", "openvino", "directml", "coreml", "rocm", "migraphx"]
_NVIDIA_PROVIDERS = ("cuda", "tensorrt")
_PRECISIONS = ("as-is", "fp16", "int8-dynamic", "int8-static")
WEIGHT_PRECISIONS = ("int8", "int4")
"""Precisions of the weights that are converted from a GGUF file."""
_MAX_VARIANTS = 1000
_MAX_ARRIVALS = 1_000_000
_GRID_KEYS = ("providers", "precision", "batch", "streams", "threads", "devices")
_ENDPOINT_ONLY_HINT = "It applies to endpoints, but this target is a local model."


def _wrap_in_list(value: object) -> object:
    """Return a list that contains the value, or the value itself if it is already a list, so that
    brackets are optional in a profile."""
    return value if isinstance(value, list | tuple) else [value]


def _wrap_in_non_empty_list(value: object) -> object:
    """Return a list that contains the value, or the value itself if it is already a list. Raises
    BadValueError for an empty list."""
    if value == []:
        raise BadValueError("the list is empty", hint="Remove the key to use its default.")
    return _wrap_in_list(value)


def _parse_precision(value: object, info: ValidationInfo) -> str:
    if value == "fp32":
        return "as-is"
    precisions = _list_precisions(info.data or {})
    if isinstance(value, str) and value in (*_PRECISIONS, *precisions):
        return value
    hint: str | None = did_you_mean(str(value), precisions)
    if value == "int8" and "int8-dynamic" in precisions:
        hint = "Use int8-dynamic or int8-static."
    elif precisions == ("as-is",):
        hint = "A folder of ONNX Runtime GenAI has the precision of its export. Use as-is."
    raise BadValueError(f"the precision {value!r} is unknown", hint=hint or f"Use one of {', '.join(precisions)}.")


def _list_precisions(settings: dict[str, Any]) -> tuple[str, ...]:
    """Return the precisions that apply to the models of a target or of a variant. A variant without
    a model inherits that of the target, which `_check_variants` checks."""
    models = settings.get("models") or (settings.get("model"),)
    if "model" in settings and settings["model"] is None:
        return (*_PRECISIONS, *WEIGHT_PRECISIONS)
    if any(model and is_gguf_file(Path(model)) for model in models):
        return ("as-is", *WEIGHT_PRECISIONS)
    return ("as-is",) if any(model and is_language_model(Path(model)) for model in models) else _PRECISIONS


def _parse_memory(value: object) -> int:
    size_bytes = round(units.parse_bytes(value))
    if size_bytes <= 0:
        raise BadValueError(f"{value!r} must be above zero", hint="Use a value such as 8 GiB.")
    return size_bytes


def _format_memory(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.9f}".rstrip("0").rstrip(".") + " MiB"  # exact to the byte


def _parse_data_path(value: object, info: ValidationInfo) -> Path:
    """Return the absolute path of a data file or folder. Raises BadValueError if the path does not
    exist."""
    if not isinstance(value, str) or not value:
        raise BadValueError(f"{value!r} is not a valid dataset path")
    path = resolve_path(value, info)
    if files_must_exist(info):
        if not path.exists():
            raise BadValueError(
                f"the file or folder {path} does not exist", hint="Paths are relative to the profile's folder."
            )
        require_file_or_folder(path)
    return path


def _parse_model(value: object, info: ValidationInfo) -> str:
    """Return the absolute path of the folder of a language model, or parse any other model as in
    `serve`."""
    path = resolve_path(value, info) if isinstance(value, str) else None
    is_language_folder = path is not None and is_language_model(path) and (not files_must_exist(info) or path.exists())
    return str(path) if is_language_folder else parse_model(value, info)


LocalModel = Annotated[str, BeforeValidator(_parse_model)]
ProviderList = Annotated[tuple[Provider, ...], Field(strict=False), BeforeValidator(_wrap_in_non_empty_list)]
PrecisionName = Annotated[Precision, BeforeValidator(_parse_precision)]
PrecisionList = Annotated[tuple[PrecisionName, ...], Field(strict=False), BeforeValidator(_wrap_in_non_empty_list)]
Counts = Annotated[
    tuple[Annotated[Count, upper_bound(65_536)], ...], Field(strict=False), BeforeValidator(_wrap_in_non_empty_list)
]
Devices = Annotated[tuple[int | str, ...], Field(strict=False), BeforeValidator(_wrap_in_list)]
DataPath = Annotated[Path, BeforeValidator(_parse_data_path), PlainSerializer(str)]
Memory = Annotated[int, BeforeValidator(_parse_memory), PlainSerializer(_format_memory), Unit("MiB, GiB, MB, GB")]


class VariantSettings(Settings):
    """One variant in an explicit list of variants, which replaces the grid.

    A variant uses all its `devices` together. Without `devices`, a variant on GPUs uses the first
    GPU.
    """

    model: LocalModel | None = None
    """Model of this variant. Leave it empty to use the model of the target."""
    provider: Provider = "cpu"
    """Execution provider of ONNX Runtime."""
    precision: PrecisionName = "as-is"
    """Precision of the computation: as in the model file, or converted."""
    batch: Annotated[Count, upper_bound(65_536)] = Field(default=1, examples=[1])
    """Batch size, in rows per call, such as 1."""
    streams: Annotated[Count, upper_bound(1024)] = Field(default=1, examples=[1])
    """Number of concurrent calls, such as 1."""
    threads: Annotated[Count, upper_bound(1024)] = Field(default=1, examples=[1])
    """Number of CPU threads per call, such as 1."""
    devices: Devices = Field(default=(), examples=[[0, 1]])
    """Numbers of the GPUs that the variant uses, such as 0, 1. Leave it empty for the first GPU."""


def is_concurrent(variant: VariantSettings) -> bool:
    """Return whether a variant executes several calls at once."""
    return variant.streams > 1 or len(variant.devices) > 1


class RuntimeSettings(Settings):
    """Configuration of ONNX Runtime. If `io_binding` is `None`, I/O binding is used on GPUs but not
    on CPUs."""

    spinning: bool = False
    """Spinning of idle threads, which reduces latency but keeps the CPU busy."""
    arena: bool = True
    """Memory arena of ONNX Runtime, which keeps memory so that later calls can reuse it."""
    io_binding: bool | None = None
    """I/O binding, which keeps tensors on the device. Leave the key empty to use I/O binding on GPUs only."""
    cuda_graph: bool = False
    """CUDA graph: calls are captured once and then replayed."""
    axes: dict[str, Annotated[int, Field(ge=1), upper_bound(2**31)]] = Field(
        default_factory=dict, examples=[{"sequence": 128}]
    )
    """Sizes of dynamic axes, such as sequence: 128."""


class LocalTarget(Settings):
    """A model that runs on this machine, measured as a grid or a list of variants.

    The accuracy of each variant is compared with the accuracy of the first model in `models`.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = dict.fromkeys(
        ("url", "urls", "headers", "api_key", "serve", "scripted", "start", "timeouts", "tls"), _ENDPOINT_ONLY_HINT
    )
    protocol: Literal["local"] = "local"
    """Protocol of the target. Always local: the model runs on this machine, without a network
    protocol."""
    models: Annotated[tuple[LocalModel, ...], Field(strict=False, alias="model"), BeforeValidator(_wrap_in_list)] = (
        Field(default=(), examples=[["digits"]])
    )
    """Path of an .onnx file, name of a bundled model, such as digits, or language model: a
    folder of ONNX Runtime GenAI or a .gguf file. Several models are compared."""
    providers: ProviderList = ("cpu",)
    """Execution providers of ONNX Runtime. Each provider is measured."""
    precision: PrecisionList = ("as-is",)
    """Precisions of the computation: as in the model file, or converted. Each precision is
    measured."""
    batch: Counts = Field(default=(1,), examples=[[1, 4, 16]])
    """Batch sizes, in rows per call, such as 1, 4, 16. Each batch size is measured."""
    streams: Counts = Field(default=(1,), examples=[[1, 8]])
    """Numbers of concurrent calls, such as 1, 8. Each number is measured."""
    threads: Counts = Field(default=(1,), examples=[[1, 2]])
    """Numbers of CPU threads per call, such as 1, 2. Each number is measured."""
    devices: Devices = Field(default=(), examples=[[0, 1]])
    """Numbers of the GPUs to measure, such as 0, 1. The first GPU is measured alone, then all GPUs
    together."""
    variants: Listed[VariantSettings] = ()
    """List of variants to measure, instead of the grid of all combinations of models, providers and
    so on."""
    runtime: RuntimeSettings = RuntimeSettings()
    """Configuration of ONNX Runtime."""
    hardware: TargetHardware | None = None
    """Price-list entry of this machine's hardware. By default, the hardware is detected."""

    @property
    def all_variants(self) -> tuple[VariantSettings, ...]:
        """All variants in the order of measurement.

        The batch size varies fastest and increases, so that a search can stop at the first batch
        size that is too slow.
        """
        if self.variants:
            default_model = self.models[0]
            return tuple(
                variant if variant.model else variant.model_copy(update={"model": default_model})
                for variant in self.variants
            )
        grid = itertools.product(
            self.models, self.providers, self.precision, self.threads, self.streams, sorted(set(self.batch))
        )
        return tuple(
            VariantSettings.model_construct(
                model=model, provider=provider, precision=precision, batch=batch, streams=streams, threads=threads,
                devices=devices,
            )
            for model, provider, precision, threads, streams, batch in grid
            for devices in self._list_device_sets(provider)
        )  # fmt: skip

    def _list_device_sets(self, provider: str) -> tuple[tuple[int | str, ...], ...]:
        """Return the device sets to measure: all devices together and, if there are several, also
        the first device alone.

        Both sets are needed to compute the scaling efficiency of the devices.
        """
        if provider not in _NVIDIA_PROVIDERS or len(self.devices) < 2:
            return (self.devices if provider in _NVIDIA_PROVIDERS else (),)
        return (self.devices[:1], self.devices)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_models(cls, value: Any) -> Any:
        """Fill in the models of the target from the variants, if the target has no model and every
        variant has one."""
        variants = value.get("variants") if isinstance(value, dict) else None
        if not isinstance(variants, list) or value.get("model") is not None:
            return value
        models = [variant.get("model") for variant in variants if isinstance(variant, dict)]
        if not models or not all(isinstance(model, str) for model in models):
            return value
        return {**value, "model": list(dict.fromkeys(models))}

    @model_validator(mode="after")
    def _check_variants(self) -> Self:
        if not self.models:
            raise BadValueError("target has no model", hint="Set target.model to an .onnx file or a bundled model.")
        # A value equal to the default does not count as set, because a stored profile contains all
        # defaults.
        grid_keys = {key for key in _GRID_KEYS if getattr(self, key) != type(self).model_fields[key].default}
        if self.variants and grid_keys:
            raise BadValueError(
                f"target has both variants and {', '.join(sorted(grid_keys))}",
                hint="Use either a list of variants or a grid.",
            )
        all_variants = self.all_variants
        for variant in all_variants:
            if variant.precision in WEIGHT_PRECISIONS and not _is_precision_of_language_model(variant):
                hint = "It is only for .gguf files. Use int8-dynamic or int8-static."
                raise BadValueError(
                    f"the precision {variant.precision!r} is not available for {variant.model}", hint=hint
                )
        if len(all_variants) > _MAX_VARIANTS:
            raise BadValueError(f"the grid has {len(all_variants):,} variants, above the maximum of {_MAX_VARIANTS}")
        duplicate = next((variant for variant, count in Counter(all_variants).items() if count > 1), None)
        if duplicate is not None:
            raise BadValueError(f"the variant {duplicate.precision} on {duplicate.provider} is duplicated")
        return self

    @model_validator(mode="after")
    def _check_devices(self) -> Self:
        has_nvidia_variant = any(variant.provider in _NVIDIA_PROVIDERS for variant in self.all_variants)
        if not has_nvidia_variant and (self.devices or any(variant.devices for variant in self.variants)):
            raise BadValueError("target.devices needs cuda or tensorrt, but no variant uses one of them")
        if not has_nvidia_variant and self.runtime.cuda_graph:
            raise BadValueError("cuda_graph needs cuda or tensorrt, but no variant uses one of them")
        if self.runtime.cuda_graph and any(is_concurrent(variant) for variant in self.all_variants):
            raise BadValueError(
                "a CUDA graph can be replayed by only one stream at a time",
                hint="Use streams: 1, or remove cuda_graph.",
            )
        if self.runtime.cuda_graph and self.runtime.io_binding is False:
            raise BadValueError(
                "a CUDA graph needs io_binding, because its inputs and outputs must stay at the same address"
            )
        return self


class LocalData(Settings):
    """Input data of a local model.

    `tensors` is an .npz file, a CSV file or a folder with one subfolder per class. `labels` is the
    name of the array or column with the true labels. Without `tensors`, inputs are synthetic.

    int8-static is calibrated with `calibration_rows` rows of `calibration`. Without `calibration`,
    it is calibrated with evenly spaced rows of `tensors`, at most a quarter of all rows, and these
    rows are then excluded from scoring.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = dict.fromkeys(
        ("method", "path", "body", "prompts"), _ENDPOINT_ONLY_HINT
    )
    tensors: DataPath | None = None
    """Input data of the model: an .npz or .csv file, or a folder with one subfolder per class.
    Without it, inputs are synthetic."""
    labels: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(default="label", examples=["label"])
    """Name of the array or column with the true labels, such as label."""
    output: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(default=None, examples=["probabilities"])
    """Name of the model output with the prediction for each row, such as probabilities. Leave it
    empty to detect the output."""
    text: DataPath | None = None
    """Text file in UTF-8 that a language model predicts, to compare the quality of its precisions."""
    text_tokens: Annotated[Count, Field(ge=2), upper_bound(1_000_000)] = Field(default=1000, examples=[1000])
    """Number of tokens of the text to predict, such as 1000."""
    calibration: DataPath | None = None
    """Data for the calibration of int8-static, in any format that `tensors` accepts."""
    calibration_rows: Annotated[Count, upper_bound(100_000)] = Field(default=128, examples=[128])
    """Number of rows for the calibration of int8-static, such as 128."""


class ShareOfMax(msgspec.Struct, frozen=True):
    """A rate relative to the maximum throughput of the variant."""

    share: float


ServerRate = float | ShareOfMax | Literal["max"]
"""Arrival rate of the server scenario: in calls per second, or relative to the maximum throughput.
`max` searches for the max rate that meets the SLO."""


def _parse_server_rate(value: object) -> ServerRate:
    if value == "max":
        return "max"
    if isinstance(value, str) and value.strip().endswith("%"):
        return ShareOfMax(units.parse_share(value))
    return units.parse_rate_per_s(value)


def _format_server_rate(value: ServerRate) -> str:
    if value == "max":
        return "max"
    return units.format_share(value.share) if isinstance(value, ShareOfMax) else units.format_rate(value)


def _split_tests(value: object) -> object:
    """Return a list of tests, which may be written as text with commas."""
    return value.split(",") if isinstance(value, str) else _wrap_in_list(value)


def _format_test(test: GenerationTest) -> str:
    return test.name


class LocalLoad(Settings):
    """Scenarios and measurement settings of a local model.

    A scenario is measured until the half-width of the confidence interval is at most `half_width`
    of the mean. The measurement takes at least `min_duration` and at most `max_duration`. `warmup`
    is the maximum warm-up time, which ends earlier if three consecutive windows agree.
    """

    misplaced_key_hints: ClassVar[dict[str, str]] = dict.fromkeys(("stages", "sweep", "workers"), _ENDPOINT_ONLY_HINT)
    seed: Annotated[int, Field(ge=0), upper_bound(2**53 - 1)] = Field(default=7, examples=[7])
    """Seed of synthetic rows and random arrivals, such as 7. The same seed gives the same
    values."""
    scenarios: Annotated[tuple[Scenario, ...], Field(strict=False), BeforeValidator(_wrap_in_non_empty_list)] = (
        "single-stream",
    )
    """Scenarios: single-stream, multi-stream, offline (as fast as possible) or server (random
    arrivals)."""
    server_rates: Annotated[
        tuple[Annotated[ServerRate, PlainValidator(_parse_server_rate), PlainSerializer(_format_server_rate)], ...],
        Field(strict=False, alias="rates"),
        BeforeValidator(_wrap_in_list),
    ] = ()
    """Rates of the server scenario: 100/s, 80% of the maximum throughput, or max (the highest rate
    that meets the SLO)."""
    tests: Annotated[
        tuple[Annotated[GenerationTest, PlainValidator(parse_generation_test), PlainSerializer(_format_test)], ...],
        Field(strict=False),
        BeforeValidator(_split_tests),
    ] = Field(default=(), examples=[["pp512", "tg128"]])
    """Tests of a language model as in llama-bench, such as pp512, tg128: prompt processing, token
    generation, or both as in pp512+tg128, also at a depth as in tg128 @ d4096."""
    warmup_s: Seconds = Field(default=10.0, alias="warmup", examples=["10s"])
    """Maximum warm-up time, such as 10s. The warm-up ends earlier if three consecutive windows
    agree."""
    min_duration_s: PositiveSeconds = Field(default=1.0, alias="min_duration", examples=["1s"])
    """Minimum measurement time of each scenario, such as 1s."""
    max_duration_s: PositiveSeconds = Field(default=10.0, alias="max_duration", examples=["10s"])
    """Maximum measurement time of each scenario, such as 10s."""
    half_width: Share = Field(default=0.02, examples=["2%"])
    """Half-width of the confidence interval, relative to the mean, at which a measurement ends,
    such as 2%."""
    cold_starts: Annotated[int, Field(ge=0), upper_bound(100)] = Field(default=3, examples=[3])
    """Number of cold starts to measure, such as 3."""
    search: Literal["best"] | None = None
    """Search strategy. `best` skips variants that cannot be the best variant that meets the SLO; by
    default, all variants are measured."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.min_duration_s > self.max_duration_s:
            raise BadValueError("load.min_duration is longer than load.max_duration")
        if len(set(self.scenarios)) < len(self.scenarios):
            raise BadValueError("load.scenarios contains a duplicate")
        if len(set(self.tests)) < len(self.tests):
            raise BadValueError("load.tests contains a duplicate")
        highest_rate_per_s = max((rate for rate in self.server_rates if isinstance(rate, float)), default=0.0)
        if highest_rate_per_s * self.max_duration_s > _MAX_ARRIVALS:
            raise BadValueError(
                f"load.rates: {units.format_rate(highest_rate_per_s)} for {units.format_duration(self.max_duration_s)} "
                f"exceeds the maximum of {_MAX_ARRIVALS:,} arrivals"
            )
        if self.server_rates and "server" not in self.scenarios:
            raise BadValueError("load.rates requires the server scenario, which load.scenarios does not include")
        return self


class LocalLimits(Settings):
    """Limits of a local run. `memory` limits the memory of one variant. If `memory` is `None`, the
    limit is the available memory of the machine."""

    duration_s: PositiveSeconds | None = Field(default=None, alias="duration", examples=["10m"])
    """Maximum duration of the whole run, such as 10m."""
    memory_bytes: Memory | None = Field(default=None, alias="memory", examples=["8 GiB"])
    """Maximum memory of one variant, such as 8 GiB. Leave it empty for the available memory of the
    machine."""

    @model_validator(mode="before")
    @classmethod
    def _check_limits(cls, value: Any) -> Any:
        if isinstance(value, dict) and {"requests", "usd"} & value.keys():
            raise BadValueError("a local run is limited only by duration and memory")
        return value


def _is_precision_of_language_model(variant: VariantSettings) -> bool:
    is_convertible = variant.model is not None and is_gguf_file(Path(variant.model))
    return variant.precision == "as-is" or (is_convertible and variant.precision in WEIGHT_PRECISIONS)


class CommonProfile(Settings):
    """Keys that the profiles of endpoints and of local models have in common."""

    sizewise: Literal[1]
    """Version of the profile format: 1."""
    name: Name = Field(examples=["fraud-scoring"])
    """Name of the profile, used for its runs: letters, digits, dots, dashes and underscores,
    such as fraud-scoring."""
    description: Annotated[str, Field(max_length=200, pattern=r"^[^\r\n]*$")] | None = None
    """One-line description of the profile, shown in lists and reports."""
    telemetry: Scrapes = ()
    """Prometheus endpoints on other machines to scrape during the run."""
    _directory: Path = PrivateAttr()

    @property
    def directory(self) -> Path:
        """Folder to which the paths in the profile are relative."""
        return self._directory

    def __eq__(self, other: object) -> bool:
        """Compare what is measured. The same profile may be in two folders."""
        return isinstance(other, CommonProfile) and type(self) is type(other) and dict(self) == dict(other)

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    @model_validator(mode="after")
    def _store_directory(self, info: ValidationInfo) -> Self:
        self._directory = get_profile_directory(info)
        return self


class LocalProfile(CommonProfile):
    misplaced_key_hints: ClassVar[dict[str, str]] = dict.fromkeys(
        ("traffic", "plan"), "Plans need runs of endpoints. Serve the model with protocol oip."
    ) | {"options": _ENDPOINT_ONLY_HINT}
    name: Name = Field(examples=["my-model"])
    """Name of the profile, used for its runs: letters, digits, dots, dashes and underscores,
    such as my-model."""
    target: LocalTarget
    """Model to measure, and its variants."""
    workload: LocalData = LocalData()
    """Input data of the model."""
    load: LocalLoad = LocalLoad()
    """Scenarios and measurement settings of the run."""
    slo: Listed[ObjectiveText] = Field(default=(), examples=[["service_ms.p95 < 20"]])
    """Service level objectives, one per line, such as service_ms.p95 < 20."""
    limits: LocalLimits = LocalLimits()
    """Limits on the duration of the run and on the memory of a variant."""
    gates: Listed[GateText] = Field(default=(), examples=[["accuracy_retained >= 95% | warn"]])
    """Conditions that fail a CI job, one per line, such as accuracy_retained >= 95% | warn."""

    @property
    def generation_tests(self) -> tuple[GenerationTest, ...]:
        """Tests of the language models of the target; empty for other models."""
        is_generative = any(is_language_model(get_model_path(model)) for model in self.target.models)
        return (self.load.tests or DEFAULT_TESTS) if is_generative else ()

    @model_validator(mode="after")
    def _check_language_models(self) -> Self:
        are_language_models = [is_language_model(get_model_path(model)) for model in self.target.models]
        if not any(are_language_models):
            if self.load.tests and all(get_model_path(model).exists() for model in self.target.models):
                hint = "Use load.scenarios, or set target.model to the folder of a language model."
                raise BadValueError("load.tests is only for language models", hint=hint)
            if self.workload.text is not None:
                raise BadValueError("workload.text is only for language models", hint="Use workload.tensors.")
            return self
        if not all(are_language_models):
            raise BadValueError("target.model has both language models and other models", hint="Measure them apart.")
        variants = self.target.all_variants
        unusable = {
            "load.scenarios": self.load.scenarios != ("single-stream",),
            "workload.tensors": self.workload.tensors is not None,
            "target.precision": any(not _is_precision_of_language_model(variant) for variant in variants),
            "target.streams": any(variant.streams > 1 for variant in variants),
            "target.runtime": self.target.runtime != RuntimeSettings(),
            "target.devices": any(len(variant.devices) > 1 for variant in variants),
        }
        if rejected_keys := [key for key, is_set in unusable.items() if is_set]:
            hint = "Set load.tests, target.batch and target.threads. A .gguf file can be as-is, int8 or int4."
            raise BadValueError(f"{rejected_keys[0]} does not apply to language models", hint=hint)
        deep_test = next((test for test in self.generation_tests if test.needs_single_sequence), None)
        if deep_test is not None and any(variant.batch > 1 for variant in variants):
            raise BadValueError(
                f"the test {deep_test.name} needs a batch of 1: ONNX Runtime GenAI adds prompts to a "
                "non-empty cache only for a batch of 1",
                hint=f"Use a test such as tg128 @ d{deep_test.depth}.",
            )
        return self

    @property
    def complete_slo(self) -> tuple[Objective, ...]:
        """SLO, as that of a profile without classes of requests."""
        return self.slo

    @model_validator(mode="after")
    def _check_profile(self) -> Self:
        if self.load.search == "best" and not any(objective.level == "fail" for objective in self.slo):
            hint = 'Add an objective to slo, such as "service_ms.p99 < 20".'
            raise BadValueError("load.search: best needs an SLO, but slo is empty", hint=hint)
        if self.target.runtime.cuda_graph and {"multi-stream", "server"} & set(self.load.scenarios):
            hint = "Use single-stream and offline."
            raise BadValueError("a captured CUDA graph can be replayed only by the thread that captured it", hint=hint)
        if "multi-stream" in self.load.scenarios and not any(
            is_concurrent(variant) for variant in self.target.all_variants
        ):
            hint = "Set target.streams, such as 8, or several target.devices."
            raise BadValueError("multi-stream needs several streams or devices, but no variant has them", hint=hint)
        if "max" in self.load.server_rates and not any(objective.level == "fail" for objective in self.slo):
            hint = 'Add an objective to slo, such as "latency_ms.p99 < 20".'
            raise BadValueError("load.rates: max needs an SLO, but slo is empty", hint=hint)
        has_static_variant = any(variant.precision == "int8-static" for variant in self.target.all_variants)
        if has_static_variant and self.workload.calibration is None and self.workload.tensors is None:
            hint = "Set workload.calibration, or workload.tensors; a part of these rows is then used for calibration."
            raise BadValueError("precision int8-static needs calibration rows", hint=hint)
        return self
