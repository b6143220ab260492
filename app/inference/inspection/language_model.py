"""Read the architecture and the weights of a language model from its files, without loading the
weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from app.errors import UsageError
from app.inference.inspection import gguf_architecture, huggingface_config
from app.inference.inspection.bounded_json import read_json
from app.inference.inspection.formats import find_language_model_format, report_unreadable
from app.inference.inspection.gguf_file import read_gguf
from app.inference.inspection.huggingface_config import CONFIG_NAME, HuggingFaceConfig
from app.inference.inspection.layer_tensors import sum_weights
from app.inference.inspection.safetensors_file import read_safetensors, read_safetensors_folder
from app.inference.tensor_spec import printable
from app.records.language_model import Architecture, LanguageModelFormat, LanguageModelMetadata, WeightTotals
from app.records.model import ExternalFile
from app.records.planning_inputs import LanguageModel

_MAX_HEADER_BYTES = 128 << 20
_GGUF_EXPERT = re.compile(r"_exps\.|ffn_(gate|up|down)\.\d+\.")
_HUGGING_FACE_EXPERT = re.compile(r"\.experts\.")
_GGUF_HEAD, _HUGGING_FACE_HEAD = "output.weight", "lm_head."
"""Names of the output head, which models with tied embeddings do not have."""
_REQUIRED_COUNTS = ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary", "window_layers", "linear_layers")


def estimate_header_bytes(path: Path) -> int:
    """Return an upper bound of the bytes that are read of a language model, for the limits of the
    process that reads it. Raises UsageError if the files of the model are not valid."""
    if find_language_model_format(path) == "genai":
        from app.inference.inspection.genai_folder import find_model_files

        return sum(file.stat().st_size for file in find_model_files(path))
    files = path.iterdir() if path.is_dir() else iter([path])
    return min(sum(file.stat().st_size for file in files if file.is_file()), _MAX_HEADER_BYTES)


def read_language_model(path: Path) -> LanguageModelMetadata:
    """Read the files of a language model. Raises UsageError if they are not valid or not safe to
    open."""
    with report_unreadable(path):
        return _read(path)


def _read(path: Path) -> LanguageModelMetadata:
    model_format = find_language_model_format(path)
    if model_format == "genai":
        from app.inference.inspection.genai_folder import read_genai_folder

        folder = read_genai_folder(path)
        return _build_metadata(path, model_format, None, folder.files, folder.weights, folder.architecture)
    if model_format == "gguf":
        file = read_gguf(path)
        architecture = gguf_architecture.build_architecture(file)
        weights = sum_weights(
            file.tensors,
            architecture.counts.get("layers"),
            lambda name: _GGUF_EXPERT.search(name) is not None,
            gguf_architecture.count_parameters,
        )
        is_tied = not any(tensor.name == _GGUF_HEAD for tensor in file.tensors)
        return _build_metadata(path, model_format, file.version, file.files, weights, architecture, is_tied)
    if model_format == "safetensors":
        return _read_safetensors(path)
    raise UsageError(f"{path.name} is no language model", hint="Set a GGUF file, a safetensors file or a folder.")


def _read_safetensors(path: Path) -> LanguageModelMetadata:
    is_folder = path.is_dir()
    weight_files = read_safetensors_folder(path) if is_folder else read_safetensors(path)
    folder = path if is_folder else path.parent
    if (folder / CONFIG_NAME).is_symlink() or (folder / CONFIG_NAME).exists():
        config = read_json(folder, CONFIG_NAME, HuggingFaceConfig)
        architecture = huggingface_config.build_architecture(config, weight_files.tensors)
        quantization = config.quantization
    else:
        reason = f"there is no {CONFIG_NAME} beside the weights"
        architecture = Architecture(
            name=None,
            counts={},
            kv_dtype=None,
            missing=dict.fromkeys((*_REQUIRED_COUNTS, "name", "context_tokens", "experts"), reason),
        )
        quantization = None
    weights = sum_weights(
        weight_files.tensors,
        architecture.counts.get("layers"),
        lambda name: _HUGGING_FACE_EXPERT.search(name) is not None,
        lambda tensor: huggingface_config.count_parameters(tensor, quantization),
    )
    is_tied = not any(_HUGGING_FACE_HEAD in tensor.name for tensor in weight_files.tensors)
    return _build_metadata(path, "safetensors", None, weight_files.files, weights, architecture, is_tied)


def _build_metadata(
    path: Path,
    model_format: LanguageModelFormat,
    version: int | None,
    files: tuple[ExternalFile, ...],
    weights: WeightTotals,
    architecture: Architecture,
    is_tied: bool = False,
) -> LanguageModelMetadata:
    counts = architecture.counts
    _check_counts(counts)
    missing = dict(architecture.missing)
    if weights.parameters is None:
        missing["parameters"] = "the layout of the packed weights is unknown"
    active_parameters = _count_active_parameters(counts, weights, missing)
    return LanguageModelMetadata(
        name=printable(path.absolute().name),
        format=model_format,
        version=version,
        files=files,
        weights=weights,
        architecture=architecture,
        active_parameters=active_parameters,
        language_model=_build_language_model(counts, weights, active_parameters, missing, is_tied),
        missing=missing,
    )


def _check_counts(counts: Mapping[str, int]) -> None:
    """Raise UsageError for numbers that contradict each other."""
    for part, whole in (("kv_heads", "heads"), ("experts_per_token", "experts")):
        if part in counts and whole in counts and counts[part] > counts[whole]:
            raise UsageError(
                f"the model's configuration is not valid: {part} is {counts[part]:,}, but {whole} is {counts[whole]:,}",
                hint="Download the file again, or export the model again.",
            )


def _count_active_parameters(counts: Mapping[str, int], weights: WeightTotals, missing: dict[str, str]) -> int | None:
    if weights.parameters is None:
        missing["active_parameters"] = missing["parameters"]
        return None
    main_parameters = weights.parameters - weights.draft_parameters
    if "experts" not in counts and "experts" not in missing and not weights.expert_parameters:
        return main_parameters
    if "experts" not in counts or "experts_per_token" not in counts:
        missing["active_parameters"] = missing.get(
            "experts", missing.get("experts_per_token", "the configuration does not state the number of experts")
        )
        return None
    if not weights.expert_parameters:
        missing["active_parameters"] = "no tensor has a name that is known for experts"
        return None
    idle_experts = counts["experts"] - counts["experts_per_token"]
    return main_parameters - weights.expert_parameters * idle_experts // counts["experts"]


def _build_language_model(
    counts: Mapping[str, int],
    weights: WeightTotals,
    active_parameters: int | None,
    missing: Mapping[str, str],
    is_tied: bool,
) -> LanguageModel | None:
    """Return the architecture for planning; `None` if a number that planning needs is unknown."""
    if weights.parameters is None or "kv_cache" in missing or not counts.keys() >= {*_REQUIRED_COUNTS}:
        return None
    has_experts = "experts" in counts
    return LanguageModel(
        parameters=float(weights.parameters),
        active_parameters=float(active_parameters) if has_experts and active_parameters is not None else None,
        tied_embeddings=is_tied,
        **counts,
    )
