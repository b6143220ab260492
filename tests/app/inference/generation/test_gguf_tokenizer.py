import json
from pathlib import Path
from typing import Any

import onnxruntime_genai as genai
import pytest
from tokenizers import Tokenizer

from app.errors import UsageError
from app.inference.generation.decoder_files import DecoderTokenizer, build_byte_tokenizer
from app.inference.generation.gguf_tokenizer import TOKENIZER_KEYS, convert_tokenizer
from app.inference.inspection.gguf_file import read_gguf
from tests.fakes import decoders
from tests.fakes.gguf_decoders import plain_shape, write_plain

BYTES = tuple(build_byte_tokenizer(decoders.shape(vocabulary=259)).tokenizer["model"]["vocab"])
MERGES = ("1 2", "12 3", "123 4", "1234 5", "Ġ a", "' S", "Ġ Ġ", "Ċ Ċ")


def build_byte_level_metadata(
    pre: str, merges: tuple[str, ...] = MERGES, joined: tuple[str, ...] = MERGES
) -> dict[str, Any]:
    """Return the metadata of a tokenizer with these merges and merged tokens, and one user-defined token."""
    tokens = [*BYTES, *(pair.replace(" ", "") for pair in joined)]
    return {
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [*tokens, "<tool>"],
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(tokens) - 3) + [4],
        "tokenizer.ggml.merges": list(merges),
    }


TEXT = "12345 a'S  x\n\n<s><tool>é"
ENDING = ["ĊĊ", "<s>", "<tool>", "Ã", "©"]
EXPECTED = {
    "gpt-2": ["12345", "Ġa", "'", "S", "Ġ", "Ġ", "x", *ENDING],
    "smollm": ["1", "2", "3", "4", "5", "Ġa", "'", "S", "Ġ", "Ġ", "x", *ENDING],
    "llama-bpe": ["123", "4", "5", "Ġa", "'S", "Ġ", "Ġ", "x", *ENDING],
    "qwen2": ["1", "2", "3", "4", "5", "Ġa", "'S", "Ġ", "Ġ", "x", *ENDING],
}  # fmt: skip
"""Tokens of the text by pre-tokenizer; these differ in how they split digits and contractions."""

PIECES = {"▁": -9, "a": -8, "b": -7, "c": -6, "ab": -3, "bc": -1, "▁a": -2, "▁ab": -5, "n": -6, "<tool>": 0}
SENTENCEPIECE = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.pre": None,
    "tokenizer.ggml.merges": None,
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES],
    "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * 9 + [4],
    "tokenizer.ggml.scores": [0.0] * 259 + [float(score) for score in PIECES.values()],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.padding_token_id": None,
}


def convert_gguf_tokenizer(folder: Path, changes: dict[str, Any]) -> DecoderTokenizer:
    return convert_tokenizer(read_gguf(write_plain(folder / "model.gguf", changes), TOKENIZER_KEYS))


def open_both(folder: Path, changes: dict[str, Any]) -> tuple[Any, Tokenizer]:
    """Open a tokenizer in ONNX Runtime GenAI, and in the library whose files it reads."""
    tokenizer = convert_gguf_tokenizer(folder, changes)
    model = decoders.contiguous(folder / "model")
    (model / "tokenizer.json").write_text(json.dumps(tokenizer.tokenizer))
    (model / "tokenizer_config.json").write_text(json.dumps(tokenizer.settings))
    return genai.Tokenizer(genai.Model(str(model))), Tokenizer.from_file(str(model / "tokenizer.json"))


def test_byte_level_tokenizer_of_a_gguf_is_converted_unchanged(tmp_path: Path) -> None:
    original, tokenizer = build_byte_tokenizer(plain_shape()), convert_gguf_tokenizer(tmp_path, {})
    assert tokenizer.tokenizer["model"].pop("ignore_merges") is False
    assert tokenizer.tokenizer == original.tokenizer
    assert tokenizer.settings["chat_template"] == original.settings["chat_template"]
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 1, 2)


@pytest.mark.parametrize("pre", EXPECTED)
def test_converted_tokenizer_splits_text_like_its_pre_tokenizer(tmp_path: Path, pre: str) -> None:
    merges = MERGES[4:] if pre == "smollm" else MERGES  # Its vocabulary has no tokens of several digits.
    opened, reference = open_both(tmp_path, build_byte_level_metadata(pre, merges, merges))
    ids = [int(token) for token in opened.encode(TEXT)]
    assert [reference.id_to_token(token) for token in ids] == EXPECTED[pre]
    assert reference.encode(TEXT, add_special_tokens=False).ids == ids
    assert opened.decode(opened.encode("12345 é\n")) == "12345 é\n"


