from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import UsageError
from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import MAX_FILES, read_foreign
from tests.tiers import first_in_unit_tier

FILES = Path(__file__).parent / "files"
RESULT = json.loads((FILES / "vllm-aggregates.json").read_text())
TEXT = json.dumps(RESULT)
DEEP = "[" * 100_000 + "]" * 100_000
ESCAPE = "\x1b[31mred"


def format_result(**keys: object) -> str:
    return json.dumps({**RESULT, **keys})


def write_file(folder: Path, content: str | bytes, name: str = "results.json") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "it is empty"),
    "blanks": (" \n\t ", "it is empty"),
    "a null byte": ("{\0}", "it is not text"),
    "UTF-16": (TEXT.encode("utf-16"), "it is not UTF-8 text"),
    "latin-1": (b'{"model_id": "\xe9"}', "it is not UTF-8 text"),
    "gzip": (b"\x1f\x8b\x08\x00 rest", "it is compressed"),
    "zip": (b"PK\x03\x04 rest", "it is compressed"),
    "interrupted": (TEXT[: len(TEXT) // 2], "it may be truncated"),
    "cut within a word": (TEXT[:-20], "it may be truncated"),
    "two objects, one cut": (TEXT + "\n" + TEXT[:50], "line 2 is not JSON"),
    "a comma too many": (TEXT[:-1] + ",}", "is not JSON"),
    "single quotes": (TEXT.replace('"', "'"), "is not JSON"),
    "a comment": ("{ // none\n" + TEXT[1:], "is not JSON"),
    "a key twice": (TEXT[:-1] + ', "completed": 5}', 'the key "completed" is duplicated'),
    "a key twice, deep down": ('{"benchmarks": [{"a": {"b": 1, "b": 2}}]}', 'the key "b" is duplicated'),
    "a key twice with an escape": ('{"\\u001b[2J": 1, "\\u001b[2J": 2}', "the key .*2J.* is duplicated"),
    "nested lists": (DEEP, "nested too deep"),
    "nested objects": ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deep"),
    "nested in a field": (TEXT[:-1] + f', "errors": {DEEP}}}', "nested too deep"),
    "a list": ("[1, 2]", "it is not a supported result file"),
    "an empty object": ("{}", "it is not a supported result file"),
    "another program's": ('{"name": "package", "version": "1.0.0"}', "it is not a supported result file"),
    "a table of another's": ("a,b\n1,2\n", "it is not a supported result file"),
    "a number of 5,000 digits": (TEXT[:-1] + ', "seed": ' + "9" * 5000 + "}", "digits"),
    "a large number": (
        TEXT.replace("36.0", "9" * 400),
        r"duration must be a finite number of at least 0 \(got an integer of more than 128 bits\)",
    ),
    "NaN": (
        format_result(request_throughput=math.nan),
        r"request_throughput must be a finite number of at least 0 \(got nan\)",
    ),
    "infinity": (format_result(duration=math.inf), r"duration must be a finite number of at least 0 \(got inf\)"),
    "what overflows": (TEXT.replace("36.0", "1e999"), r"duration must be a finite number of at least 0 \(got inf\)"),
    "a negative": (
        format_result(mean_ttft_ms=-1.0),
        r"mean_ttft_ms must be a finite number of at least 0 \(got -1.0\)",
    ),
    "a negative count": (format_result(completed=-3), r"completed must be a finite number of at least 0 \(got -3\)"),
    "text for a number": (format_result(request_throughput="8.3"), r"must be a number \(got '8.3'\)"),
    "true for a number": (format_result(completed=True), r"must be a number \(got True\)"),
    "null for a number": (format_result(completed=None), r"completed must be a number \(got nothing\)"),
    "an object for a number": (format_result(duration={"a": 1}), r"duration must be a number \(got an object\)"),
    "a list for a number": (format_result(p99_ttft_ms=[1.0]), r"p99_ttft_ms must be a number \(got a list\)"),
    "half a request": (format_result(completed=299.5), r"must be a whole number \(got 299.5\)"),
    "a number for text": (format_result(model_id=7), r"model_id must be text \(got 7\)"),
    "text for a list": (format_result(ttfts="0.1"), r"ttfts must be a list \(got '0.1'\)"),
    "text in a list": (format_result(latencies=[0.1, "x"]), r"latencies\[1\] must be a number \(got 'x'\)"),
    "a list in a list": (format_result(itls=[[0.1], [[0.2]]]), r"itls\[1\]\[0\] must be a number \(got a list\)"),
    "no load": (format_result(request_rate=0), "one of its load points has an offered rate or a concurrency of 0"),
    "no clients": (
        format_result(request_rate="inf", max_concurrency=0),
        "one of its load points has an offered rate or a concurrency of 0",
    ),
    "another word for infinity": (format_result(request_rate="Infinity"), r"must be a number \(got 'Infinity'\)"),
    "a rate that is impossible": (format_result(request_throughput=1e12), r"one of its rates is above 1e\+09 req/s"),
    "an implausible latency": (
        format_result(mean_e2el_ms=1e12),
        r"its latency of 1e\+09 s is implausibly high",
    ),
    "percentiles that fall": (format_result(p99_ttft_ms=1.0), "its p99 TTFT is below its p50 TTFT"),
    "terminal codes in a value": (format_result(request_rate=ESCAPE), r"must be a number \(got '?.*x1b.*red'\)"),
    "a quote left open": ('offered_per_s,latency_ms.p95\n"1,2\n', "it is not a CSV table"),
    "a cell of a megabyte": ("offered_per_s,latency_ms.p95\n" + "1" * 2**20 + ",2\n", "it is not a CSV table"),
    "a line too long": ("offered_per_s,latency_ms.p95\n1,2,3\n", "a line has 3 cells, but the header has 2"),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_malformed_result_files_are_rejected_with_a_short_printable_message(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = write_file(tmp_path, content)
    with pytest.raises(UsageError, match=message) as refusal:
        read_foreign([path])
    text = f"{refusal.value}{refusal.value.hint or ''}"
    assert text.isprintable()
    assert "results.json" in text
    assert str(tmp_path) not in text
    assert len(text) < 700


def test_result_file_without_malformation_is_read(tmp_path: Path) -> None:
    """The malformed files are derived from this one."""
    assert read_foreign([write_file(tmp_path, TEXT)]).load_points[0].completed == 300


def test_missing_result_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone.json cannot be read as a curve: No such file"):
        read_foreign([tmp_path / "gone.json"])
    with pytest.raises(UsageError, match="no result file was specified"):
        read_foreign([])


def test_folder_without_results_is_rejected(tmp_path: Path) -> None:
    write_file(tmp_path, '{"data": []}', "inputs.json")
    write_file(tmp_path, "offered_per_s: 1", "config.yaml")
    with pytest.raises(UsageError, match="the folder has no supported result file"):
        read_foreign([tmp_path])


def test_number_of_result_files_is_limited(tmp_path: Path) -> None:
    for at in range(MAX_FILES + 1):
        write_file(tmp_path, TEXT, f"{at}.json")
    with pytest.raises(UsageError, match=f"more than {MAX_FILES} files"):
        read_foreign([tmp_path])
    with pytest.raises(UsageError, match=f"more than {MAX_FILES} files"):
        read_foreign(sorted(tmp_path.iterdir()))


def test_duplicate_result_file_is_rejected(tmp_path: Path) -> None:
    path = write_file(tmp_path, TEXT)
    with pytest.raises(UsageError, match=r"results.json cannot be read as a curve: the file was specified twice"):
        read_foreign([path, tmp_path])


def test_result_files_of_two_tools_are_rejected() -> None:
    with pytest.raises(
        UsageError, match=r"perf_analyzer.csv is from perf_analyzer, but locust_stats.csv is from Locust"
    ):
        read_foreign([FILES / "perf_analyzer.csv", FILES / "locust_stats.csv"])


def test_result_files_of_two_models_are_rejected(tmp_path: Path) -> None:
    other = write_file(tmp_path, format_result(model_id="example/llama-70b"))
    with pytest.raises(
        UsageError,
        match=r"results.json .* its model is example/llama-70b, but that of another file is example/llama-8b",
    ):
        read_foreign([FILES / "vllm-aggregates.json", other])


@pytest.mark.parametrize("name", ["results.txt", "results.csv", "results", "résultats (1).json", "a\nb.json"])
def test_tool_is_detected_by_content_and_not_by_file_name(tmp_path: Path, name: str) -> None:
    imported = read_foreign([write_file(tmp_path, "\ufeff" + TEXT, name)])
    assert imported.tool == "vllm bench serve"
    assert imported.source == name.replace("\n", "\N{REPLACEMENT CHARACTER}")


def test_text_of_a_result_file_is_made_printable(tmp_path: Path) -> None:
    model = read_foreign([write_file(tmp_path, format_result(model_id=f"{ESCAPE}\ud800" + "x" * 1000))]).model
    assert model is not None
    assert model.isprintable()
    assert len(model) == 200


def test_nan_in_an_unused_field_is_ignored(tmp_path: Path) -> None:
    assert read_foreign([write_file(tmp_path, format_result(std_ttft_ms=math.nan))]).load_points[0].completed == 300


def test_repeats_at_one_rate_remain_separate_and_the_source_has_no_folder(tmp_path: Path) -> None:
    paths = [write_file(tmp_path, format_result(request_throughput=per_s), f"{per_s}.json") for per_s in (8.5, 8.25)]
    imported = read_foreign(paths)
    assert [load_point.achieved_per_s for load_point in imported.load_points] == [8.25, 8.5]
    assert imported.source == "8.5.json and 1 more"


def test_few_requests_and_closed_loops_are_noted(read_curve: Callable[..., ImportedCurve]) -> None:
    notes = read_curve("vllm-aggregates.json", "vllm-detailed.json").notes
    assert "a load point is based on only 3 requests; p99 needs 368" in notes
    assert any("closed-loop" in note for note in notes)
    assert len(set(notes)) == len(notes)


WRONG: tuple[object, ...] = (
    math.nan,
    math.inf,
    -1,
    0,
    1e300,
    10**400,
    "x",
    "",
    True,
    None,
    [],
    {},
    [[1]],
    [None],
    {"a": 1},
    "\x1b[2J",
)


@pytest.mark.parametrize("name", sorted(str(path.relative_to(FILES)) for path in FILES.rglob("*.json*")))
@pytest.mark.parametrize("draws", first_in_unit_tier([15, 60]))
def test_result_file_with_a_wrong_value_is_read_or_rejected_with_a_printable_message(
    tmp_path: Path, name: str, draws: int
) -> None:
    """Values of a valid file are replaced by invalid ones, one at a time, at random places."""
    draw = random.Random(name)
    good = [json.loads(text) for text in _split_objects((FILES / name).read_text())]
    for _ in range(draws):
        values = copy.deepcopy(good)
        node: Any = values
        while isinstance(node, list | dict) and node:
            parent, key = node, draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
            node = parent[key]
            if draw.random() < 0.15:
                break
        parent[key] = draw.choice(WRONG)
        path = write_file(tmp_path, "\n".join(json.dumps(value) for value in values))
        assert _read_or_describe_error(path).isprintable()


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.glob("*.csv")))
def test_result_table_with_a_wrong_cell_is_read_or_rejected_with_a_printable_message(tmp_path: Path, name: str) -> None:
    draw = random.Random(name)
    lines = [line.split(",") for line in (FILES / name).read_text().splitlines()]
    for _ in range(60):
        broken = copy.deepcopy(lines)
        line = draw.choice(broken)
        line[draw.randrange(len(line))] = draw.choice(
            ("", "x", "nan", "inf", "-1", "1e999", "0", "N/A", '"', ",", "\x1b")
        )
        path = write_file(tmp_path, "\n".join(",".join(line) for line in broken) + "\n")
        assert _read_or_describe_error(path).isprintable()


def _read_or_describe_error(path: Path) -> str:
    """Return the JSON of the curve, which has only finite numbers, or the message of the error."""
    try:
        return json.dumps(msgspec.to_builtins(read_foreign([path])), allow_nan=False)
    except UsageError as refusal:
        return str(refusal)


def _split_objects(text: str) -> list[str]:
    """Return the JSON objects of a fixture, which is one object or has one object per line."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return text.splitlines()
    return [text]
