from pathlib import Path

import pytest

from app.errors import UsageError
from app.inference.generation import evaluation_text
from app.inference.generation.evaluation_text import read_evaluation_text


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_text_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    assert read_evaluation_text(written(tmp_path / "a.txt", b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe\r\n")) == "Grüße\r\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"caf\xe9", "a.txt is not valid UTF-8 at byte 3"),
        (b" \n", "a.txt is empty"),
        (b"a\x00b", "a.txt contains NUL characters"),
        (b"a" * 11, "a.txt exceeds the maximum of 10 bytes"),
    ],
)
def test_what_is_no_text_is_refused(
    tmp_path: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_text, "MAX_TEXT_BYTES", 10)
    with pytest.raises(UsageError, match=message):
        read_evaluation_text(written(tmp_path / "a.txt", content))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.txt"):
        with pytest.raises(UsageError, match="is not a file"):
            read_evaluation_text(path)


def test_a_text_of_the_maximum_size_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_text, "MAX_TEXT_BYTES", 10)
    assert len(read_evaluation_text(written(tmp_path / "a.txt", b"a" * 10))) == 10
