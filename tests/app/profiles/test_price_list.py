from __future__ import annotations

import datetime
import random
from pathlib import Path

import pytest

from app.errors import ProfileError
from app.profiles.bundled import DIRECTORY
from app.profiles.catalogue import bundled_catalogue, find_offer
from app.profiles.price_list import MOST_PROBLEMS, load_offers, read_price_list

TODAY = datetime.date(2026, 9, 1)
CATALOGUE = bundled_catalogue()
HEAD = "provider,instance_type,region,on_demand_usd_per_hour\n"
GOOD = HEAD + "aws,g6.2xlarge,us-east-1,0.9\n"
OWN = """
- provider: own
  instance_type: rack-a
  region: home
  accelerator_key: l4
  accelerator_count: 4
  capex_usd: 40000
  life: 4y
"""


def problems(path: Path) -> list[str]:
    reading = read_price_list(path, CATALOGUE, TODAY)
    return [str(problem).removeprefix(str(path)) for problem in reading.problems]


def problem(tmp_path: Path, content: str | bytes, name: str = "p.csv") -> str:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (found,) = problems(path)
    return found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", GOOD),
        ("p.CSV", "\ufeff" + GOOD.replace("\n", "\r\n")),
        ("p.csv", "region, provider ,instance_type,spot_usd_per_hour,on_demand_usd_per_hour\n"
                  "us-east-1,aws,g6.2xlarge, ,0.9"),
        ("p.yaml", "aws/g6.2xlarge@us-east-1: {on_demand_usd_per_hour: 0.9}"),
        ("p.yml", "{provider: aws, instance_type: g6.2xlarge, region: us-east-1, on_demand_usd_per_hour: 0.9 USD/h}"),
        ("p.json", '[{"provider": "aws", "instance_type": "g6.2xlarge", "region": "us-east-1", '
                   '"on_demand_usd_per_hour": 0.9}]'),
    ],
)  # fmt: skip
def test_the_same_price_in_every_form(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    offer = find_offer(load_offers([path], TODAY, CATALOGUE), "aws/g6.2xlarge")
    assert (offer.on_demand_usd_per_hour, offer.as_of, offer.vcpus) == (0.9, TODAY, 8)
    assert [one.cell for one in offer.overrides] == ["on_demand_usd_per_hour"]


def test_lists_go_over_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(OWN + "- {provider: aws, instance_type: g6.2xlarge, region: us-east-1, vcpus: 4}")
    both = load_offers([tmp_path / "a.csv", tmp_path / "b.yaml"], TODAY, CATALOGUE)
    assert len(both.offers) == len(CATALOGUE.offers) + 1
    changed, own = find_offer(both, "aws/g6.2xlarge"), find_offer(both, "own/rack-a@home")
    assert (changed.on_demand_usd_per_hour, changed.vcpus) == (0.9, 4)
    assert own.owned is not None
    assert own.accelerator_count == 4


def test_our_own_table_is_a_price_list(tmp_path: Path) -> None:
    path = tmp_path / "offers.csv"
    path.write_bytes((DIRECTORY / "hardware" / "offers.csv").read_bytes())
    reading = read_price_list(path, CATALOGUE, TODAY)
    assert reading.problems == ()
    assert len(reading.rows) == 293


def test_a_plan_does_not_start_on_a_wrong_list(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(GOOD + "aws,g6.xlarge,us-east-1,free\n")
    with pytest.raises(ProfileError, match=r"p\.csv:3: on_demand_usd_per_hour: 'free'"):
        load_offers([path], TODAY, CATALOGUE)


def test_every_problem_is_told_and_good_rows_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "aws/g6.2xlarge@us-east-1: {vcpus: 4}\n"
        "aws/g6.xlarge@us-east-1:\n  vcpus: 4\n  on_demand_usd_per_hour: .nan\n"
        "aws/g6.4xlarge@us-east-1: {vpcus: 4}\n"
        "own/rack@home: {capex_usd: 4, life: 1y,\n  accelerator_key: l44}\n"
    )
    reading = read_price_list(path, CATALOGUE, TODAY)
    assert [row.key for row in reading.rows] == ["aws/g6.2xlarge@us-east-1"]
    assert problems(path) == [
        ":4: on_demand_usd_per_hour: '.nan' is not a number of at least 0",
        ":5: unknown key 'vpcus'",
        ":7: accelerator_key: 'l44' is not in the catalogue",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", ":1: the column provider is missing"),
        ("provider;instance_type;region\naws;g6;x\n", ":1: the column provider is missing"),
        ("provider,instance_type\n", ":1: the column region is missing"),
        ("provider,provider,instance_type,region\n", ":1: the column 'provider' stands here a second time"),
        ("provider,instance_type,region,price\na,b,c,1\n", ":2: unknown key 'price'"),
        (GOOD + "aws,g6.xlarge\n", ":3: not as many cells as columns"),
        (GOOD + "aws,g6.xlarge,us-east-1,1,2\n", ":3: not as many cells as columns"),
        (GOOD + 'aws,"g6\n', ": not a CSV"),
        (GOOD + GOOD.splitlines()[1] + "\n", ":3: aws/g6.2xlarge@us-east-1 stands here a second time"),
        (b"\xff\xfe\x00", ":1: not UTF-8 text"),
        (GOOD.encode() + b"\0", ":3"),
        (GOOD.encode() + b"\x80", ":3: not UTF-8 text"),
        (b"a" * (1 << 20) + b"b", ": larger than 1 MiB"),
        (HEAD + "a" * 200_000 + ",b,c,1\n", ": not a CSV"),
    ],
)
def test_a_hostile_csv_is_a_problem_not_a_crash(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert says in problem(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: &a [1]\nb: [*a, *a]\n", ":1: anchors and aliases are not supported"),
        ("!!python/object/apply:os.system ['true']", ":1: tags are not supported"),
        ("[" * 5000, ": "),
        ("just text", ": a price list is a list of rows"),
        ("- 5", ":1: a row is a mapping"),
        ("aws/g6.2xlarge@us-east-1: 0.9", ":1: a row is a mapping"),
        ("g6.2xlarge: {vcpus: 1}", ":1: 'g6.2xlarge' is not provider/instance@region"),
        ("aws/x@y: {provider: b}", ":1: provider stands in the key already"),
        ("a: {b: 1}\na: {b: 2}", ":2: key 'a' stands here a second time"),
        ("a: [", ":"),
        ("- {provider: a, instance_type: b, region: c, vcpus: {x: 1}}", ":1: vcpus: "),
        (b"\x00\x01\x02", ":"),
        ("aws/g6.2xlarge@us-east-1: {vcpus: '" + "1" * 999_000 + "'}", ":1: vcpus: longer than 200 characters"),
    ],
)
def test_a_hostile_yaml_is_a_problem_not_a_crash(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert says in problem(tmp_path, content, "p.yaml")


def test_no_more_problems_than_one_reads(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(HEAD + "aws,g6.2xlarge,us-east-1,x\n" * 5000)
    assert len(problems(path)) == MOST_PROBLEMS


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path) == [": is not a file"]
    assert problems(tmp_path / "no.csv") == [": No such file or directory"]
    (tmp_path / "p.xlsx").write_text("x")
    assert problems(tmp_path / "p.xlsx") == [": a price list is a .csv or a .yaml file"]


def test_an_empty_list_has_no_rows(tmp_path: Path) -> None:
    for name, text in (("p.yaml", ""), ("p.csv", HEAD)):
        (tmp_path / name).write_text(text)
        reading = read_price_list(tmp_path / name, CATALOGUE, TODAY)
        assert (reading.rows, reading.problems) == ((), ())


@pytest.mark.parametrize("name", ["p.csv", "p.yaml"])
def test_no_bytes_make_it_crash(tmp_path: Path, name: str) -> None:
    dice = random.Random(7)
    seed = (GOOD if name == "p.csv" else OWN).encode()
    path = tmp_path / name
    for _ in range(300):
        content = bytearray(seed)
        for _ in range(dice.randint(1, 6)):
            content[dice.randrange(len(content))] = dice.choice(b"\x00\xff{}[]&*!\",\n:-=@1e\t\r'#|>%")
        path.write_bytes(bytes(content))
        read_price_list(path, CATALOGUE, TODAY)
