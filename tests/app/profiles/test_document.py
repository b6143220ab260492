from __future__ import annotations

import contextlib
import random

import pytest

from app.errors import ProfileError
from app.profiles.document import MAX_BYTES, read_document


def test_document_has_values_and_their_line_numbers() -> None:
    document = read_document(b"a: 1\nb:\n  - {c: no}\n  - 1e6\n", "p.yaml")
    assert document.value == {"a": 1, "b": [{"c": "no"}, 1e6]}
    assert document.lines[("b",)] == 2
    assert document.lines[("b", 0, "c")] == 3
    assert document.lines[("b", 1)] == 4


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None), ("null", None), ("true", True), ("False", False), ("yes", "yes"), ("007", 7), ("-3", -3),
        ("1.5", 1.5), ("1e6", 1e6), (".5", 0.5), ("1e999", "1e999"), ("12:30", "12:30"), ("2026-01-01", "2026-01-01"),
        ('"1"', "1"), ("'true'", "true"), ("0x10", "0x10"), ("9" * 400, "9" * 400),
    ],
)  # fmt: skip
def test_yaml_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    parsed = read_document(f"a: {text}".encode(), "p.yaml").value["a"]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"a: 1\nb: &x 2\n", 2, "anchors"),
        (b"a: 1\nb: *x\n", 2, "anchors|alias"),
        (b"a: !!python/object:os.system x\n", 1, "tags"),
        (b"a: !!str 5\n", 1, "tags"),
        (b"a: 1\nb: 2\na: 3\n", 3, "the key 'a' is duplicated"),
        (b"a: 1\n---\nb: 2\n", 2, "more than one YAML document"),
        (b"a: 1\n? [x]\n: 2\n", 2, "plain text"),
        (b"a:\n  b: [1\n  c: 2\n", 2, r"the bracket \[ is not closed"),
        (b"a: {b: [1, 2]\n\n# end\nc: 1\n", 1, "the brace { is not closed"),
        (b"a: 1\nb: [\n", 2, r"the bracket \[ is not closed"),
        (b'a: "x\nb: 2\n', 1, 'the quotation mark " is not closed'),
        (b"a: 'it''s\nb: 2\nc: 'd'\n", 1, "the quotation mark ' is not closed"),
        (b"a: [\xc3\xa4,\n  {b: 1} {c: 2}]\n", 2, "expected"),  # both are closed: a comma is missing
        (b'a: "x\n  y" z\n', 2, "expected"),
        (b"a: 1\nb: \xff\n", 2, "UTF-8"),
        (b"a: \x01\n", None, "control|special"),
        (b"a: " + b"[" * 70 + b"]" * 70, 1, "deeper"),
        (b"#" * (MAX_BYTES + 1), None, "1 MiB"),
    ],
)
def test_rejected_documents_are_reported_with_file_and_line(content: bytes, line: int | None, message: str) -> None:
    with pytest.raises(ProfileError, match=message) as caught:
        read_document(content, "p.yaml")
    assert str(caught.value).startswith("p.yaml")
    if line is not None:
        assert caught.value.line == line


def test_yaml_alias_bomb_is_rejected() -> None:
    bomb = b"a: &a [x]\n" + b"".join(b"%c: &%c [*%c,*%c]\n" % (n + 1, n + 1, n, n) for n in range(97, 110))
    with pytest.raises(ProfileError, match="anchors"):
        read_document(bomb, "p.yaml")


def test_random_text_raises_only_profile_errors() -> None:
    dice = random.Random(11)
    alphabet = "ab:-[]{}\"'&*!|>#%@`~,? \n\t01.\x00é"
    for _ in range(400):
        text = "".join(dice.choice(alphabet) for _ in range(dice.randrange(40)))
        with contextlib.suppress(ProfileError):
            read_document(text.encode(), "p.yaml")
