from __future__ import annotations

import datetime
import gzip
import tracemalloc
from pathlib import Path

import pytest

from app.errors import ProfileError
from app.profiles import traces
from app.profiles.problems import BadValueError
from app.profiles.traces import check_token_columns, is_trace, read_table, read_trace, read_trace_statistics

COLUMNS = frozenset({"timestamp", "input_length"})


def write_bytes(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "is_trace_name"),
    [("a.csv", True), ("a.CSV.gz", True), ("a.jsonl", True), ("a.v2.ndjson.GZ", True), ("a.yaml", False),
     ("csv", False), ("a.csv.zip", False), ("traffic.csv.yaml", False)],
)  # fmt: skip
def test_trace_is_recognized_by_its_file_extension(name: str, is_trace_name: bool) -> None:
    assert is_trace(Path(name)) is is_trace_name


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "named-otherwise"])
def test_gzip_compression_of_a_trace_is_detected_by_content(tmp_path: Path, name: str) -> None:
    for content in (b"timestamp\n1\n2\n", gzip.compress(b"timestamp\n1\n2\n")):
        rows = read_table(write_bytes(tmp_path, name, content), COLUMNS)
        assert rows.table.column("timestamp").to_pylist() == [1, 2]
        assert rows.first_line == 2


def test_concatenated_gzip_members_are_read_as_a_single_trace(tmp_path: Path) -> None:
    content = gzip.compress(b"timestamp\n1\n") + gzip.compress(b"2\n3\n")
    assert read_table(write_bytes(tmp_path, "a.csv.gz", content), COLUMNS).table.num_rows == 3


def test_requested_columns_of_a_json_lines_trace_are_read(tmp_path: Path) -> None:
    content = b'{"Timestamp": 1, "other": {"a": [1]}, "input_length": 5}\r\n{"Timestamp": 2.5}\r\n\r\n'
    rows = read_table(write_bytes(tmp_path, "a.jsonl", content), COLUMNS)
    assert rows.table.to_pydict() == {"Timestamp": [1.0, 2.5], "input_length": [5.0, None]}
    assert rows.first_line == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"timestamp": 1}\n{"timestamp": \n', "a.jsonl:2: the line is not a JSON object"),
        ("a.jsonl", b"", "a.jsonl:1: the line is not a JSON object"),
        ("a.jsonl", b"[1, 2]\n", "a.jsonl:1: the line is not a JSON object"),
        ("a.jsonl", b'{"timestamp": 1}\n\n{"timestamp": 2}\n', "a.jsonl:2: the line is not a JSON object"),
        ("a.jsonl", b'{"timestamp": 1}\n{"timestamp": NaN}\n', "a.jsonl:2: the line is not a JSON object"),
        ("a.jsonl", b'{"timestamp": 1}\n{"timestamp": true}\n', "a.jsonl:2: the line is not a JSON object"),
        ("a.jsonl", b'{"timestamp": 1}\n{"timestamp": "noon"}\n', "a column has both numbers and text"),
        ("a.jsonl", b"[" * 100_000 + b"\n", "a.jsonl:1: the line is not a JSON object"),
        ("a.jsonl", b'{"x": ' + b"[" * 100_000 + b"\n", "a.jsonl:1: the line is not a JSON object"),
        ("a.jsonl", b'{"timestamp": 1, "x": "' + b"y" * 2**20 + b'"}\n', "a.jsonl:1: the line is longer than 1 MiB"),
        ("a.jsonl", b'{"timestamp": 1}\n{"timestamp": "\xff"}\n', "a.jsonl:2: the line is not a JSON object"),
        ("a.csv.gz", gzip.compress(b"timestamp\n1\n", mtime=0)[:-9], "the gzip stream is truncated"),
        ("a.csv.gz", b"\x1f\x8b\x08" + b"\x00" * 50, "truncated|starts like a gzip file, but is not valid gzip"),
        ("a.csv.gz", b"\x1f\x8bnonsense", "starts like a gzip file, but is not valid gzip"),
    ],
)
def test_invalid_trace_tables_are_reported_with_their_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(ProfileError, match=message) as caught:
        read_table(write_bytes(tmp_path, name, content), COLUMNS)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_decompression_of_a_trace_stops_at_the_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = write_bytes(tmp_path, "a.csv.gz", gzip.compress(b"timestamp\n" + b"1\n" * 10_000_000))
    assert bomb.stat().st_size < 100_000
    monkeypatch.setattr(traces, "MAX_BYTES", 100_000)
    tracemalloc.start()
    with pytest.raises(ProfileError, match="larger than 1 GiB"):
        read_table(bomb, COLUMNS)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    with pytest.raises(ProfileError, match="larger than 1 GiB"):
        read_table(write_bytes(tmp_path, "a.csv", b"timestamp\n" + b"1\n" * 60_000), COLUMNS)


