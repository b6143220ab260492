from __future__ import annotations

import random
import re
import sys

import pytest
import yaml

from app.planning.exports.names import dump_yaml, format_one_line, is_label_value, make_dns_name
from tests.tiers import first_in_unit_tier

RULE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("fraud-scoring", "fraud-scoring"),
        ("Fraud scoring (v2)", "fraud-scoring-v2"),
        ("7b model", "plan-7b-model"),
        ("Größe é", "groe-e"),
        ("模型", "plan"),
        ("", "plan"),
        ("-._-", "plan"),
        ("../../etc/passwd", "etc-passwd"),
    ],
)
def test_dns_name_is_derived_from_any_text(text: str, name: str) -> None:
    assert make_dns_name(text) == name


def test_dns_names_of_random_text_are_labels_that_start_with_a_letter() -> None:
    dice = random.Random(1)
    letters = list(map(chr, [*range(128)] * (0x11000 // 128) + [*range(0x11000)]))  # half of them in ASCII
    for _ in range(2000):
        text = "".join(dice.choices(letters, k=dice.randrange(90)))
        name = make_dns_name(text)
        assert RULE.fullmatch(name), (text, name)
        assert len(name) <= 40
        assert "--" not in name


def test_long_names_with_different_ends_give_different_dns_names() -> None:
    prefix = "a-model-of-many-words-that-goes-on-and-on-and-on"
    assert make_dns_name(f"{prefix}-1") != make_dns_name(f"{prefix}-2")
    assert make_dns_name(f"{prefix}-1").startswith("a-model-of-many-words-that-goes")


@pytest.mark.parametrize("text", ["g6.2xlarge", "Standard_NC4as_T4_v3", "1x_A100-80GB", "a", "a" * 63])
def test_valid_label_values_are_accepted(text: str) -> None:
    assert is_label_value(text)


@pytest.mark.parametrize("text", ["per-gpu-list:l4", "", "a b", "-a", "a_", "a" * 64, "a\n", "ä"])
def test_invalid_label_values_are_rejected(text: str) -> None:
    assert not is_label_value(text)


@pytest.mark.parametrize(
    "points",
    first_in_unit_tier([[*range(0x100), *range(0x2000, 0x2070)], [*range(0x100, 0x2000), *range(0x2070, 0x3000)]]),
    ids=len,
)
def test_yaml_comment_stays_on_one_line_for_any_character(points: list[int]) -> None:
    for letter in map(chr, points):
        text = dump_yaml([f"a{letter}b: c"], [{"only": 1}])
        assert list(yaml.safe_load_all(text)) == [{"only": 1}], repr(letter)
        assert len(text.splitlines()) == 3, repr(letter)
    for point in (0xD800, 0xFEFF, 0xFFFE, 0x1F600, sys.maxunicode):
        assert yaml.safe_load(dump_yaml([chr(point)], [{"only": 1}])) == {"only": 1}


def test_one_line_text_is_truncated_at_400_characters() -> None:
    assert len(format_one_line("word " * 1000)) == 400
    assert format_one_line(" two\n  lines\t") == "two lines"


def test_yaml_has_the_key_order_of_the_input_and_no_anchors() -> None:
    shared = {"z": 1, "a": 2}
    text = dump_yaml([], [{"second": shared, "first": shared}])
    assert text == "---\nsecond:\n  z: 1\n  a: 2\nfirst:\n  z: 1\n  a: 2\n"
