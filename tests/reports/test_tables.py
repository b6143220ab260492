from __future__ import annotations

import csv
import io

import msgspec
import pytest

from reports.model import Report
from reports.tables import build_plan_tables, build_tables, format_csv
from tests.reports.hostile import PAYLOADS, hostile

_FORMULAE = (
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "=cmd|'/C calc'!A0", '=HYPERLINK("http://x")',
    "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", 'x";=1', "x\n=1", "x,=1", "\x00=1",
)  # fmt: skip


def _read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text), strict=True))


@pytest.mark.parametrize("formula", _FORMULAE)
def test_csv_text_is_never_formula_and_stays_in_its_cell(formula: str) -> None:
    _, row = _read(format_csv(("a", "b", "c"), [(formula, -1.5, None)]))
    assert len(row) == 3
    assert (
        not row[0]
        .lstrip(" ")
        .startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
    )
    assert row[0].lstrip("'") == formula.replace("\x00", "").replace("\r", "\r")
    assert row[1:] == ["-1.5", ""], "numbers stay numbers, and what is missing is empty"


def test_csv_rows_have_equal_length_in_every_table(full_report: Report, local_report: Report) -> None:
    tables = build_tables(full_report)
    assert [*tables] == ["stages", "timeline", "offers"]
    assert [*build_tables(local_report)] == ["variants"]
    for text in (*tables.values(), *build_tables(local_report).values()):
        rows = _read(text)
        assert len(rows) > 1
        assert len({len(row) for row in rows}) == 1


def test_csv_stages_and_timeline_match_report(full_report: Report) -> None:
    columns, *stages = _read(build_tables(full_report)["stages"])
    p95 = [row[columns.index("p95_ms")] for row in stages]
    assert p95 == ["" if stage.p95.value is None else str(stage.p95.value) for stage in full_report.stages]
    columns, *times = _read(build_tables(full_report)["timeline"])
    assert full_report.load is not None
    assert [float(row[columns.index("good_per_s")]) for row in times] == list(full_report.load.good_per_s)
    assert "ttft_p95_ms" not in columns
    assert "lag_p99_ms" in columns


@pytest.mark.parametrize("payload", [*PAYLOADS, *_FORMULAE])
def test_hostile_names_stay_in_csv_cells(payload: str, full_report: Report, local_report: Report) -> None:
    for report in (full_report, local_report):
        harmless = build_tables(report)
        for name, text in build_tables(hostile(report, payload)).items():
            rows = _read(text)
            assert [len(row) for row in rows] == [len(row) for row in _read(harmless[name])]
            assert not [cell for row in rows for cell in row if cell.startswith(("=", "@", "+", "\t", "\r", "\n"))]


def test_plan_without_offers_and_run_without_stages_have_no_csv_table(
    full_report: Report, empty_report: Report
) -> None:
    assert full_report.plan is not None
    assert build_plan_tables(msgspec.structs.replace(full_report.plan, offers=(), rejected_offers=())) == {}
    assert build_tables(empty_report) == {}


def test_language_model_run_has_csv_table_of_tests(language_model_report: Report) -> None:
    tables = build_tables(language_model_report)
    assert [*tables] == ["tests"]
    header, *rows = _read(tables["tests"])
    assert len(rows) == 9
    assert {len(row) for row in rows} == {len(header)}
    values = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["test"] for row in values[:5]] == ["pp512", "tg16", "pp512+tg16", "tg16 @ d1024", "pp512"]
    assert [row["repeat"] for row in values[:5]] == ["1", "1", "1", "1", "2"]
    assert float(values[0]["prefill_tokens_per_s"]) == pytest.approx(512 / 0.2 * (1 + 1 / 1.01 + 1 / 1.02) / 3)
    assert values[0]["decode_tokens_per_s"] == values[1]["ttft_p50_ms"] == ""
    assert (values[3]["depth"], values[3]["size_bytes"], values[3]["peak_memory_gib"]) == ("1024", "20800000", "0.25")
