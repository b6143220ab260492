"""Convert a GGUF file to a model folder of ONNX Runtime GenAI. As a program, this module is the child
process that converts one file within a memory limit.

Only architectures whose graph is known exactly are converted. A file with a tensor or a setting that
the graph does not have is refused, because its responses would be wrong."""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.errors import UsageError
from app.inference.child import exit_with_parent, run_reporting_errors
from app.inference.generation.decoder_files import write_decoder
from app.inference.generation.decoder_shape import QUANTIZATION_BLOCK, DecoderShape, Floats, WeightBits
from app.inference.generation.gguf_conversion import MAX_CONTEXT, GgufJob
from app.inference.generation.gguf_tokenizer import TOKENIZER_KEYS, convert_tokenizer
from app.inference.inspection.gguf_file import GgufFile, Value, read_gguf
from app.inference.output_capture import capture_output
from app.inference.precision.conversion_records import limit_memory
from app.inference.tensor_spec import StoredTensor, printable
from loadgen.decoding import decode_json

_INTERLEAVED_BY_ARCHITECTURE = {"llama": True, "qwen2": False}
"""Supported architectures, and whether their rotary embedding rotates neighboring values."""
_EMBEDDING, _OUTPUT, _ROTARY_DIVISORS = "token_embd.weight", "output.weight", "rope_freqs.weight"
_FLOAT_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_MAX_COUNT = 10_000_000
_HINT = "Download the file again, or convert the original model with another tool."


def convert(job: GgufJob) -> None:
    """Write the model folder of a job. Raises UsageError, whose message names the file, if the file
    is not valid, or if its model or its tokenizer is not supported."""
    path = Path(job.source)
    file = read_gguf(path, TOKENIZER_KEYS)
    try:
        _write_folder(job, path, file)
    except UsageError as error:
        raise UsageError(f"{printable(path.name)} cannot be converted: {error}", hint=error.hint) from error


def _write_folder(job: GgufJob, path: Path, file: GgufFile) -> None:
    if len(file.files) > 1:
        raise UsageError(
            f"the model is split into {len(file.files)} files",
            hint="Join them with `llama-gguf-split --merge`, and set the path of the joined file.",
        )
    weights = GgufWeights(path, file)
    shape = _read_shape(file, weights, job.weight_bits)
    tokenizer = convert_tokenizer(file)
    tokens = len(tokenizer.tokenizer["model"]["vocab"])
    if tokens > shape.vocabulary:
        raise _build_error(f"it has {tokens} tokens, but embeddings for {shape.vocabulary}")
    write_decoder(Path(job.folder), shape, weights, tokenizer, job.paged_cache, weights.main_dtype)


