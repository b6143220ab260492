import sys
from pathlib import Path

import pytest
import tokenizers

from loadgen.payloads.tokenizer import TokenizerError, counter_of


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
    count = counter_of(str(written(tmp_path)))
    assert [count(text) for text in ("", "a", "a b a b a b ☃")] == [0, 1, 7]


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    for content in (b"", b"{}", b"\xff\xfe", b"[" * 1000, b'{"version": "1.0", "model": {"type": "BPE"}}'):
        wrong.write_bytes(content)
        with pytest.raises(TokenizerError, match=r"wrong\.json cannot be read as a tokenizer") as refused:
            counter_of(str(wrong))
        assert refused.value.hint == "give the model's tokenizer.json"
        assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(TokenizerError, match="is not a file"):
            counter_of(str(path))


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(257 * 2**20)
    with pytest.raises(TokenizerError, match="larger than 256 MiB"):
        counter_of(str(large))


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(TokenizerError, match="needs the package tokenizers") as refused:
        counter_of(str(tmp_path / "any"))
    assert refused.value.hint == "pip install 'sizewise[tokenizer]'"
