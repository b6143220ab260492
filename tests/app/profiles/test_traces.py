from __future__ import annotations

from pathlib import Path

import pytest

from app.profiles.problems import BadValueError
from app.profiles.traces import check_token_columns, read_trace


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text)
    return path


def test_times_count_from_the_first_row(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, "timestamp\n10\n10.5\n12\n"))
    assert trace.at_s.tolist() == [0.0, 0.5, 2.0]
    assert not trace.has_tokens


@pytest.mark.parametrize(
    "header",
    ["timestamp,input_tokens,output_tokens", "TIMESTAMP,ContextTokens,GeneratedTokens",
     "Timestamp,Request tokens,Response tokens"],
)  # fmt: skip
def test_lengths_have_the_names_of_public_traces_too(tmp_path: Path, header: str) -> None:
    trace = read_trace(written(tmp_path, f"{header}\n0,5,6\n1,7,8\n"))
    assert trace.input_tokens is not None
    assert trace.output_tokens is not None
    assert (trace.input_tokens.tolist(), trace.output_tokens.tolist()) == ([5, 7], [6, 8])


@pytest.mark.parametrize("zone", ["", "Z"])
def test_dates_are_times_too(tmp_path: Path, zone: str) -> None:
    rows = f"2023-11-16 18:15:46.6805900{zone}\n2023-11-16 18:15:50.9951690{zone}\n"
    trace = read_trace(written(tmp_path, f"timestamp\n{rows}"))
    assert trace.at_s.tolist() == pytest.approx([0.0, 4.314579])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a CSV file"),
        ("timestamp\n", "holds no request"),
        ("time_of_day\n1\n", "lacks the column timestamp"),
        ("timestamp\n1\n2\n1.5\n", "trace.csv:4: this request came before the one above it"),
        ("timestamp\n1\nsoon\n", "neither a number nor a date"),
        ("timestamp,input_tokens\n1,many\n", "input_tokens holds something that is not a number"),
        ("timestamp,x\n1,1\n,2\n", "trace.csv:3: timestamp is empty"),
        ("timestamp\n1\nnan\n", "timestamp is (empty|not a number)"),
        ("timestamp\n1\ninf\n", "trace.csv:3: timestamp is not a number"),
        ("timestamp,input_tokens\n1,5\n2,-5\n", "trace.csv:3: input_tokens is not a whole number"),
        ("timestamp,input_tokens\n1,5.5\n", "input_tokens is not a whole number"),
        ("timestamp\n1\n2,3\n", "not a CSV file"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadValueError, match=says):
        read_trace(written(tmp_path, text))


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xff\xfe\x00timestamp\n\xff\n\0\0")
    with pytest.raises(BadValueError) as caught:
        read_trace(path)
    assert str(caught.value).isprintable()


def test_a_trace_without_lengths_cannot_be_prompts(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="lacks the column input_tokens or output_tokens"):
        check_token_columns(written(tmp_path, "timestamp,input_tokens\n1,5\n"))
