import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.analysis.local.perplexity import TextScores
from app.errors import DamagedFileError, UsageError
from app.inference.generation import evaluation_files
from app.inference.generation.evaluation_files import (
    decode_text_scores,
    encode_text_scores,
    read_evaluation_text,
)


def write_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_evaluation_text_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    assert read_evaluation_text(write_file(tmp_path / "a.txt", b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe\r\n")) == "Grüße\r\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"caf\xe9", "a.txt is not valid UTF-8 at byte 3"),
        (b" \n", "a.txt is empty"),
        (b"a\x00b", "a.txt contains NUL characters"),
        (b"a" * 11, "a.txt exceeds the maximum of 10 bytes"),
    ],
)
def test_invalid_evaluation_text_is_rejected(
    tmp_path: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_files, "MAX_TEXT_BYTES", 10)
    with pytest.raises(UsageError, match=message):
        read_evaluation_text(write_file(tmp_path / "a.txt", content))


def test_evaluation_text_path_without_a_file_is_rejected(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.txt"):
        with pytest.raises(UsageError, match="is not a file"):
            read_evaluation_text(path)


def test_evaluation_text_of_the_maximum_size_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_files, "MAX_TEXT_BYTES", 10)
    assert len(read_evaluation_text(write_file(tmp_path / "a.txt", b"a" * 10))) == 10


SCORES = TextScores(
    tokens=np.arange(5, dtype=np.int32),
    window_tokens=8,
    stride_tokens=4,
    log_likelihoods=np.linspace(-3, 0, 4),
    top_tokens=np.arange(4, dtype=np.int32),
    sampled_indices=np.array([0, 2]),
    sampled_log_probabilities=np.full((2, 3), -1.5, np.float16),
)


def test_encoded_text_scores_are_decoded_unchanged() -> None:
    decoded = decode_text_scores(encode_text_scores(SCORES))
    assert (decoded.window_tokens, decoded.stride_tokens) == (8, 4)
    for name in ("tokens", "log_likelihoods", "top_tokens", "sampled_indices", "sampled_log_probabilities"):
        values, expected = getattr(decoded, name), getattr(SCORES, name)
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(values, expected)


def encode_incomplete_scores() -> bytes:
    file = io.BytesIO()
    np.savez(file, tokens=SCORES.tokens)
    return file.getvalue()


DAMAGED = {
    "cut": encode_text_scores(SCORES)[:-200],
    "empty": b"",
    "other": encode_incomplete_scores(),
    "pickled": encode_text_scores(replace(SCORES, top_tokens=np.array([{}], dtype=object))),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_text_scores_are_reported(damage: str) -> None:
    with pytest.raises(DamagedFileError, match="the predictions on the text cannot be read: "):
        decode_text_scores(DAMAGED[damage])
