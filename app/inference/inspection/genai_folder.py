"""Read the architecture and the weights of a model for ONNX Runtime GenAI: a folder with
`genai_config.json`, ONNX models and their weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.inference.folder_file import find_file_in_folder
from app.inference.genai_config import GenaiConfig, GenaiDecoder, GenaiModel, GenaiWindow
from app.inference.inspection.bounded_json import read_json
from app.inference.inspection.known_counts import MAX_COUNT, KnownCounts
from app.inference.inspection.metadata import read_model_metadata
from app.inference.inspection.packed_weights import (
    count_packed_parameters,
    get_experts_per_token,
    list_expert_weights,
)
from app.inference.inspection.reading import build_steps, read_model
from app.inference.inspection.tensors import compute_size_bytes
from app.inference.model_file import check_model_file
from app.inference.tensor_spec import printable
from app.records.language_model import GENAI_CONFIG_NAME, Architecture, WeightTotals
from app.records.model import ExternalFile, ModelMetadata, ModelValue, ShapeOverrides

_KV_DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8",
              "float8e4m3fn": "fp8"}  # fmt: skip
_MAX_LAYERS = 10_000


class GenaiFolder(msgspec.Struct, frozen=True):
    """Files, weights and architecture of a model for ONNX Runtime GenAI."""

    files: tuple[ExternalFile, ...]
    weights: WeightTotals
    architecture: Architecture


class _Experts(msgspec.Struct, frozen=True):
    """Experts in the graph of a decoder: their number, the number that a token uses, and their
    parameters in all layers."""

    count: int
    per_token: int
    parameters: int


def find_model_files(folder: Path) -> tuple[Path, ...]:
    """Return the ONNX files that the configuration of a folder names, the decoder first. Raises
    UsageError if a file is missing or lies outside the folder."""
    return _find_files(folder, _read_model(folder))


def _read_model(folder: Path) -> GenaiModel:
    """Read the configuration of a folder. Raises UsageError if it is not valid."""
    model = read_json(folder, GENAI_CONFIG_NAME, GenaiConfig).model
    decoder, window = model.decoder, model.decoder.sliding_window
    counts = {
        "vocab_size": model.vocab_size,
        "context_length": model.context_length,
        "head_size": decoder.head_size,
        "hidden_size": decoder.hidden_size,
        "num_attention_heads": decoder.num_attention_heads,
        "num_hidden_layers": decoder.num_hidden_layers,
        "num_key_value_heads": decoder.num_key_value_heads,
        "sliding_window.window_size": None if window is None else window.window_size,
    }
    for key, count in counts.items():
        if isinstance(count, int) and not 0 <= count <= MAX_COUNT:
            raise UsageError(
                f"{GENAI_CONFIG_NAME} is not valid: {key} is not between 0 and {MAX_COUNT:,}",
                hint="Download the file again, or export the model again.",
            )
    return model


def _find_files(folder: Path, model: GenaiModel) -> tuple[Path, ...]:
    if model.decoder.pipeline is not None or model.decoder.filename is None:
        raise UsageError(
            f"the decoder in {GENAI_CONFIG_NAME} is not one ONNX file",
            hint="Export the model with a decoder in one file; pipelines of several files are not inspected.",
        )
    names = [model.decoder.filename]
    for component in (model.encoder, model.embedding, model.vision, model.speech):
        if component is not None and component.filename is not None and component.filename not in names:
            names.append(component.filename)
    for name in names:
        find_file_in_folder(folder, name, "its graph is")
        check_model_file(folder / name)
    return tuple(folder / name for name in names)


def read_genai_folder(folder: Path) -> GenaiFolder:
    """Read the configuration and the graphs of a folder. Raises UsageError if a file is not valid or
    not safe to open."""
    model = _read_model(folder)
    paths = _find_files(folder, model)
    parts = [read_model_metadata(path, ShapeOverrides()) for path in paths]
    known = KnownCounts()
    experts = _read_experts(paths[0]) if _has_experts(parts[0]) else None
    if experts is not None:
        known.set("experts", experts.count)
        known.set("experts_per_token", experts.per_token)
    elif _has_experts(parts[0]):
        known.reject("experts", "the experts of the layers differ, or their weights are not stored in the graph")
    return GenaiFolder(
        files=tuple(
            dict.fromkeys(
                file
                for path, part in zip(paths, parts, strict=True)
                for file in (
                    ExternalFile(printable(str(path.relative_to(folder))), part.size_bytes),
                    *part.external_files,
                )
            )
        ),
        weights=_sum_weights(parts, experts),
        architecture=_build_architecture(model, parts[0].inputs, known),
    )


def _has_experts(decoder: ModelMetadata) -> bool:
    return any(count.operator.removeprefix("com.microsoft.") in ("MoE", "QMoE") for count in decoder.operators)


def _read_experts(path: Path) -> _Experts | None:
    graph = read_model(path).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    steps = build_steps(graph)

    def compute_bytes(name: str) -> int | None:
        tensor = tensors.get(name)
        return None if tensor is None else compute_size_bytes(tensor.data_type, tuple(tensor.dims))

    packed_counts = count_packed_parameters(steps, compute_bytes)
    shapes = set()
    parameters = 0
    for step in steps:
        for name in list_expert_weights(step.node):
            if name not in tensors or not tensors[name].dims:
                return None
            parameters += packed_counts.get(name, math.prod(tensors[name].dims))
            shapes.add((tensors[name].dims[0], get_experts_per_token(step.node)))
    if len(shapes) != 1:
        return None
    count, per_token = shapes.pop()
    return _Experts(count, per_token, parameters) if 1 <= per_token <= count else None


def _sum_weights(parts: Sequence[ModelMetadata], experts: _Experts | None) -> WeightTotals:
    bytes_by_dtype: Counter[str] = Counter()
    for part in parts:
        bytes_by_dtype.update(part.parameters.bytes_by_dtype)
    return WeightTotals(
        tensors=None,
        parameters=sum(part.parameters.count for part in parts),
        expert_parameters=0 if experts is None else experts.parameters,
        draft_parameters=0,
        size_bytes=bytes_by_dtype.total(),
        bytes_by_dtype=dict(bytes_by_dtype.most_common()),
    )


def _build_architecture(model: GenaiModel, inputs: Sequence[ModelValue], known: KnownCounts) -> Architecture:
    decoder = model.decoder
    layers = known.read("layers", decoder.num_hidden_layers, "num_hidden_layers")
    known.read("hidden", decoder.hidden_size, "hidden_size")
    known.read("heads", decoder.num_attention_heads, "num_attention_heads")
    kv_heads = known.read("kv_heads", decoder.num_key_value_heads, "num_key_value_heads")
    head_dim = known.read("head_dim", decoder.head_size, "head_size")
    known.read("vocabulary", model.vocab_size, "vocab_size")
    known.read("context_tokens", model.context_length, "context_length")
    keys = _list_key_inputs(decoder, inputs, layers)
    known.set(
        "linear_layers",
        None if layers is None or not keys else layers - len(keys),
        "the decoder has no inputs with the names of the KV cache in the configuration",
    )
    wrong_key = next((key for key in keys if not _has_heads(key, kv_heads, head_dim)), None)
    if wrong_key is not None:
        known.missing["kv_cache"] = (
            f"the input {printable(wrong_key.name)} of the decoder does not have {kv_heads} heads of {head_dim} values"
        )
    _add_windows(decoder.sliding_window, layers, known)
    dtypes = {key.dtype for key in keys}
    return Architecture(
        name=None if model.type is None else printable(model.type),
        counts=known.counts,
        kv_dtype=_KV_DTYPES.get(dtypes.pop()) if len(dtypes) == 1 else None,
        missing=known.missing,
    )


def _add_windows(window: GenaiWindow | None, layers: int | None, known: KnownCounts) -> None:
    """Add the layers whose cache slides. Without a setting, the cache holds all tokens, even if a
    layer attends to a window."""
    if window is None or not window.slide_key_value_cache:
        known.set("window_layers", 0)
    elif layers is not None and known.read("window_tokens", window.window_size, "sliding_window.window_size"):
        windows = layers if window.layers is None else sum(0 <= layer < layers for layer in {*window.layers})
        known.set("window_layers", windows)
    else:
        known.set("window_layers", None, "the size of the sliding window is not in the configuration")


def _list_key_inputs(decoder: GenaiDecoder, inputs: Sequence[ModelValue], layers: int | None) -> list[ModelValue]:
    prefix, marker, suffix = decoder.inputs.past_key_names.partition("%d")
    if not marker or layers is None:
        return []
    by_name = {value.name: value for value in inputs}
    names = (f"{prefix}{number}{suffix}" for number in range(min(layers, _MAX_LAYERS)))
    return [by_name[name] for name in names if name in by_name]


def _has_heads(key: ModelValue, kv_heads: int | None, head_dim: int | None) -> bool:
    """Return whether an input for keys has heads of this number and size, on the second axis of a
    contiguous cache or the third axis of a paged one. Dynamic axes match any length."""
    if key.shape is None or len(key.shape) != 4:
        return False
    _, *head_axes, length = key.shape
    return any(isinstance(axis, str) or axis == kv_heads for axis in head_axes) and (
        isinstance(length, str) or length == head_dim
    )