class GgufWeights:
    """Weights of a GGUF file, dequantized one tensor at a time."""

    def __init__(self, path: Path, file: GgufFile) -> None:
        self._data: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        self._offsets = file.offsets
        self._tensors = {tensor.name: tensor for tensor in file.tensors}

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._tensors)

    @property
    def main_dtype(self) -> str:
        """Data type that stores most weights, such as Q4_1 or F16. A file of the quantization Q4_1 has
        other types in some tensors."""
        counts: Counter[str] = Counter()
        for tensor in self._tensors.values():
            counts[_FLOAT_TYPES.get(tensor.dtype, tensor.dtype)] += math.prod(tensor.shape)
        return max(counts, key=counts.__getitem__)

    def get_shape(self, name: str) -> tuple[int, ...] | None:
        tensor = self._tensors.get(name)
        return None if tensor is None else tensor.shape

    def load_matrix(self, name: str, rows: int, columns: int) -> Floats:
        stored_name = f"{name}.weight"
        if stored_name == _OUTPUT and _OUTPUT not in self._tensors:
            stored_name = _EMBEDDING
        return self._load(stored_name, rows, columns).reshape(columns, rows).T

    def load_bias(self, name: str, size: int) -> Floats:
        return self._load(f"{name}.bias", size)

    def load_norm(self, name: str, size: int) -> Floats:
        return self._load(f"{name}.weight", size)

    def load_embedding(self, vocabulary: int, hidden: int) -> Floats:
        return self._load(_EMBEDDING, hidden, vocabulary).reshape(vocabulary, hidden)

    def load_rotary_divisors(self, size: int) -> tuple[float, ...]:
        """Return the divisors of the rotary frequencies; an empty tuple if there are none."""
        if _ROTARY_DIVISORS not in self._tensors:
            return ()
        divisors = self._load(_ROTARY_DIVISORS, size)
        if not (np.isfinite(divisors).all() and (divisors > 0).all()):
            raise _build_error(f"tensor {_ROTARY_DIVISORS} has values that are not positive")
        return tuple(divisors.tolist())

    def _load(self, name: str, *shape: int) -> Floats:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise _build_error(f"it has no tensor {name}")
        if tensor.shape != shape:
            raise _build_error(f"tensor {name} has the shape {list(tensor.shape)}, but must have {list(shape)}")
        return self._dequantize(tensor)

    def _dequantize(self, tensor: StoredTensor) -> Floats:
        """Return the values of a tensor, in the order of the file."""
        import gguf

        start = self._offsets[tensor.name]
        data = self._data[start : start + tensor.size_bytes].reshape(math.prod(tensor.shape[1:]), -1)
        try:
            gguf_type = gguf.GGMLQuantizationType[_FLOAT_TYPES.get(tensor.dtype, tensor.dtype)]
            values = gguf.dequantize(np.ascontiguousarray(data), gguf_type)
        except (KeyError, NotImplementedError) as error:
            raise UsageError(
                f"tensor {printable(tensor.name)} has the data type {tensor.dtype}, which is not supported",
                hint="Use a file with another quantization of the model, such as Q8_0 or Q4_K_M.",
            ) from error
        return np.asarray(values, np.float32).reshape(-1)


class _Settings:
    """Settings in the metadata of a GGUF file that belong to its architecture."""

    def __init__(self, file: GgufFile) -> None:
        self._metadata = file.metadata
        self._architecture = file.metadata.get("general.architecture")
        if self._architecture not in _INTERLEAVED_BY_ARCHITECTURE:
            raise UsageError(
                "its metadata state no architecture"
                if self._architecture is None
                else f"the architecture {printable(str(self._architecture))} is not supported",
                hint=f"Supported architectures are {' and '.join(_INTERLEAVED_BY_ARCHITECTURE)}. Mistral, TinyLlama "
                "and SmolLM2 have the architecture llama.",
            )
        self.is_rotary_interleaved = _INTERLEAVED_BY_ARCHITECTURE[self._architecture]

    def get(self, key: str) -> Value | None:
        return self._metadata.get(f"{self._architecture}.{key}")

    def get_count(self, key: str, default: int | None = None) -> int:
        value = self.get(key)
        count = default if value is None else value
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MAX_COUNT:
            raise self._build_error(key)
        return count

    def get_number(self, key: str, default: float | None = None) -> float:
        """Return a positive number."""
        value = self.get(key)
        number = default if value is None else value
        if not isinstance(number, int | float) or not 0 < number < math.inf:
            raise self._build_error(key)
        return float(number)

    def require(self, key: str, *values: Value | None) -> None:
        """Raise UsageError if a setting has none of the values that the graph supports."""
        value = self.get(key)
        if value is not None and value not in values:
            raise UsageError(
                f"the setting {self._architecture}.{key} = {printable(str(value))} is not supported",
                hint="Convert the original model with the model builder of ONNX Runtime GenAI.",
            )

    def _build_error(self, key: str) -> UsageError:
        value = self.get(key)
        name = f"{self._architecture}.{key}"
        return _build_error(f"{name} is missing" if value is None else f"{name} is {printable(str(value))}")


