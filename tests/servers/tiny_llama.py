"""A language model of a few thousand random numbers, in the format that llama.cpp reads."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, HEADS, INNER, CONTEXT = 32, 2, 64, 2048
SPECIAL = (("<unk>", gguf.TokenType.UNKNOWN), ("<s>", gguf.TokenType.CONTROL), ("</s>", gguf.TokenType.CONTROL))
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CHAT = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def write_tiny_llama(path: Path) -> None:
    vocabulary = _vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_vocab_size(len(vocabulary))
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in vocabulary])
    writer.add_token_scores([-float(rank) for rank in range(len(vocabulary))])
    writer.add_token_types([kind for _, kind in vocabulary])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT)
    for name, array in _weights(len(vocabulary)).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary() -> list[tuple[str, gguf.TokenType]]:
    """Words of two letters beside the bytes, so that most of what is drawn reads as text."""
    single = [(f"<0x{byte:02X}>", gguf.TokenType.BYTE) for byte in range(256)]
    words = [(f"▁{first}{second}", gguf.TokenType.NORMAL) for first in LETTERS for second in LETTERS]
    return [*SPECIAL, *single, *words, *((letter, gguf.TokenType.NORMAL) for letter in ("▁", *LETTERS))]


def _weights(words: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)

    def drawn(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    output = drawn(words, WIDTH)
    output[2] = 0  # the end is never the likeliest, so an answer has as many tokens as it may
    ones = np.ones(WIDTH, np.float32)
    return {
        "token_embd.weight": drawn(words, WIDTH),
        "output_norm.weight": ones,
        "output.weight": output,
        "blk.0.attn_norm.weight": ones,
        "blk.0.ffn_norm.weight": ones,
        **{f"blk.0.attn_{part}.weight": drawn(WIDTH, WIDTH) / 6 for part in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": drawn(INNER, WIDTH) / 6,
        "blk.0.ffn_up.weight": drawn(INNER, WIDTH) / 6,
        "blk.0.ffn_down.weight": drawn(WIDTH, INNER) / 8,
    }