def test_number_of_trace_rows_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_ROWS", 5)
    assert read_table(write_bytes(tmp_path, "a.csv", b"timestamp\n" + b"1\n" * 5), COLUMNS).table.num_rows == 5
    with pytest.raises(ProfileError, match="exceeds the maximum of 5 rows"):
        read_table(write_bytes(tmp_path, "a.csv", b"timestamp\n" + b"1\n" * 6), COLUMNS)


def test_folders_and_missing_files_are_rejected_as_traces(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(ProfileError):
            read_table(path, COLUMNS)


def test_json_lines_traces_have_a_lower_row_limit_than_csv_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "MAX_JSON_LINES", 3)
    (tmp_path / "many.jsonl").write_text('{"timestamp": 1}\n' * 5)
    with pytest.raises(ProfileError, match="exceeds the maximum of 3 rows"):
        read_table(tmp_path / "many.jsonl", frozenset({"timestamp"}))
    (tmp_path / "many.csv").write_text("timestamp\n" + "1\n" * 5)
    assert read_table(tmp_path / "many.csv", frozenset({"timestamp"})).table.num_rows == 5


def write_csv_trace(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text)
    return path


def test_trace_times_start_at_the_first_row(tmp_path: Path) -> None:
    trace = read_trace(write_csv_trace(tmp_path, "timestamp\n10\n10.5\n12\n"))
    assert trace.at_s.tolist() == [0.0, 0.5, 2.0]
    assert not trace.has_tokens


@pytest.mark.parametrize(
    "header",
    ["timestamp,input_tokens,output_tokens", "TIMESTAMP,ContextTokens,GeneratedTokens",
     "Timestamp,Request tokens,Response tokens"],
)  # fmt: skip
def test_token_columns_are_recognized_by_the_names_of_public_traces(tmp_path: Path, header: str) -> None:
    trace = read_trace(write_csv_trace(tmp_path, f"{header}\n0,5,6\n1,7,8\n"))
    assert trace.input_tokens is not None
    assert trace.output_tokens is not None
    assert (trace.input_tokens.tolist(), trace.output_tokens.tolist()) == ([5, 7], [6, 8])


@pytest.mark.parametrize("zone", ["", "Z"])
def test_trace_times_may_be_dates(tmp_path: Path, zone: str) -> None:
    rows = f"2023-11-16 18:15:46.6805900{zone}\n2023-11-16 18:15:50.9951690{zone}\n"
    trace = read_trace(write_csv_trace(tmp_path, f"timestamp\n{rows}"))
    assert trace.at_s.tolist() == pytest.approx([0.0, 4.314579])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a valid CSV trace"),
        ("timestamp\n", "has no requests"),
        ("time_of_day\n1\n", "the column timestamp is missing"),
        ("timestamp\n1\n2\n1.5\n", "trace.csv:4: the request is earlier than the one before it"),
        ("timestamp\n1\nsoon\n", "neither a number nor a date"),
        ("timestamp,input_tokens\n1,many\n", "input_tokens has a value that is not a number"),
        ("timestamp,x\n1,1\n,2\n", "trace.csv:3: timestamp is empty"),
        ("timestamp\n1\nnan\n", "timestamp is (empty|not a number)"),
        ("timestamp\n1\ninf\n", "trace.csv:3: timestamp is not a number"),
        ("timestamp,input_tokens\n1,5\n2,-5\n", "trace.csv:3: input_tokens is not a whole number"),
        ("timestamp,input_tokens\n1,5.5\n", "input_tokens is not a whole number"),
        (
            "timestamp\n1\n2,secret\n",
            "trace.csv:3: the file is not a valid CSV trace: column 2 has no name in the header$",
        ),
        ("timestamp,x\n1,2\nsecret\n", "trace.csv:3: the file is not a valid CSV trace: column 2 is missing$"),
    ],
)
def test_invalid_traces_are_reported_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadValueError, match=message):
        read_trace(write_csv_trace(tmp_path, text))


def test_bytes_that_are_not_utf_8_are_reported_with_line_and_position(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"a,timestamp\nx\xff\xfe\x00timestamp\n\xff\n\0\0")
    with pytest.raises(BadValueError, match=r"trace\.csv:2: .*: byte 2 of the line is not UTF-8$") as caught:
        read_trace(path)
    assert str(caught.value).isprintable()


