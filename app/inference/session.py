"""One model opened by ONNX Runtime: what goes in, what comes out, and where its nodes really run.

A model is not trusted: it must be a plain file under a size limit, with its weights in plain files of its own folder,
and custom operator libraries are never loaded.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from app.errors import InstrumentError, UnavailableError, UsageError
from app.inference.model_file import check_model_file, check_weights_beside
from app.inference.output_capture import captured_output
from app.inference.providers import NVIDIA, NVIDIA_DRIVER, name_of, nvidia_driver_loads, runtime_name
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
_SHAPE_OPERATORS = frozenset(
    {"Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Range", "ConstantOfShape"}
)
"""Bookkeeping of tensor shapes that GPU providers leave on the CPU on purpose."""

_MISSING_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object|(\w+\.dll)\W+which is missing")
_LOG_NOISE = re.compile(r"\x1b\[[\d;]*m|^\S+ \S+ \[[EWF]:[^\]]*\]\s*", re.MULTILINE)


class ModelSession:
    """Made by `open_session`. `run` may be called by one thread at a time."""

    def __init__(self, session: Any, provider: str, opening_text: str) -> None:
        self._session = session
        self.inputs = _inputs(session)
        self.outputs = _outputs(session)
        self._output_names = [output.name for output in self.outputs]
        self.provider_requested = provider
        self.provider_used = name_of(session.get_providers()[0])
        self.nodes_elsewhere = _nodes_elsewhere(session, provider)
        """Compute nodes on another provider than asked, such as `MatMul on CPUExecutionProvider`."""
        self.provider_reason = None if self.provider_used == provider else reason_written(opening_text)
        """Why the provider used is not the one asked for, in ONNX Runtime's words; None where it is."""

    @property
    def is_batchable(self) -> bool:
        """Whether rows can be joined along the first axis: it is free in every input and output."""
        return all(spec.shape[:1] == (-1,) for spec in (*self.inputs, *self.outputs))

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Sequence[npt.NDArray[Any]]:
        """Outputs in the order of `outputs`. Raises UsageError for inputs that the model refuses."""
        try:
            answers: Sequence[npt.NDArray[Any]] = self._session.run(self._output_names, feeds)
        except (runtime_errors.InvalidArgument, ValueError, TypeError) as error:
            raise UsageError(f"the model refuses these inputs: {_first_line(error)}") from error
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise InstrumentError(f"the inference failed: {_first_line(error)}") from error
        return answers


def open_session(model: Path, provider: str, threads: int) -> ModelSession:
    """Raises UsageError for a file that is no model, UnavailableError where the provider cannot exist here.

    A provider that could exist and falls back to another raises nothing: `provider_used` tells.
    """
    if threads < 1:
        raise UsageError(f"{threads} threads cannot run a model", hint="Use 1 or more.")
    cores = _usable_cores()
    if threads > cores:
        raise UsageError(f"{threads} threads are more than this machine's {cores} cores", hint=f"Use {cores} or fewer.")
    name = runtime_name(provider)
    check_model_file(model)
    check_weights_beside(model)
    _check_provider(provider, name)
    with captured_output() as captured:
        if provider in NVIDIA:
            ort.preload_dlls()
        session = _created(model, name, threads)
    # a provider that fails during a run must be an error, not a silent change of provider
    session.disable_fallback()
    return ModelSession(session, provider, captured.text)


def runtime_version() -> str:
    return str(ort.__version__)


def listed_providers() -> tuple[str, ...]:
    """Those the build knows, by the names users write: it says nothing about the machine."""
    return tuple(name for each in ort.get_available_providers() if (name := name_of(each)) != each)


def _usable_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _created(model: Path, name: str, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # spinning threads take the core that the load generator or the endpoint needs
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        return ort.InferenceSession(str(model), options, providers=[name])
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise UsageError(
            f"{model.name} is not a model that ONNX Runtime {ort.__version__} can run: {_first_line(error)}",
            hint="Check the file with onnx.checker, and that its opset is not newer than this runtime.",
        ) from error


def _check_provider(provider: str, name: str) -> None:
    if name not in ort.get_available_providers():
        raise UnavailableError(
            f"this build of ONNX Runtime {ort.__version__} has no {provider} provider",
            hint=f"It has {', '.join(listed_providers())}; install the build of onnxruntime that has {provider}.",
        )
    if provider in NVIDIA and not nvidia_driver_loads():
        raise UnavailableError(
            f"{provider} needs an NVIDIA GPU, and there is no NVIDIA driver here ({NVIDIA_DRIVER} does not load)",
            hint="Choose the cpu provider, or install the NVIDIA driver.",
        )


def _inputs(session: Any) -> tuple[TensorSpec, ...]:
    specs = []
    for value in session.get_inputs():
        if value.type not in _DTYPES:
            raise UsageError(f"input {value.name!r} is a {value.type}, which cannot be sent over this protocol")
        specs.append(_spec(value))
    return tuple(specs)


def _outputs(session: Any) -> tuple[TensorSpec, ...]:
    """Plain tensors only: sequences and maps, as some classifiers add them, are left out."""
    specs = tuple(_spec(value) for value in session.get_outputs() if value.type in _DTYPES)
    if not specs:
        raise UsageError("the model has no output that is a plain tensor")
    return specs


def _spec(value: Any) -> TensorSpec:
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in value.shape)
    return TensorSpec(value.name, _DTYPES[value.type], shape)


def _nodes_elsewhere(session: Any, provider: str) -> tuple[str, ...]:
    if provider == "cpu":
        return ()  # what falls back falls back to it
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise UnavailableError(
            f"ONNX Runtime {ort.__version__} cannot tell which provider runs which node",
            hint="Install version 1.24 or newer, or choose the cpu provider.",
        )
    asked = runtime_name(provider)
    strays = {
        f"{node.op_type} on {part.ep_name}"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != asked
        for node in part.get_nodes()
        if node.op_type not in _SHAPE_OPERATORS
    }
    return tuple(sorted(strays))


def reason_written(opening_text: str) -> str:
    """Why a provider fell back, from what ONNX Runtime logged meanwhile."""
    if "libcuda.so.1" in opening_text or "nvcuda.dll" in opening_text:
        return "no NVIDIA driver: libcuda.so.1 does not load"
    missing = _MISSING_LIBRARY.search(opening_text)
    if missing:
        return f"libraries of the provider are missing: {missing[1] or missing[2]}"
    said = _LOG_NOISE.sub("", opening_text).strip()
    return said.splitlines()[0] if said else "ONNX Runtime does not say"


def _first_line(error: Exception) -> str:
    """Without ONNX Runtime's `[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : ` before the sentence."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rsplit(" : ", 1)[-1]