def _read_shape(file: GgufFile, weights: GgufWeights, weight_bits: WeightBits) -> DecoderShape:
    settings = _Settings(file)
    hidden, heads = settings.get_count("embedding_length"), settings.get_count("attention.head_count")
    kv_heads = settings.get_count("attention.head_count_kv", heads)
    feed_forward = settings.get_count("feed_forward_length")
    if hidden % heads or heads % kv_heads or hidden // heads % 2:
        raise _build_error(f"{hidden} values cannot be divided among {heads} heads and {kv_heads} KV heads")
    head_dim = hidden // heads
    for key in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
        settings.require(key, head_dim)
    settings.require("rope.scaling.type", "none")
    settings.require("expert_count", 0)
    if weight_bits != 32 and (hidden % QUANTIZATION_BLOCK or feed_forward % QUANTIZATION_BLOCK):
        raise UsageError(
            f"the layers of the model have {hidden} and {feed_forward} values, which are not multiples of "
            f"{QUANTIZATION_BLOCK}",
            hint="Convert the model with 32 bits per weight.",
        )
    embedding_shape = weights.get_shape(_EMBEDDING)
    if embedding_shape is None or len(embedding_shape) != 2:
        raise _build_error(f"it has no tensor {_EMBEDDING}")
    shape = DecoderShape(
        layers=settings.get_count("block_count"),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        feed_forward=feed_forward,
        vocabulary=embedding_shape[1],
        context=min(settings.get_count("context_length"), MAX_CONTEXT),
        weight_bits=weight_bits,
        rotary_base=settings.get_number("rope.freq_base", 1e4),
        is_rotary_interleaved=settings.is_rotary_interleaved,
        rotary_divisors=weights.load_rotary_divisors(head_dim // 2),
        has_attention_bias="blk.0.attn_q.bias" in weights.names,
        norm_epsilon=settings.get_number("attention.layer_norm_rms_epsilon"),
        is_embedding_tied=_OUTPUT not in weights.names,
    )
    _check_names(weights.names, shape)
    return shape


def _check_names(names: frozenset[str], shape: DecoderShape) -> None:
    """Raise UsageError if a tensor is missing, or not part of the graph."""
    if shape.layers > len(names):  # Before as many names are listed.
        raise _build_error(f"it declares {shape.layers} layers, but has {len(names)} tensors")
    parts = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"]
    by_layer = [f"{part}.weight" for part in parts]
    if shape.has_attention_bias:
        by_layer += [f"{part}.bias" for part in ("attn_q", "attn_k", "attn_v")]
    required = {f"blk.{layer}.{part}" for layer in range(shape.layers) for part in by_layer}
    required |= {_EMBEDDING, "output_norm.weight"}
    missing = sorted(required - names)
    if missing:
        raise _build_error(f"it has no tensor {missing[0]}")
    unknown = sorted(names - required - {_OUTPUT, _ROTARY_DIVISORS})
    if unknown:
        raise UsageError(
            f"the tensor {printable(unknown[0])} is not supported",
            hint="Convert the original model with the model builder of ONNX Runtime GenAI.",
        )


def _build_error(reason: str) -> UsageError:
    return UsageError(reason, hint=_HINT)


def main() -> None:
    exit_with_parent()
    job = decode_json(sys.argv[1], GgufJob)
    limit_memory(Path(job.source).stat().st_size)
    name = printable(Path(job.source).name)
    try:
        with capture_output():
            convert(job)
    except MemoryError as error:
        raise UsageError(
            f"{name} cannot be converted: it needs far more memory than expected from its size", hint=_HINT
        ) from error
    except OSError as error:
        raise UsageError(
            f"{name} cannot be converted: {error.filename or job.folder}: {error.strerror}",
            hint="Check that the folder of the cache has free space.",
        ) from error


if __name__ == "__main__":
    sys.exit(run_reporting_errors(main))
