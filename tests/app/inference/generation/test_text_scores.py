from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.analysis.local.perplexity import TextScores
from app.errors import DamagedFileError
from app.inference.generation.text_scores import read_text_scores, write_text_scores

SCORES = TextScores(
    tokens=np.arange(5, dtype=np.int32),
    window_tokens=8,
    stride_tokens=4,
    log_likelihoods=np.linspace(-3, 0, 4),
    top_tokens=np.arange(4, dtype=np.int32),
    sampled_indices=np.array([0, 2]),
    sampled_log_probabilities=np.full((2, 3), -1.5, np.float16),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_text_scores(tmp_path / "scores", SCORES)
    read = read_text_scores(tmp_path / "scores")
    assert (read.window_tokens, read.stride_tokens) == (8, 4)
    for name in ("tokens", "log_likelihoods", "top_tokens", "sampled_indices", "sampled_log_probabilities"):
        values, expected = getattr(read, name), getattr(SCORES, name)
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("damage", ["cut", "empty", "absent", "other", "pickled"])
def test_another_file_is_a_damaged_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "scores"
    write_text_scores(path, SCORES)
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-200])
        case "empty":
            path.write_bytes(b"")
        case "absent":
            path.unlink()
        case "other":
            with path.open("wb") as file:
                np.savez(file, tokens=SCORES.tokens)
        case _:
            write_text_scores(path, replace(SCORES, top_tokens=np.array([{}], dtype=object)))
    with pytest.raises(DamagedFileError, match="the predictions in scores cannot be read: "):
        read_text_scores(path)
