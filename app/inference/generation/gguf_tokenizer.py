"""Convert the tokenizer of a GGUF file to the files that ONNX Runtime GenAI reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.errors import UsageError
from app.inference.generation.decoder_files import DecoderTokenizer, build_special_token
from app.inference.inspection.gguf_file import GgufFile, Value
from app.inference.tensor_spec import printable

_PREFIX = "tokenizer.ggml."
_TOKENS, _TYPES, _SCORES, _MERGES = (f"{_PREFIX}{key}" for key in ("tokens", "token_type", "scores", "merges"))
_CHAT_TEMPLATE = "tokenizer.chat_template"
TOKENIZER_KEYS = frozenset({_TOKENS, _TYPES, _SCORES, _MERGES, _CHAT_TEMPLATE})
"""Keys of the metadata of a tokenizer whose values may be long."""
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
_BYTE_LEVEL, _SENTENCEPIECE = "gpt2", "llama"
_SPACE = "▁"
_HINT = "Download the file again, or convert the original model with another tool."

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _split(digits: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": _WORDS % digits}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, {**_BYTES, "use_regex": False}]}


_LLAMA_3, _QWEN_2 = _split(r"\p{N}{1,3}"), _split(r"\p{N}")
_PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt-2": _BYTES,
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTES]},
    "llama-bpe": _LLAMA_3,
    "llama-v3": _LLAMA_3,
    "llama3": _LLAMA_3,
    "qwen2": _QWEN_2,
    "deepseek-r1-qwen": _QWEN_2,
}
"""Pre-tokenizers of byte-level BPE, by `tokenizer.ggml.pre`. ONNX Runtime GenAI knows only these
patterns. It does not split digits itself, but the vocabulary of SmolLM has no tokens of several
digits."""


def convert_tokenizer(file: GgufFile) -> DecoderTokenizer:
    """Convert the tokenizer in the metadata of a GGUF file. Raises UsageError if it is not valid or
    not supported."""
    tokens = _list_texts(file, _TOKENS)
    types = _list_numbers(file, _TYPES, len(tokens)) or [_NORMAL] * len(tokens)
    kind = file.metadata.get(f"{_PREFIX}model")
    if kind == _BYTE_LEVEL:
        tokenizer, tokenizer_class = _build_byte_level(file, tokens), "GPT2Tokenizer"
    elif kind == _SENTENCEPIECE:
        tokenizer, tokenizer_class = _build_sentencepiece(file, tokens, types), "LlamaTokenizer"
    else:
        raise UsageError(
            f"the tokenizer is {_describe(kind)}, which is not supported",
            hint=f"Supported tokenizers are {_BYTE_LEVEL} (byte-level BPE) and {_SENTENCEPIECE} (SentencePiece).",
        )
    eos_id = _find_id(file, "eos", len(tokens), None)
    bos_id = _find_id(file, "bos", len(tokens), eos_id)
    pad_id = _find_id(file, "padding", len(tokens), eos_id)
    added = {index: token for index, token in enumerate(tokens) if types[index] in (_CONTROL, _USER_DEFINED, _UNKNOWN)}
    added |= {index: tokens[index] for index in (bos_id, eos_id, pad_id)}
    tokenizer["added_tokens"] = [
        build_special_token(index, token) | {"special": types[index] != _USER_DEFINED}
        for index, token in sorted(added.items())
    ]
    is_bos_added = file.metadata.get(f"{_PREFIX}add_bos_token", kind == _SENTENCEPIECE) is True
    if is_bos_added:
        tokenizer["post_processor"] = _build_bos_template(tokens[bos_id], bos_id)
    settings: dict[str, Any] = {
        "tokenizer_class": tokenizer_class,
        "bos_token": tokens[bos_id],
        "eos_token": tokens[eos_id],
        "pad_token": tokens[pad_id],
        "add_bos_token": is_bos_added,
    }
    chat_template = file.metadata.get(_CHAT_TEMPLATE)
    if isinstance(chat_template, str):
        settings["chat_template"] = chat_template
    return DecoderTokenizer(tokenizer=tokenizer, settings=settings, bos_id=bos_id, eos_id=eos_id, pad_id=pad_id)


def _build_byte_level(file: GgufFile, tokens: Sequence[str]) -> dict[str, Any]:
    name = file.metadata.get(f"{_PREFIX}pre")
    pre_tokenizer = _PRE_TOKENIZERS.get(name) if isinstance(name, str) else None
    if pre_tokenizer is None:
        raise UsageError(
            f"the pre-tokenizer is {_describe(name)}, which is not supported",
            hint=f"Supported pre-tokenizers are {', '.join(_PRE_TOKENIZERS)}.",
        )
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = [merge.split(" ") for merge in _list_texts(file, _MERGES)]
    for parts in merges:
        if len(parts) != 2 or not {*parts, "".join(parts)} <= vocabulary.keys():
            raise _build_error(f"the merge {printable(' '.join(parts))!r} does not join two tokens to a third")
    model = {
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": pre_tokenizer is _LLAMA_3,
        "vocab": vocabulary,
        "merges": merges,
    }
    return _build_tokenizer(model, normalizer=None, pre_tokenizer=pre_tokenizer, decoder=_BYTES)


def _build_sentencepiece(file: GgufFile, tokens: Sequence[str], types: Sequence[float]) -> dict[str, Any]:
    """Build BPE whose merges have the order of the scores, with a token per byte for characters that
    have none."""
    scores = _list_numbers(file, _SCORES, len(tokens))
    if not scores:
        raise _build_error("its tokens have no scores")
    unknown = next((token for token, kind in zip(tokens, types, strict=True) if kind == _UNKNOWN), None)
    if unknown is None:
        raise _build_error("it has no token for unknown characters")
    has_prefix = file.metadata.get(f"{_PREFIX}add_space_prefix", True) is True
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    restore = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    prepend = [{"type": "Prepend", "prepend": _SPACE}] if has_prefix else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if has_prefix else []
    model = {
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {token: index for index, token in enumerate(tokens)},
        "merges": _list_merges(tokens, types, scores),
    }
    return _build_tokenizer(
        model,
        normalizer={"type": "Sequence", "normalizers": [*prepend, replace]},
        pre_tokenizer=None,
        decoder={"type": "Sequence", "decoders": [restore, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
    )


def _list_merges(tokens: Sequence[str], types: Sequence[float], scores: Sequence[float]) -> list[list[str]]:
    """Return all pairs of tokens that join to a token, those with the highest scores first."""
    ids = {token: index for index, token in enumerate(tokens) if types[index] == _NORMAL}
    merges = []
    for token, index in ids.items():
        pairs = [(token[:end], token[end:]) for end in range(1, len(token))]
        known = [(ids[left], ids[right], left, right) for left, right in pairs if left in ids and right in ids]
        merges += [(-scores[index], index, *pair) for pair in known]
    return [[left, right] for *_, left, right in sorted(merges)]


def _build_tokenizer(model: dict[str, Any], **stages: dict[str, Any] | None) -> dict[str, Any]:
    unused = dict.fromkeys(("truncation", "padding", "post_processor"))
    return {"version": "1.0", **unused, **stages, "model": {"type": "BPE", "dropout": None, **model}}


def _build_bos_template(token: str, index: int) -> dict[str, Any]:
    """Build the step that puts a token before each text."""
    first: dict[str, Any] = {"Sequence": {"id": "A", "type_id": 0}}
    second: dict[str, Any] = {"Sequence": {"id": "B", "type_id": 1}}
    start: dict[str, Any] = {"SpecialToken": {"id": token, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [start, first],
        "pair": [start, first, second],
        "special_tokens": {token: {"id": token, "ids": [index], "tokens": [token]}},
    }


def _find_id(file: GgufFile, name: str, count: int, default: int | None) -> int:
    key = f"{_PREFIX}{name}_token_id"
    index = file.metadata.get(key, default)
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
        raise _build_error(f"{key} is {_describe(index)}")
    return index


def _list_texts(file: GgufFile, key: str) -> list[str]:
    values = file.metadata.get(key)
    texts = [value for value in values if isinstance(value, str)] if isinstance(values, tuple) else []
    if not isinstance(values, tuple) or not values or len(texts) != len(values):
        raise _build_error(f"{key} is not a list of texts")
    return texts


def _list_numbers(file: GgufFile, key: str, count: int) -> list[float]:
    """Return a number per token; an empty list if the key is absent."""
    values = file.metadata.get(key)
    if values is None:
        return []
    numbers = [value for value in values if isinstance(value, int | float)] if isinstance(values, tuple) else []
    if len(numbers) != count:
        raise _build_error(f"{key} has not one number per token")
    return numbers


def _describe(value: Value | None) -> str:
    return "not stated" if value is None else printable(str(value))


def _build_error(reason: str) -> UsageError:
    return UsageError(f"its tokenizer is not valid: {reason}", hint=_HINT)
