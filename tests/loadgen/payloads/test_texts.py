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


def written(folder: Path) -> Path:
    """One token a word, and special ones around a text that are not to be counted."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "[BOS]": 2}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing("[BOS] $A", special_tokens=[("[BOS]", 2)])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_tokens_of_the_text_alone_are_counted(tmp_path: Path) -> None:
    count = load_token_counter(str(written(tmp_path)))
    assert [count(text) for text in ("", "a", "a b a b a b ☃")] == [0, 1, 7]


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    for content in (b"", b"{}", b"\xff\xfe", b"[" * 1000, b'{"version": "1.0", "model": {"type": "BPE"}}'):
        wrong.write_bytes(content)
        with pytest.raises(TokenizerError, match=r"wrong\.json cannot be read as a tokenizer") as refused:
            load_token_counter(str(wrong))
        assert refused.value.hint == "Use the model's tokenizer.json."
        assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(TokenizerError, match="cannot be read"):
            load_token_counter(str(path))


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(257 * 2**20)
    with pytest.raises(TokenizerError, match="larger than 256 MiB"):
        load_token_counter(str(large))


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(TokenizerError, match="requires the tokenizers package") as refused:
        load_token_counter(str(tmp_path / "any"))
    assert refused.value.hint == 'Install it with `pip install "sizewise[tokenizer]"`.'


LENGTHS = (1, 2, 3, 5, 17, 100, 1000)


@cache
def byte_pairs(size: int) -> CountTokens:
    """A byte-level tokenizer as language models have, trained on the words themselves to a vocabulary of `size`."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def maker(count_tokens: CountTokens | None = None, seed: int = 1) -> TextGenerator:
    return TextGenerator(np.random.default_rng(seed), count_tokens)


def test_without_a_tokenizer_a_word_is_a_token() -> None:
    texts = [maker().generate(tokens) for tokens in LENGTHS]
    assert [len(text.split(" ")) for text in texts] == list(LENGTHS)
    assert set(" ".join(texts).split()) <= set(WORDS)


def test_texts_are_seeded_and_differ() -> None:
    ours = maker()
    made = [ours.generate(20) for _ in range(100)]
    assert len(set(made)) == 100
    again = maker()
    assert [again.generate(20) for _ in range(100)] == made
    assert maker(seed=2).generate(20) != made[0]


@pytest.mark.parametrize("size", [256, 400, 1000, 5000])
def test_with_a_tokenizer_lengths_are_exact(size: int) -> None:
    count_tokens = byte_pairs(size)
    ours = maker(count_tokens)
    for tokens in LENGTHS * 5:
        assert count_tokens(ours.generate(tokens)) == tokens
    assert ours.inexact_count == 0


def test_lengths_a_tokenizer_cannot_give_are_counted_and_near() -> None:
    def of_threes(text: str) -> int:
        return 3 * len(text.split())

    ours = maker(of_threes)
    assert [of_threes(ours.generate(tokens)) for tokens in (1, 3, 9, 10, 100)] == [3, 3, 9, 9, 99]
    assert ours.inexact_count == 3


@pytest.mark.parametrize("count_tokens", [lambda text: 0, lambda text: 10**9, lambda text: 5])
def test_a_tokenizer_that_makes_no_sense_ends(count_tokens: CountTokens) -> None:
    ours = maker(count_tokens)
    assert len(ours.generate(1000)) < 200_000
    assert ours.inexact_count == 1


def test_words_are_different_ones() -> None:
    assert len(set(WORDS)) == len(WORDS) > 800
    assert all(word.isascii() and word.islower() for word in WORDS)


def test_the_text_of_a_block_depends_on_its_seed_and_id_alone() -> None:
    first, second = maker(seed=1), maker(seed=2)
    second.generate(50)
    blocks = [(3, 32), (2**53 + 3, 32), (3, 9)]
    text = first.generate_from_blocks(blocks, 32, seed=5)
    assert second.generate_from_blocks(blocks, 32, seed=5) == text
    assert second.generate_from_blocks([(3, 32)], 32, seed=5) == " ".join(text.split()[:32])
    assert text.split()[64:] == text.split()[:9], "a shorter block is the beginning of the whole one"
    assert text.split()[:32] != text.split()[32:64]
    assert first.generate_from_blocks(blocks, 32, seed=6) != text
    assert len(text.split()) == 73


def test_blocks_that_were_forgotten_are_generated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.payloads.texts._MAX_CACHED_CHARS", 500)
    made = maker()
    texts = [made.generate_from_blocks([(block_id, 40)], 40, seed=0) for block_id in (1, 2, 3, 4, 1)]
    assert texts[0] == texts[4]
    assert len(set(texts)) == 4


@pytest.mark.parametrize("size", [5_000, 600])
def test_joined_blocks_have_the_tokens_of_each(size: int) -> None:
    """With 600 tokens, few words are one; the borders of the others are counted too."""
    count_tokens = byte_pairs(size)
    made = maker(count_tokens)
    blocks = [(block_id, 64) for block_id in range(20)] + [(99, 17)]
    text = made.generate_from_blocks(blocks, 64, seed=0)
    assert count_tokens(text) == 20 * 64 + 17
    assert made.inexact_count == 0
    assert text.startswith(made.generate_from_blocks(blocks[:7], 64, seed=0))


def test_blocks_whose_borders_merge_are_counted() -> None:
    """A tokenizer that has one token less for each text of several blocks."""
    made = maker(lambda text: len(text.split()) - (len(text.split()) > 8))
    made.generate_from_blocks([(1, 8)], 8, seed=0)
    assert made.inexact_count == 0
    made.generate_from_blocks([(1, 8), (2, 8)], 8, seed=0)
    assert made.inexact_count == 1


def written_with_regex(folder: Path, regex: str) -> Path:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "a": 1}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(regex), "isolated")
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_a_regular_expression_that_takes_too_many_steps_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = written_with_regex(tmp_path, "(?:[a-z ]|[a-y ]|[a-x ])+[^a-z ]")
    with pytest.raises(TokenizerError, match=re.escape(str(path))):
        load_token_counter(str(path))("go another way now " * 4)


def test_a_text_that_the_tokenizer_cannot_count_leaves_the_count_of_a_response_unknown(tmp_path: Path) -> None:
    path = written_with_regex(tmp_path, "(?:[a-z ]|[a-y ]|[a-x ])+[^a-z ]")
    body = msgspec.json.encode({"choices": [{"message": {"content": "go another way now " * 4}}]})
    response = decode_response("chat", body, count_tokens=load_token_counter(str(path)))
    assert response.error is None
    assert response.tokens is not None
    assert (response.tokens.tokens_out, response.tokens.token_source) == (None, None)
