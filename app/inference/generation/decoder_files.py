"""Write a decoder as a model folder of ONNX Runtime GenAI: graph, configuration and tokenizer."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from app.inference.generation.decoder_graph import WeightsFile, build_contiguous_decoder, build_paged_decoder
from app.inference.generation.decoder_shape import DecoderShape, PagedCache, RandomWeights, Weights
from app.records.language_model import GENAI_CONFIG_NAME

MODEL_FILE = "model.onnx"
SOURCE_DTYPE_KEY = "sizewise.source_dtype"
"""Key in the metadata of a graph whose weights were read from a file of another format. The value is
the data type of most of them there, such as Q4_1."""
_WEIGHTS_FILE = f"{MODEL_FILE}.data"
_MAX_EMBEDDED_BYTES = 2**27
"""Size of the weights in bytes from which they are stored in a file of their own, so that they need
not all be in memory, and because protobuf is limited to 2 GiB."""


class DecoderTokenizer(msgspec.Struct, frozen=True, kw_only=True):
    """Tokenizer of a decoder: the contents of `tokenizer.json` and `tokenizer_config.json`, and the
    IDs of the special tokens."""

    tokenizer: dict[str, Any]
    settings: dict[str, Any]
    bos_id: int
    eos_id: int
    pad_id: int


def write_random_decoder(folder: Path, shape: DecoderShape, seed: int, cache: PagedCache | None = None) -> None:
    """Write a decoder with random weights and a byte-level tokenizer. The decoder is paged if
    `cache` is set, and otherwise contiguous; both kinds have equal weights for equal seeds."""
    write_decoder(folder, shape, RandomWeights(seed), build_byte_tokenizer(shape), cache)


def write_decoder(
    folder: Path,
    shape: DecoderShape,
    weights: Weights,
    tokenizer: DecoderTokenizer,
    cache: PagedCache | None = None,
    source_dtype: str | None = None,
) -> None:
    """Write a decoder to `folder`, which is created if it does not exist. `source_dtype` is the data
    type of most weights in the file from which they were read; `None` if there is no such file."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        weights_file = None
        if shape.weight_bytes > _MAX_EMBEDDED_BYTES:
            weights_file = WeightsFile(_WEIGHTS_FILE, stack.enter_context((folder / _WEIGHTS_FILE).open("wb")))
        model = (
            build_contiguous_decoder(shape, weights, weights_file)
            if cache is None
            else build_paged_decoder(shape, cache, weights, weights_file)
        )
    if source_dtype is not None:
        model.metadata_props.add(key=SOURCE_DTYPE_KEY, value=source_dtype)
    (folder / MODEL_FILE).write_bytes(model.SerializeToString())
    for name, content in (
        (GENAI_CONFIG_NAME, _build_config(shape, tokenizer, cache)),
        ("tokenizer.json", tokenizer.tokenizer),
        ("tokenizer_config.json", tokenizer.settings),
    ):
        (folder / name).write_bytes(msgspec.json.encode(content))


def _build_config(shape: DecoderShape, tokenizer: DecoderTokenizer, cache: PagedCache | None) -> dict[str, Any]:
    input_names = (
        ("input_ids", "attention_mask")
        if cache is None
        else (
            "input_ids",
            "block_table",
            "cumulative_sequence_lengths",
            "past_sequence_lengths",
            "attention_metadata",
        )
    )
    decoder: dict[str, Any] = {
        "session_options": {"log_id": "decoder", "provider_options": []},
        "filename": MODEL_FILE,
        "head_size": shape.head_dim,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "inputs": {name: name for name in input_names}
        | {"past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"},
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }
    config: dict[str, Any] = {
        "model": {
            "type": "llama",
            "bos_token_id": tokenizer.bos_id,
            "eos_token_id": tokenizer.eos_id,
            "pad_token_id": tokenizer.pad_id,
            "vocab_size": shape.vocabulary,
            "context_length": shape.context,
            "decoder": decoder,
        },
        "search": {"max_length": shape.context, "do_sample": False, "past_present_share_buffer": cache is None},
    }
    if cache is not None:
        decoder["state_groups"] = [{"kind": "paged_kv", "layer_ids": list(range(shape.layers))}]
        config["engine"] = {
            "dynamic_batching": {
                "block_size": cache.block_tokens,
                "num_blocks": cache.blocks,
                "max_batch_size": cache.max_batch,
                "max_scheduled_tokens": cache.max_step_tokens,
                "prefix_caching": cache.caches_prefixes,
            }
        }
    return config


_BOS, _EOS, _PAD = "<s>", "</s>", "<pad>"
_SPECIAL_TOKENS = (_BOS, _EOS, _PAD)
_LETTERS = "etaoinshrdlcumwfgypbvkjxqz"
_SPACE = "Ġ"
MIN_VOCABULARY = len(_SPECIAL_TOKENS) + 256
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<s>' + message['role'] + '\n' + message['content'] + '</s>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)


def build_byte_tokenizer(shape: DecoderShape) -> DecoderTokenizer:
    """Build a byte-level BPE tokenizer with exactly `shape.vocabulary` tokens, at least 259: three
    special tokens, one token per byte, and then pairs and triples of letters."""
    symbols = _list_byte_symbols()
    tokens = {token: index for index, token in enumerate((*_SPECIAL_TOKENS, *symbols))}
    merges: list[list[str]] = []
    pairs = [(first, second) for first in (_SPACE, *_LETTERS) for second in _LETTERS]
    triples = [(first + second, third) for first, second in pairs for third in _LETTERS]
    for left, right in [*pairs, *triples][: max(0, shape.vocabulary - len(tokens))]:
        tokens[left + right] = len(tokens)
        merges.append([left, right])
    while len(tokens) < shape.vocabulary:
        tokens[f"<unused{len(tokens)}>"] = len(tokens)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [build_special_token(index, token) for index, token in enumerate(_SPECIAL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": tokens,
            "merges": merges,
        },
    }
    settings = {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": _BOS,
        "eos_token": _EOS,
        "pad_token": _PAD,
        "add_bos_token": False,
        "model_max_length": shape.context,
        "chat_template": _CHAT_TEMPLATE,
    }
    bos_id, eos_id, pad_id = range(len(_SPECIAL_TOKENS))
    return DecoderTokenizer(tokenizer=tokenizer, settings=settings, bos_id=bos_id, eos_id=eos_id, pad_id=pad_id)


def build_special_token(index: int, token: str) -> dict[str, Any]:
    """Return the entry of a special token in `tokenizer.json`."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": token, "special": True, **flags}


def _list_byte_symbols() -> list[str]:
    """Return the symbol of each byte in byte-level BPE, as in GPT-2: printable bytes stand for
    themselves, and all others for the characters from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
