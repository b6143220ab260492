"""A model opened by ONNX Runtime: its inputs, its outputs, and the execution providers that its
nodes run on.

Models are untrusted. A model must be a regular file under a size limit, with its weights in regular
files of the same folder. Custom operator libraries are never loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from app.errors import MeasurementError, SizewiseError, UnavailableError, UsageError
from app.inference.job import SessionSettings
from app.inference.model_file import check_external_weights, check_model_file
from app.inference.output_capture import capture_output
from app.inference.placement import read_placements
from app.inference.providers import (
    NVIDIA_DRIVER,
    NVIDIA_PROVIDERS,
    count_usable_cores,
    format_too_many_threads,
    get_profile_name,
    get_runtime_name,
    is_nvidia_driver_available,
)
from app.inference.tensor_spec import TensorSpec

_DTYPES = {
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(string)": "object",
}
_MISSING_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object|(\w+\.dll)\W+which is missing")
_OUT_OF_MEMORY = re.compile(r"bad_alloc|[Ff]ailed to allocate|out of memory|CUDA_ERROR_OUT_OF_MEMORY", re.IGNORECASE)
_REQUESTED_BYTES = re.compile(r"requested buffer of size (\d+)")
_NODE_ERROR = re.compile(r"while running (\w+) node\. Name:'([^']*)' Status Message: (.*)")
_SOURCE_LOCATION = re.compile(r"^/\S+\.\w+:\d+ .*?\) (?=\S)")
"""Pattern of the source location and function name in messages of ONNX Runtime."""
_LOG_NOISE = re.compile(r"\x1b\[[\d;]*m|^\S+ \S+ \[[EWF]:[^\]]*\]\s*", re.MULTILINE)


class ModelSession:
    """An opened model, created by `open_session`. `run` may be called by only one thread at a
    time."""

    def __init__(self, session: Any, provider: str, opening_log: str, model: Path) -> None:
        self._session = session
        self.inputs = _build_inputs(session)
        self.outputs = _build_outputs(session)
        self._output_names = [output.name for output in self.outputs]
        self.provider_requested = provider
        self.provider_used = get_profile_name(session.get_providers()[0])
        self.placements = read_placements(session, provider, model)
        self.provider_reason = None if self.provider_used == provider else parse_fallback_reason(opening_log)
        """Message of ONNX Runtime that explains why the requested execution provider is not used;
        `None` if it is used."""

    @property
    def is_batchable(self) -> bool:
        """True if rows can be joined along the first axis, because all inputs and outputs have a
        dynamic first axis."""
        return all(spec.shape[:1] == (-1,) for spec in (*self.inputs, *self.outputs))

    @property
    def runtime_session(self) -> Any:
        """The underlying ONNX Runtime session, for callers that time the steps of a call."""
        return self._session

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Sequence[npt.NDArray[Any]]:
        """Run the model and return its outputs in the order of `outputs`. Raises UsageError for
        invalid inputs, and MeasurementError if the inference fails."""
        try:
            outputs: Sequence[npt.NDArray[Any]] = self._session.run(self._output_names, feeds)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise translate_run_error(error) from error
        return outputs


def open_session(
    model: Path, provider: str, threads: int, settings: SessionSettings | None = None, device: int = 0
) -> ModelSession:
    """Open a model.

    Raises UsageError if the file is not a model, UnavailableError if the execution provider cannot
    work on this machine, and MeasurementError if the memory is insufficient. If ONNX Runtime falls
    back to another provider, no error is raised: `provider_used` of the session states the provider
    in use. `threads` takes precedence over the number in `settings`; `device` is the GPU ordinal as
    visible to this process."""
    _check_threads(threads)
    settings = SessionSettings() if settings is None else settings
    runtime_name = get_runtime_name(provider)
    check_model_file(model)
    check_external_weights(model)
    _check_provider(provider, runtime_name)
    with capture_output() as captured_output:
        if provider in NVIDIA_PROVIDERS:
            ort.preload_dlls()
        session = _create_session(model, provider, threads, settings, device)
    # A provider that fails during a run must raise an error instead of silently changing the
    # provider.
    session.disable_fallback()
    return ModelSession(session, provider, captured_output.text, model)


def translate_run_error(error: Exception) -> SizewiseError:
    """Convert an exception of a model call to an error of Sizewise."""
    if isinstance(error, SizewiseError):
        return error
    if isinstance(error, runtime_errors.InvalidArgument | ValueError | TypeError):
        return UsageError(f"the model rejects these inputs: {_extract_message(error)}")
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        return MeasurementError(f"the inference ran out of memory: {_extract_message(error)}")
    return MeasurementError(f"the inference failed: {_extract_message(error)}")


def get_runtime_version() -> str:
    return str(ort.__version__)


def list_providers() -> tuple[str, ...]:
    """Return the execution providers of the installed ONNX Runtime build, by their names in
    profiles. They may not work on this machine."""
    return tuple(name for provider in ort.get_available_providers() if (name := get_profile_name(provider)) != provider)


def _check_threads(threads: int) -> None:
    if threads < 1:
        raise UsageError(f"the number of threads must be at least 1 (got {threads})", hint="Use 1 or more.")
    cores = count_usable_cores()
    if threads > cores:
        raise UsageError(format_too_many_threads(threads, cores), hint=f"Use {cores} or fewer.")


def _create_session(model: Path, provider: str, threads: int, settings: SessionSettings, device: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = settings.arena
    # Spinning threads would occupy a core that the load generator or the endpoint needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if settings.spinning else "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for axis, length in settings.axes.items():
        options.add_free_dimension_override_by_name(axis, length)
    model_file, temporary_path = _select_model_file(model, settings, options)
    try:
        session = ort.InferenceSession(
            str(model_file),
            options,
            providers=[(get_runtime_name(provider), _build_provider_options(provider, settings, device))],
        )
    except Exception as error:  # ONNX Runtime's errors share no base class
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            raise MeasurementError(
                f"{model.name} needs more memory than available: {_extract_message(error)}"
            ) from error
        raise UsageError(
            f"{model.name} is not a model that ONNX Runtime {ort.__version__} can run: {_extract_message(error)}",
            hint="Check the file with onnx.checker, and make sure that its opset is not newer than this runtime.",
        ) from error
    if temporary_path is not None and settings.cached_model_path is not None and temporary_path.exists():
        temporary_path.replace(
            settings.cached_model_path
        )  # Replace atomically, so that no process opens a partial file.
    return session


def _select_model_file(model: Path, settings: SessionSettings, options: Any) -> tuple[Path, Path | None]:
    """Return the model file to open, and the path at which ONNX Runtime writes the optimized model
    (`None` if nothing is written). If a cached optimized model exists, it is opened and not
    optimized again."""
    if settings.cached_model_path is None:
        return model, None
    cached_path = Path(settings.cached_model_path)
    if cached_path.exists():
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return cached_path, None
    temporary_path = cached_path.with_name(f"{cached_path.stem}.{os.getpid()}.onnx")
    options.optimized_model_filepath = str(temporary_path)
    return model, temporary_path


def _build_provider_options(provider: str, settings: SessionSettings, device: int) -> dict[str, str]:
    """Return the options of an execution provider, as documented by ONNX Runtime for CUDA and
    TensorRT; empty for other providers."""
    if provider not in NVIDIA_PROVIDERS:
        return {}
    options = {"device_id": str(device)}
    if provider == "cuda":
        options["enable_cuda_graph"] = "1" if settings.cuda_graph else "0"
        if not settings.arena:
            options["arena_extend_strategy"] = "kSameAsRequested"
    if provider == "tensorrt":
        options["trt_cuda_graph_enable"] = "1" if settings.cuda_graph else "0"
        if settings.engine_folder is not None:
            options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": settings.engine_folder}
    return options


def _check_provider(provider: str, runtime_name: str) -> None:
    if runtime_name not in ort.get_available_providers():
        raise UnavailableError(
            f"this build of ONNX Runtime {ort.__version__} has no {provider} provider",
            hint=f"Use one of {', '.join(list_providers())}, or install an ONNX Runtime build with {provider}.",
        )
    if provider in NVIDIA_PROVIDERS and not is_nvidia_driver_available():
        raise UnavailableError(
            f"{provider} needs an NVIDIA GPU, but no NVIDIA driver was found ({NVIDIA_DRIVER} cannot be loaded)",
            hint="Use the cpu provider, or install the NVIDIA driver.",
        )


def _build_inputs(session: Any) -> tuple[TensorSpec, ...]:
    specs = []
    for value in session.get_inputs():
        if value.type not in _DTYPES:
            raise UsageError(
                f"input {value.name!r} is a {value.type}, but only plain tensors are supported",
                hint="Export the model with tensor inputs.",
            )
        specs.append(_build_spec(value))
    return tuple(specs)


def _build_outputs(session: Any) -> tuple[TensorSpec, ...]:
    """Return the model outputs that are plain tensors. Sequences and maps, as in some classifiers,
    are omitted. Raises UsageError if no output is a plain tensor."""
    specs = tuple(_build_spec(value) for value in session.get_outputs() if value.type in _DTYPES)
    if not specs:
        raise UsageError(
            "the model has no output that is a plain tensor",
            hint="Export the model with tensor outputs, for example without the ZipMap operator.",
        )
    return specs


def _build_spec(value: Any) -> TensorSpec:
    shape = tuple(dim if isinstance(dim, int) and dim >= 0 else -1 for dim in value.shape)
    axes = tuple(dim if isinstance(dim, str) else None for dim in value.shape)
    return TensorSpec(value.name, _DTYPES[value.type], shape, axes)


def parse_fallback_reason(log_text: str) -> str:
    """Return the reason why ONNX Runtime fell back to another execution provider, extracted from
    its log output while the model was opened."""
    if "libcuda.so.1" in log_text or "nvcuda.dll" in log_text:
        return "no NVIDIA driver was found: libcuda.so.1 cannot be loaded"
    missing_library = _MISSING_LIBRARY.search(log_text)
    if missing_library:
        return f"a library of the provider is missing: {missing_library[1] or missing_library[2]}"
    message = _LOG_NOISE.sub("", log_text).strip()
    return message.splitlines()[0] if message else "not reported by ONNX Runtime"


def _extract_message(error: Exception) -> str:
    """Return the message in the first line of an ONNX Runtime error, without the error code and
    source location."""
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0].rsplit(" : ", 1)[-1]
    requested_bytes = _REQUESTED_BYTES.search(line)
    if requested_bytes is not None:
        return f"{int(requested_bytes[1]) / 1e9:.3g} GB were requested at once"
    node_error = _NODE_ERROR.search(line)
    if node_error is None:
        return line
    return f"{node_error[1]} {node_error[2]!r}: {_SOURCE_LOCATION.sub('', node_error[3])}"
