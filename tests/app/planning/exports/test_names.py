from __future__ import annotations

import random
import re

import pytest

from app.planning.exports.names import dns_name, is_label_value

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
def test_a_name_is_made_of_any_text(text: str, name: str) -> None:
    assert dns_name(text) == name


def test_every_name_is_a_label_that_begins_with_a_letter() -> None:
    dice = random.Random(1)
    for _ in range(2000):
        text = "".join(
            chr(dice.choice((dice.randrange(128), dice.randrange(0x11000)))) for _ in range(dice.randrange(90))
        )
        name = dns_name(text)
        assert RULE.fullmatch(name), (text, name)
        assert len(name) <= 40
        assert "--" not in name


def test_long_names_that_differ_late_stay_apart() -> None:
    long = "a-model-of-many-words-that-goes-on-and-on-and-on"
    assert dns_name(f"{long}-1") != dns_name(f"{long}-2")
    assert dns_name(f"{long}-1").startswith("a-model-of-many-words-that-goes")


@pytest.mark.parametrize("text", ["g6.2xlarge", "Standard_NC4as_T4_v3", "1x_A100-80GB", "a", "a" * 63])
def test_what_a_label_may_hold(text: str) -> None:
    assert is_label_value(text)


@pytest.mark.parametrize("text", ["per-gpu-list:l4", "", "a b", "-a", "a_", "a" * 64, "a\n", "ä"])
def test_what_a_label_may_not_hold(text: str) -> None:
    assert not is_label_value(text)