def test_llama_3_tokens_without_merges_are_encoded(tmp_path: Path) -> None:
    opened, reference = open_both(tmp_path, build_byte_level_metadata("llama-bpe", merges=("1 2", "Ġ a")))
    assert reference.encode("123 a").tokens == ["123", "Ġa"]
    assert list(opened.encode("123 a")) == reference.encode("123 a").ids


def test_sentencepiece_tokens_are_merged_by_score(tmp_path: Path) -> None:
    opened, reference = open_both(tmp_path, SENTENCEPIECE)
    ids = [int(token) for token in opened.encode("abc ab é<tool>")]
    assert [reference.id_to_token(token) for token in ids][:7] == ["▁a", "bc", "▁ab", "▁", "<0xC3>", "<0xA9>", "<tool>"]
    assert reference.encode("abc ab é", add_special_tokens=False).ids == ids[:6]
    assert reference.encode("abc").tokens[0] == "<s>"
    assert opened.decode(opened.encode("abc ban é")).strip() == "abc ban é"
    assert opened.eos_token_ids.tolist() == [1], "the end token of the model folder"


def test_space_prefix_and_bos_settings_are_converted(tmp_path: Path) -> None:
    unprefixed = SENTENCEPIECE | {"tokenizer.ggml.add_space_prefix": False, "tokenizer.ggml.add_bos_token": False}
    opened, reference = open_both(tmp_path, unprefixed)
    assert reference.encode("ab").tokens == ["ab"]
    assert list(opened.encode("ab")) == reference.encode("ab").ids
    assert convert_gguf_tokenizer(tmp_path, SENTENCEPIECE).settings["add_bos_token"] is True
    assert convert_gguf_tokenizer(tmp_path, {}).settings["add_bos_token"] is False
    assert convert_gguf_tokenizer(tmp_path, SENTENCEPIECE).pad_id == 2, "the end token is used for padding"


REJECTED_METADATA: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"tokenizer.ggml.model": "bert"}, "the tokenizer is bert, which is not supported"),
    "no kind": ({"tokenizer.ggml.model": None}, "the tokenizer is not stated"),
    "pre": ({"tokenizer.ggml.pre": "tekken"}, "the pre-tokenizer is tekken, which is not supported"),
    "no pre": ({"tokenizer.ggml.pre": None}, "the pre-tokenizer is not stated"),
    "no tokens": ({"tokenizer.ggml.tokens": None}, r"tokenizer\.ggml\.tokens is not a list of texts"),
    "numbers": ({"tokenizer.ggml.tokens": [1, 2]}, r"tokenizer\.ggml\.tokens is not a list of texts"),
    "types": ({"tokenizer.ggml.token_type": [1, 2]}, r"token_type has not one number per token"),
    "merge": ({"tokenizer.ggml.merges": ["e t", "et"]}, "the merge 'et' does not join two tokens to a third"),
    "unknown": ({"tokenizer.ggml.merges": ["e ☃"]}, "the merge 'e ☃' does not join"),
    "end": ({"tokenizer.ggml.eos_token_id": 512}, r"tokenizer\.ggml\.eos_token_id is 512"),
    "no end": ({"tokenizer.ggml.eos_token_id": None}, r"tokenizer\.ggml\.eos_token_id is not stated"),
    "no scores": (SENTENCEPIECE | {"tokenizer.ggml.scores": None}, "its tokens have no scores"),
    "scores": (SENTENCEPIECE | {"tokenizer.ggml.scores": [1.0]}, "scores has not one number per token"),
    "no unknown": (SENTENCEPIECE | {"tokenizer.ggml.token_type": [3] * 269}, "no token for unknown characters"),
}  # fmt: skip


@pytest.mark.parametrize("name", REJECTED_METADATA)
def test_gguf_with_unsupported_tokenizer_is_rejected(tmp_path: Path, name: str) -> None:
    changes, message = REJECTED_METADATA[name]
    with pytest.raises(UsageError, match=message):
        convert_gguf_tokenizer(tmp_path, changes)