def test_trace_without_token_columns_cannot_supply_prompts(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="is missing the column input_tokens or output_tokens"):
        check_token_columns(write_csv_trace(tmp_path, "timestamp,input_tokens\n1,5\n"))


def write_trace(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,110,27
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:01.009930+00:00,2399,6
"""
MOONCAKE = """{"timestamp": 0, "input_length": 6755, "output_length": 500, "hash_ids": [0, 1, 2]}
{"timestamp": 3052, "input_length": 7319, "output_length": 490, "hash_ids": [0, 14]}
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,GPT-4,1087,230,1317,API log
"""
FUNCTIONS = """app,func,end_timestamp,duration
a,f,10.5,10
b,f,11.0,0.25
b,g,12.0,11.75
"""


@pytest.mark.parametrize(
    ("name", "text", "at_s", "tokens", "starts_at"),
    [
        ("a.csv", AZURE, [0, 0.052], ([4808, 110], [10, 27]), "2023-11-16T18:17:03.979960"),
        ("a.csv", AZURE_2024, [0, 1], ([2162, 2399], [5, 6]), "2024-05-10T00:00:00.009930"),
        ("a.jsonl", MOONCAKE, [0, 3.052], ([6755, 7319], [500, 490]), None),
        ("a.csv", BURSTGPT, [0, 40], ([472, 1087], [18, 230]), None),
        ("a.csv", FUNCTIONS, [0, 0.25, 10.5], None, None),
    ],
)  # fmt: skip
def test_public_traces_are_read(
    tmp_path: Path,
    name: str,
    text: str,
    at_s: list[float],
    tokens: tuple[list[int], list[int]] | None,
    starts_at: str | None,
) -> None:
    trace = read_trace(write_trace(tmp_path, name, text))
    assert trace.at_s.tolist() == pytest.approx(at_s)
    assert trace.starts_at == (None if starts_at is None else datetime.datetime.fromisoformat(starts_at))
    if tokens is None:
        assert not trace.has_tokens
    else:
        assert trace.input_tokens is not None
        assert trace.output_tokens is not None
        assert (trace.input_tokens.tolist(), trace.output_tokens.tolist()) == tokens


@pytest.mark.parametrize(
    ("unit", "first"), [("s", "1700000000"), ("ms", "1700000000000"), ("us", "1700000000000000"),
                        ("ns", "1700000000000000000")],
)  # fmt: skip
def test_unit_of_unix_times_is_inferred_from_their_magnitude(tmp_path: Path, unit: str, first: str) -> None:
    later = int(first) + int(2 * int(first) / 1_700_000_000)
    trace = read_trace(write_trace(tmp_path, "a.csv", f"time\n{first}\n{later}\n"))
    assert trace.at_s.tolist() == pytest.approx([0.0, 2.0])
    assert trace.starts_at == datetime.datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001 - of UTC


def test_trace_times_without_a_date_have_no_start_time(tmp_path: Path) -> None:
    assert read_trace(write_trace(tmp_path, "a.csv", "timestamp\n86400\n86401\n")).starts_at is None


@pytest.mark.parametrize(
    ("name", "content", "at_s"),
    [
        ("a.csv", b"\xef\xbb\xbftimestamp\n1\n2\n", [0, 1]),
        ("a.csv", b"timestamp\r\n1\r\n2\r\n", [0, 1]),
        ("a.csv", b"timestamp\n1\n2", [0, 1]),
        ("a.csv", b"timestamp\n7\n", [0]),
        ("a.csv", b'"timestamp","x"\n"1","a,b"\n"2.5",""\n', [0, 1.5]),
        ("a.csv", b" Timestamp ,x\n1,1\n1,2\n", [0, 0]),
        ("a.csv", b"x,TIME\n9,1e0\n8,2.5e1\n", [0, 24]),
        ("a.csv", b"timestamp\n2024-01-01T00:00:00\n2024-01-01T00:00:01.5\n", [0, 1.5]),
        ("a.csv", b"timestamp\n2024-01-01T00:00:00+02:00\n2024-01-01T00:00:00+01:00\n", [0, 3600]),
        ("a.csv", b"timestamp\n1969-12-31 23:59:59\n1970-01-01 00:00:00\n", [0, 1]),
        ("a.jsonl", b'\xef\xbb\xbf{"timestamp": 1}\r\n{"timestamp": 3}\r\n', [0, 2]),
        ("a.jsonl", b'{"timestamp": "2024-01-01T00:00:00Z"}\n{"timestamp": "2024-01-01T00:00:02Z"}\n', [0, 2]),
        ("a.jsonl", b'{"arrived_at": "2024-01-01 00:00:00"}\n{"arrived_at": "2024-01-01 00:00:02"}\n', [0, 2]),
    ],
)
def test_alternative_notations_of_traces_are_read(tmp_path: Path, name: str, content: bytes, at_s: list[float]) -> None:
    assert read_trace(write_trace(tmp_path, name, content)).at_s.tolist() == pytest.approx(at_s)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"\n\n\n", "not a valid CSV trace|the column timestamp is missing"),
        ("a.csv", b"\x00" * 100, "not a valid CSV trace|the column timestamp is missing"),
        ("a.csv", bytes(range(256)) * 20, "not a valid CSV trace|the column timestamp is missing"),
        ("a.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not a valid CSV trace|the column timestamp is missing"),
        ("a.csv", "timestamp\n1\n".encode("utf-16"), "not a valid CSV trace|the column timestamp is missing"),
        ("a.csv", b"timestamp\n-1\n2\n", "a.csv:2: timestamp is below zero"),
        ("a.csv", b"timestamp\n1\n-9223372036854775808\n", "a.csv:3: timestamp is below zero"),
        ("a.csv", b"timestamp\n-5.5\n2\n", "a.csv:2: timestamp is below zero"),
        ("a.csv", b"timestamp\n1\n-inf\n", "a.csv:3: timestamp is not a number"),
        ("a.csv", b"timestamp\n1\n1e999\n", "a.csv:3: timestamp is not a number"),
        ("a.csv", b"timestamp\n0\n1e300\n", "a.csv:3: the request is more than ten years after"),
        ("a.csv", b"timestamp\n1\n99999999999999999999999\n", "a.csv:3: the request is more than ten years"),
        ("a.csv", b"timestamp\n1\n2\n3,4\n", "not a valid CSV trace"),
        ("a.csv", b'timestamp\n1\n"2\n', "not a valid CSV trace|neither a number"),
        ("a.csv", b"timestamp\ntrue\nfalse\n", "neither a number nor a date"),
        ("a.csv", b"timestamp\n12:00:01\n12:00:02\n", "neither a number nor a date"),
        ("a.csv", b"timestamp\n2024-01-01\n2024-01-02\n", "neither a number nor a date"),
        ("a.csv", b"timestamp\n1,5\n2,5\n", "not a valid CSV trace"),
        ("a.csv", b"timestamp\n2024-01-02 00:00:00\n2024-01-01 00:00:00\n", "a.csv:3: the request is earlier"),
        ("a.csv", b"timestamp\n2024-01-01 00:00:00\n5\n", "neither a number nor a date"),
        ("a.csv", b"timestamp\n9999-01-01 00:00:00\n9999-01-01 00:00:01\n", "outside of the years|neither a number"),
        ("a.csv", b"timestamp,input_tokens\n1,99999999999\n", "a.csv:2: input_tokens is not a whole number"),
        ("a.csv", b"timestamp,output_tokens\n1,inf\n", "a.csv:2: output_tokens is not a number"),
        ("a.csv", b"timestamp,input_tokens\n1,5\n2,\n", "a.csv:3: input_tokens is empty"),
        ("a.csv", b"end_timestamp\n5\n", "a.csv:1: the column timestamp is missing"),
        ("a.csv", b"end_timestamp,duration\n", "has no requests"),
        ("a.csv", b"end_timestamp,duration\n5,inf\n", "a.csv:2: duration is not a number"),
        ("a.csv", b"end_timestamp,duration\n5,1\n1e300,1\n", "is more than ten years after"),
        ("a.csv", b"\xef\xbb\xbf", "not a valid CSV trace"),
        ("a.jsonl", b'{"a": 1}\n', "a.jsonl:1: the column timestamp is missing"),
        ("a.jsonl", b'{"timestamp": 2}\n{"timestamp": 1}\n', "a.jsonl:2: the request is earlier"),
        ("a.jsonl", b'{"timestamp": 2}\n{"a": 1}\n', "a.jsonl:2: timestamp is empty"),
        ("a.jsonl", b'{"timestamp": 1}\n{"timestamp": 1e400}\n', "a.jsonl:2: "),
        ("a.jsonl", b'{"timestamp": [1]}\n', "timestamp"),
        ("a.jsonl", b'{"timestamp": "soon"}\n', "neither a number nor a date"),
        ("a.jsonl", b'{"timestamp": 1, "input_length": -3}\n', "a.jsonl:1: input_tokens is not a whole number"),
        (
            "a.jsonl",
            b'{"timestamp": "2024-01-01T00:00:00Z"}\n{"timestamp": 5}\n',
            "a column has both numbers and text",
        ),
    ],
)
def test_error_about_an_invalid_trace_is_short_and_printable(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(BadValueError, match=message) as caught:
        read_trace(write_trace(tmp_path, name, content))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250 + len(str(tmp_path))


def test_trace_statistics_follow_the_current_file_content(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("timestamp,input_tokens,output_tokens\n5,10,1\n6,20,2\n9,60,6\n")
    statistics = read_trace_statistics(path)
    assert (statistics.count, statistics.span_s, statistics.mean_per_s) == (3, 4.0, 0.5)
    assert (statistics.mean_input_tokens, statistics.mean_output_tokens) == (30.0, 3.0)
    path.write_text("timestamp\n5\n7\n8\n15.00\n")
    changed_statistics = read_trace_statistics(path)
    assert (changed_statistics.count, changed_statistics.mean_input_tokens) == (4, None)


@pytest.mark.parametrize("text", ["timestamp\n5\n", "timestamp\n5\n5\n5\n"])
def test_trace_of_simultaneous_requests_has_no_rate(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(BadValueError, match="request rate of the trace cannot be computed"):
        read_trace_statistics(path)


def test_statistics_of_a_missing_trace_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="does not exist"):
        read_trace_statistics(tmp_path / "gone.csv")


def write_mooncake_trace(folder: Path, *rows: tuple[int, int, list[int]], name: str = "trace.jsonl") -> Path:
    path = folder / name
    path.write_text(
        "".join(
            f'{{"timestamp": {at}, "input_length": {tokens}, "output_length": 5, "hash_ids": {ids}}}\n'
            for at, tokens, ids in rows
        )
    )
    return path


def test_hash_ids_are_read_with_their_requests(tmp_path: Path) -> None:
    path = write_mooncake_trace(tmp_path, (0, 600, [0, 2**53 - 1]), (0, 0, []), (2000, 512, [0]))
    hash_ids = read_trace(path).blocks
    assert hash_ids is not None
    assert (hash_ids.ids.tolist(), hash_ids.counts.tolist()) == ([0, 2**53 - 1, 0], [2, 0, 1])
    check_token_columns(path)
    with pytest.raises(BadValueError, match=r"request 1 of trace\.jsonl has 2 hash IDs for 600 input tokens") as caught:
        check_token_columns(path, 64)
    assert "workload.block_tokens" in str(caught.value.hint)
    path.write_text(path.read_text() + '{"timestamp": 3000, "input_length": 9, "output_length": 1}\n')
    check_token_columns(path)
    extended_ids = read_trace(path).blocks
    assert extended_ids is not None
    assert extended_ids.counts.tolist() == [2, 0, 1, 0], "a request without hash IDs shares nothing"


@pytest.mark.parametrize("ids", ["[0, -1]", "[9007199254740992]", '["0"]', "[0.5]", "7", '"7"', "[[1]]", "[null]"])
def test_invalid_hash_ids_are_rejected(tmp_path: Path, ids: str) -> None:
    row = '{"timestamp": 1, "input_length": 9, "output_length": 1, "hash_ids": %s}\n'
    path = write_trace(tmp_path, "a.jsonl", row % "[1]" + row % ids)
    with pytest.raises(BadValueError, match=r"a\.jsonl:2: the line is not a JSON object with a request: "):
        read_trace(path)


def test_hash_ids_of_a_trace_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_HASH_IDS", 3)
    read_trace(write_mooncake_trace(tmp_path, (0, 600, [1, 2]), (1, 9, [3])))
    with pytest.raises(BadValueError, match="exceeds the maximum of 3 hash IDs"):
        read_trace(write_mooncake_trace(tmp_path, (0, 600, [1, 2]), (1, 600, [3, 4])))


def test_prefix_hit_share_of_a_trace_is_none_without_consistent_hash_ids(tmp_path: Path) -> None:
    path = write_mooncake_trace(tmp_path, (0, 600, [0, 1]), (1000, 1000, [0, 2]))
    assert read_trace_statistics(path).prefix_hit_share == 512 / 1600
    path.write_text(path.read_text() + '{"timestamp": 3000, "input_length": 400, "output_length": 1}\n' * 2)
    assert read_trace_statistics(path).prefix_hit_share == 512 / 2400
    smaller_blocks = write_mooncake_trace(tmp_path, (0, 600, [0, 1, 2]), (1000, 1000, [0, 2]), name="other.jsonl")
    assert read_trace_statistics(smaller_blocks).prefix_hit_share is None
    assert read_trace_statistics(write_trace(tmp_path, "c.csv", "timestamp\n1\n2\n")).prefix_hit_share is None
