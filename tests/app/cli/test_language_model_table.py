from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
import pytest

from app.cli.language_model_table import print_test_table
from app.cli.main import main
from app.errors import ExitCode
from app.records.local import GenerationTest, LanguageModelData, VariantData
from app.reporting.local import build_local_section
from loadgen.decoding import decode_json
from reports.local_model import LocalSection
from tests.fakes import decoders
from tests.fakes.language_model_runs import language_model_run

NAMES = ["pp512", "tg16", "pp512+tg16", "tg16 @ d1024"]


@pytest.fixture
def local() -> LocalSection:
    section = build_local_section(language_model_run().result)
    assert section is not None
    return section


def test_language_model_table_has_the_columns_of_llama_bench(
    local: LocalSection, capsys: pytest.CaptureFixture[str]
) -> None:
    print_test_table(local, "md")
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header == "| model | precision | size | params | backend | threads | batch | test | t/s (± 95 % CI) |"
    assert len(rows) == 8, "without the repeated test and the variant that failed"
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert cells[:-1] == ["tiny-decoder", "as-is", "20.8 MB", "5.25 M", "cpu", "1", "1", "pp512"]
    interval = local.variants[0].tests[0].rate.ci95
    assert interval is not None
    value, half_width = (float(text) for text in cells[-1].split(" ± "))
    assert (value - half_width, value + half_width) == pytest.approx(interval, abs=0.02)


def test_precision_column_has_source_and_compute_dtype(capsys: pytest.CaptureFixture[str]) -> None:
    result = language_model_run().result
    assert result.local is not None
    variants = tuple(
        msgspec.structs.replace(variant, language_model=_read_from_q4_1(variant)) for variant in result.local.variants
    )
    local = msgspec.structs.replace(result.local, variants=variants)
    section = build_local_section(msgspec.structs.replace(result, local=local))
    assert section is not None
    print_test_table(section, "json")
    assert {row["precision"] for row in decode_json(capsys.readouterr().out.encode())} == {"Q4_1 as float32"}


def _read_from_q4_1(variant: VariantData) -> LanguageModelData | None:
    model = variant.language_model
    return None if model is None else msgspec.structs.replace(model, source_dtype="Q4_1")


def test_language_model_csv_and_json_have_full_precision(
    local: LocalSection, capsys: pytest.CaptureFixture[str]
) -> None:
    print_test_table(local, "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    print_test_table(local, "json")
    objects = decode_json(capsys.readouterr().out.encode())
    assert [row["test"] for row in rows] == [row["test"] for row in objects] == NAMES * 2
    rate = local.variants[0].tests[2].rate
    assert float(rows[2]["tokens_per_s"]) == objects[2]["tokens_per_s"] == rate.value
    assert objects[2]["params"] == 5_245_184
    assert (rows[2]["params"], rows[2]["size_bytes"]) == ("5245184", "20800000")


def test_token_rate_of_one_repetition_has_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    section = build_local_section(language_model_run(tests=(GenerationTest(512, 0),), repetitions=1).result)
    assert section is not None
    print_test_table(section, "table")
    output = capsys.readouterr().out
    assert "2547.26" in output
    assert "± 9" in output.splitlines()[0]
    assert "±" not in output.splitlines()[2]


def test_csv_output_of_other_runs_and_with_json_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    assert main(["run", "quickstart", "--output", "csv"]) == ExitCode.USAGE
    assert "this profile does not run one on this machine" in capsys.readouterr().err
    decoders.contiguous(tmp_path / "model")
    (tmp_path / "llm.yaml").write_text("{sizewise: 1, name: llm, target: {model: model}}")
    for options in (["--json"], ["--events", "-"]):
        assert main(["run", str(tmp_path / "llm.yaml"), "--output", "csv", *options]) == ExitCode.USAGE
        assert f"{options[0]} and --output cannot be combined" in capsys.readouterr().err
