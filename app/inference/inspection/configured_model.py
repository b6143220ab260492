"""Shape of a language model for planning, from its configuration alone."""

from __future__ import annotations

import msgspec

from app.errors import UsageError
from app.inference.inspection.bounded_json import decode
from app.inference.inspection.huggingface_config import HuggingFaceConfig, build_architecture
from app.inference.inspection.parameter_count import MissingKeysError, count_parameters, has_tied_embeddings
from app.inference.tensor_spec import printable
from app.records.planning_inputs import MAX_LAYERS, LanguageModel

_REQUIRED_COUNTS = ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary", "window_layers")
_SHAPE_HINT = "Describe the model with the keys of language_model, such as parameters and layers."


def read_configured_model(content: bytes, name: str) -> tuple[LanguageModel, str | None]:
    """Return the shape that the content of the file `name`, a `config.json`, determines, and the data type of its
    quantized weights; `None` if they are not quantized or it is not stated. Raises UsageError if the file is not valid,
    if keys are missing, or if its architecture is not known."""
    return build_shape(decode(content, HuggingFaceConfig, name), name), read_weight_dtype(content, name)


def read_weight_dtype(content: bytes, name: str) -> str | None:
    """Return the data type of the quantized weights that the content of the file `name`, a `config.json`, states;
    `None` if it states none. Raises UsageError if the file is not valid."""
    quantization = decode(content, HuggingFaceConfig, name).quantization
    return None if quantization is None else quantization.weight_dtype


def build_shape(config: HuggingFaceConfig, name: str) -> LanguageModel:
    """Return the shape that a configuration from the file `name` determines. Raises UsageError if it does not."""
    config = config.fill_in_defaults()
    decoder = config.decoder
    architecture = build_architecture(config, ())
    counts, missing = dict(architecture.counts), architecture.missing
    unknown = [key for key in _REQUIRED_COUNTS if key not in counts]
    if unknown:
        reasons = "; ".join(dict.fromkeys(missing[key] for key in unknown if key in missing))
        raise UsageError(f"{name} does not describe the whole model: {reasons}", hint=_SHAPE_HINT)
    if counts["layers"] > MAX_LAYERS:
        raise UsageError(
            f"{name} has {counts['layers']:,} layers, above the maximum of {MAX_LAYERS:,}",
            hint="Check num_hidden_layers.",
        )
    if "kv_cache" in missing:
        raise UsageError(f"the KV cache of the model in {name} is unknown: {missing['kv_cache']}", hint=_SHAPE_HINT)
    counts.setdefault("linear_layers", 0)  # without tensors, only the kinds of layers tell of layers without attention
    try:
        parameters = count_parameters(decoder, counts)
    except MissingKeysError as error:
        raise UsageError(f"{name} lacks {', '.join(error.keys)}", hint=_SHAPE_HINT) from error
    if parameters is None:
        raise UsageError(
            f"the parameters of the model in {name} cannot be counted, because its model_type "
            f"{printable(repr(decoder.model_type))} is not known",
            hint=_SHAPE_HINT,
        )
    return msgspec.convert(
        counts
        | {
            "parameters": parameters.total,
            "active_parameters": parameters.active if "experts" in counts else None,
            "tied_embeddings": has_tied_embeddings(decoder),
        },
        LanguageModel,
        strict=False,
    )
