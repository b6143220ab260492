from __future__ import annotations

import csv
import datetime
import io
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.errors import UsageError
from app.profiles.pricing.catalog import load_bundled_catalog
from app.records.offers import Catalog, GridCarbonIntensity, Override, OwnedHardware
from app.storage import catalog_file
from app.storage.catalog_file import CatalogReference, build_catalog_reference, format_catalog, read_catalog
from tests.fakes.offers import TODAY, catalog_of, gpu_offer, offer

OWNED = OwnedHardware(capex_usd=40_000.0, life_years=4.0, units=3)
ODD_TEXTS = (
    "null",
    "1e3",
    "a,b",
    'quoted "text"',
    "two\nlines\r\u2028",
    "\0\x1b[31m",
    "=1+1",
    "'=1",
    "@a",
    "'",
    " padded ",
    "×≤é💡",
)
ODD = Catalog(
    catalog_of().accelerators,
    (
        offer("owned", owned=OWNED, on_demand_usd_per_hour=None, vcpus=None, memory_gib=None),
        gpu_offer("changed", "l4", overrides=(Override("vcpus", 4.0, TODAY), Override("accelerator", "t4", TODAY))),
        *(offer(text, provider=text, source=text) for text in ODD_TEXTS),
    ),
    {"acme/here": GridCarbonIntensity("DE", 300.5, datetime.date(2026, 1, 2), "a, b")},
)


def write_catalog(folder: Path, content: bytes) -> tuple[Path, CatalogReference]:
    reference = build_catalog_reference(content)
    (folder / reference.file).write_bytes(content)
    return folder / "plan.yaml", reference


@pytest.mark.parametrize("catalog", [load_bundled_catalog(), ODD, Catalog({}, ())], ids=["bundled", "odd", "empty"])
def test_catalog_file_survives_a_round_trip_to_the_byte(catalog: Catalog, tmp_path: Path) -> None:
    content = format_catalog(catalog)
    loaded = read_catalog(*write_catalog(tmp_path, content))
    assert loaded == catalog
    assert list(loaded.accelerators) == list(catalog.accelerators)
    assert list(loaded.grid) == list(catalog.grid)
    assert format_catalog(loaded) == content


def test_catalog_file_is_a_csv_table() -> None:
    rows = list(csv.DictReader(io.StringIO(format_catalog(load_bundled_catalog()).decode(), newline=""), strict=True))
    assert {row["table"] for row in rows} == {"offer", "accelerator", "grid"}
    (offer_row,) = (row for row in rows if row["instance_type"] == "g6.2xlarge" and row["region"] == "us-east-1")
    assert (offer_row["accelerator"], offer_row["on_demand_usd_per_hour"], offer_row["as_of"]) == (
        "l4",
        "0.9776",
        "2026-07-20",
    )


def test_catalog_cells_are_not_spreadsheet_formulas() -> None:
    hostile = catalog_of(offer("=1+1", provider="@a", source="'=1"))
    row = format_catalog(hostile).decode().splitlines()[1]
    assert row.startswith("offer,,'@a,'=1+1,here,")
    assert ",''=1," in row


def test_whole_numbers_are_written_alike_as_int_and_float() -> None:
    assert format_catalog(catalog_of(offer(vcpus=8))) == format_catalog(catalog_of(offer(vcpus=8.0)))


def test_catalog_file_is_named_by_its_digest() -> None:
    content, other = format_catalog(ODD), format_catalog(replace(ODD, grid={}))
    reference = build_catalog_reference(content)
    assert reference.file == f"catalogue-{reference.sha256[:12]}.csv"
    assert build_catalog_reference(other).file != reference.file


def test_missing_catalog_file_is_reported_with_a_hint_to_copy_the_file(tmp_path: Path) -> None:
    path, reference = write_catalog(tmp_path, format_catalog(ODD))
    (tmp_path / reference.file).unlink()
    with pytest.raises(UsageError) as caught:
        read_catalog(path, reference)
    assert str(caught.value) == f"{path} needs {reference.file}, which is not in the same folder"
    assert caught.value.hint is not None
    assert f"Copy {reference.file} from where the plan file came from" in caught.value.hint


def test_catalog_file_with_changed_content_is_rejected(tmp_path: Path) -> None:
    content = format_catalog(ODD)
    path, reference = write_catalog(tmp_path, content)
    (tmp_path / reference.file).write_bytes(content.replace(b"karp-aws", b"karp-gcp", 1))
    with pytest.raises(UsageError, match="its digest differs"):
        read_catalog(path, reference)


@pytest.mark.parametrize("name", ["../catalogue.csv", "/etc/passwd", "catalogue-000000000000.csv", ""])
def test_plan_cannot_name_another_file_as_its_catalog(name: str, tmp_path: Path) -> None:
    path, reference = write_catalog(tmp_path, format_catalog(ODD))
    with pytest.raises(UsageError, match="does not name its catalog file by the digest"):
        read_catalog(path, replace(reference, file=name))


def test_oversized_catalog_file_or_directory_is_rejected(tmp_path: Path) -> None:
    path, reference = write_catalog(tmp_path, b"")
    with (tmp_path / reference.file).open("wb") as file:
        file.truncate(catalog_file.MAX_BYTES + 1)
    with pytest.raises(UsageError, match="is too large for a catalog file"):
        read_catalog(path, reference)
    (tmp_path / reference.file).unlink()
    (tmp_path / reference.file).mkdir()
    with pytest.raises(UsageError, match="is not a file"):
        read_catalog(path, reference)


ROW = "table,place,provider,instance_type,region,as_of,accelerator_count,source,owned,launch_year"
VALID_ROW = "offer,,a,b,c,2026-08-01,0,d,,"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{ROW}\n{VALID_ROW}\n{VALID_ROW}\n", "the row 'a/b@c' is duplicated"),
        (f"{ROW}\n{VALID_ROW},\n", "the number of cells does not match"),
        (f"{ROW}\noffer,,a\n", "the number of cells does not match"),
        (f"{ROW}\nprice,,a,b,c,2026-08-01,0,d,,\n", "'price' is not a table of a catalog"),
        ("provider\na\n", "'' is not a table of a catalog"),
        (f"{ROW}\n{VALID_ROW.replace('2026-08-01', 'today')}\n", "Invalid RFC3339"),
        (f"{ROW}\n{VALID_ROW.replace(',0,', ',many,')}\n", "Expected `float`, got `str`"),
        (f"{ROW}\n{VALID_ROW.replace(',a,', ',,')}\n", "Expected `str`, got `null`"),
        (f"{ROW}\n{VALID_ROW.replace(',d,', ',d,[')}\n", "truncated"),
        (f"{ROW}\n{VALID_ROW.replace(',d,', ',d,{}')}\n", "missing required field `capex_usd`"),
        (f'{ROW}\n"offer', "unexpected end of data"),
        (f"{ROW}\n{VALID_ROW}\n".encode() + b"\xff", "can't decode byte"),
    ],
)
def test_invalid_catalog_table_is_rejected_with_a_single_line_message(
    content: str | bytes, message: str, tmp_path: Path
) -> None:
    path, reference = write_catalog(tmp_path, content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match="is not a valid catalog file: ") as caught:
        read_catalog(path, reference)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_catalog_columns_are_ignored(tmp_path: Path) -> None:
    loaded = read_catalog(*write_catalog(tmp_path, f"{ROW},added\n{VALID_ROW},1\n".encode()))
    assert [catalog_offer.key for catalog_offer in loaded.offers] == ["a/b@c"]
    assert loaded.offers[0].accelerator_count == 0.0
