import re
import sys
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tokenizers

from loadgen.payloads.texts import WORDS, CountTokens, TextGenerator, TokenizerError, load_token_counter
from loadgen.protocols.openai_bodies import decode_response


def write_tokenizer(folder: Path) -> Path:
    """Write a tokenizer with one token per word that adds special tokens around a text."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "[BOS]": 2}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing("[BOS] $A", special_tokens=[("[BOS]", 2)])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_special_tokens_are_not_counted(tmp_path: Path) -> None:
    count = load_token_counter(str(write_tokenizer(tmp_path)))
    assert [count(text) for text in ("", "a", "a b a b a b ☃")] == [0, 1, 7]


def test_invalid_tokenizer_file_is_rejected_with_hint(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    for content in (b"", b"{}", b"\xff\xfe", b"[" * 1000, b'{"version": "1.0", "model": {"type": "BPE"}}'):
        wrong.write_bytes(content)
        with pytest.raises(TokenizerError, match=r"wrong\.json cannot be read as a tokenizer") as error:
            load_token_counter(str(wrong))
        assert error.value.hint == "Use the model's tokenizer.json."
        assert "\n" not in str(error.value)


def test_missing_or_special_tokenizer_file_is_rejected(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(TokenizerError, match="cannot be read"):
            load_token_counter(str(path))


def test_tokenizer_file_larger_than_256_mib_is_rejected(tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(257 * 2**20)
    with pytest.raises(TokenizerError, match="larger than 256 MiB"):
        load_token_counter(str(large))


def test_missing_tokenizers_package_is_reported_with_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(TokenizerError, match="requires the tokenizers package") as error:
        load_token_counter(str(tmp_path / "any"))
    assert error.value.hint == 'Install it with `pip install "sizewise[tokenizer]"`.'


LENGTHS = (1, 2, 3, 5, 17, 100, 1000)


@cache
def train_byte_pair_counter(size: int) -> CountTokens:
    """Return the token counter of a byte-level BPE tokenizer, trained on the word list to a vocabulary of `size`."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def make_generator(count_tokens: CountTokens | None = None, seed: int = 1) -> TextGenerator:
    return TextGenerator(np.random.default_rng(seed), count_tokens)


def test_each_word_is_one_token_without_tokenizer() -> None:
    texts = [make_generator().generate(tokens) for tokens in LENGTHS]
    assert [len(text.split(" ")) for text in texts] == list(LENGTHS)
    assert set(" ".join(texts).split()) <= set(WORDS)


def test_generated_texts_are_seeded_and_distinct() -> None:
    generator = make_generator()
    texts = [generator.generate(20) for _ in range(100)]
    assert len(set(texts)) == 100
    same_seed = make_generator()
    assert [same_seed.generate(20) for _ in range(100)] == texts
    assert make_generator(seed=2).generate(20) != texts[0]


@pytest.mark.parametrize("size", [256, 400, 1000, 5000])
def test_generated_texts_have_exact_token_counts(size: int) -> None:
    count_tokens = train_byte_pair_counter(size)
    generator = make_generator(count_tokens)
    for tokens in LENGTHS * 5:
        assert count_tokens(generator.generate(tokens)) == tokens
    assert generator.inexact_count == 0


def test_unreachable_token_counts_are_approximated_and_counted_as_inexact() -> None:
    def count_three_per_word(text: str) -> int:
        return 3 * len(text.split())

    generator = make_generator(count_three_per_word)
    assert [count_three_per_word(generator.generate(tokens)) for tokens in (1, 3, 9, 10, 100)] == [3, 3, 9, 9, 99]
    assert generator.inexact_count == 3


@pytest.mark.parametrize("count_tokens", [lambda text: 0, lambda text: 10**9, lambda text: 5])
def test_text_generation_ends_with_nonsensical_token_counter(count_tokens: CountTokens) -> None:
    generator = make_generator(count_tokens)
    assert len(generator.generate(1000)) < 200_000
    assert generator.inexact_count == 1


def test_word_list_is_distinct_lowercase_ascii() -> None:
    assert len(set(WORDS)) == len(WORDS) > 800
    assert all(word.isascii() and word.islower() for word in WORDS)


def test_text_of_block_depends_only_on_seed_and_id() -> None:
    first, second = make_generator(seed=1), make_generator(seed=2)
    second.generate(50)
    blocks = [(3, 32), (2**53 + 3, 32), (3, 9)]
    text = first.generate_from_blocks(blocks, 32, seed=5)
    assert second.generate_from_blocks(blocks, 32, seed=5) == text
    assert second.generate_from_blocks([(3, 32)], 32, seed=5) == " ".join(text.split()[:32])
    assert text.split()[64:] == text.split()[:9], "a shorter block is the beginning of the whole one"
    assert text.split()[:32] != text.split()[32:64]
    assert first.generate_from_blocks(blocks, 32, seed=6) != text
    assert len(text.split()) == 73


def test_evicted_blocks_are_regenerated_identically(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.payloads.texts._MAX_CACHED_CHARS", 500)
    generator = make_generator()
    texts = [generator.generate_from_blocks([(block_id, 40)], 40, seed=0) for block_id in (1, 2, 3, 4, 1)]
    assert texts[0] == texts[4]
    assert len(set(texts)) == 4


@pytest.mark.parametrize("size", [5_000, 600])
def test_joined_blocks_have_total_token_count_of_all_blocks(size: int) -> None:
    """With a vocabulary of 600, most words have several tokens, which could merge at the borders of blocks."""
    count_tokens = train_byte_pair_counter(size)
    generator = make_generator(count_tokens)
    blocks = [(block_id, 64) for block_id in range(20)] + [(99, 17)]
    text = generator.generate_from_blocks(blocks, 64, seed=0)
    assert count_tokens(text) == 20 * 64 + 17
    assert generator.inexact_count == 0
    assert text.startswith(generator.generate_from_blocks(blocks[:7], 64, seed=0))


def test_blocks_with_merged_border_tokens_are_counted_as_inexact() -> None:
    """The token counter returns one token less for a text of several blocks."""
    generator = make_generator(lambda text: len(text.split()) - (len(text.split()) > 8))
    generator.generate_from_blocks([(1, 8)], 8, seed=0)
    assert generator.inexact_count == 0
    generator.generate_from_blocks([(1, 8), (2, 8)], 8, seed=0)
    assert generator.inexact_count == 1


def write_regex_tokenizer(folder: Path, regex: str) -> Path:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "a": 1}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(regex), "isolated")
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_tokenizer_regex_beyond_step_limit_is_error_with_file_name(tmp_path: Path) -> None:
    path = write_regex_tokenizer(tmp_path, "(?:[a-z ]|[a-y ]|[a-x ])+[^a-z ]")
    with pytest.raises(TokenizerError, match=re.escape(str(path))):
        load_token_counter(str(path))("go another way now " * 4)


def test_token_count_of_uncountable_response_is_unknown(tmp_path: Path) -> None:
    path = write_regex_tokenizer(tmp_path, "(?:[a-z ]|[a-y ]|[a-x ])+[^a-z ]")
    body = msgspec.json.encode({"choices": [{"message": {"content": "go another way now " * 4}}]})
    response = decode_response("chat", body, count_tokens=load_token_counter(str(path)))
    assert response.error is None
    assert response.tokens is not None
    assert (response.tokens.tokens_out, response.tokens.token_source) == (None, None)
