from __future__ import annotations

import datetime
import io
import zipfile
from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.pricing.published.listed import PublishedPrices
from app.profiles.pricing.published.reading import read_catalog
from tests.fakes.price_catalogs import INSTANCES, amounts, catalog_file, gpuhunt_csv, gpuhunt_zip

L4 = {"instance_name": "g6.xlarge", "location": "us-east-1", "price": 0.79, "gpu_count": 1, "gpu_name": "L4"}


def read_gpuhunt(folder: Path, content: bytes | str, name: str = "catalog.zip") -> PublishedPrices:
    (published,) = read_catalog([catalog_file(folder, name, content)], "gpuhunt", INSTANCES, None)
    return published


def test_gpuhunt_archive_has_a_file_for_each_provider(tmp_path: Path) -> None:
    nebius = {"instance_name": "gpu-l40s-a 1gpu-8vcpu-32gb", "location": "eu-north1", "price": 1.5}
    lambda_labs = {"instance_name": "gpu_1x_a10", "location": "us-east-1", "price": 1.2}
    published = read_gpuhunt(
        tmp_path,
        gpuhunt_zip(
            {
                "aws.csv": gpuhunt_csv(L4, L4 | {"price": 0.3, "spot": True}, L4 | {"instance_name": "x1.big"}),
                "nebius.csv": gpuhunt_csv(nebius),
                "lambdalabs.csv": gpuhunt_csv(lambda_labs),
                "README.txt": "not a table",
            }
        ),
    )
    assert published.as_of == datetime.date(2026, 8, 19)
    assert {price.provider for price in published.prices} == {"aws", "nebius", "lambda"}
    assert amounts(published.prices) == {
        ("g6.xlarge", "us-east-1", "", "on-demand"): 0.79,
        ("g6.xlarge", "us-east-1", "", "spot"): 0.3,
        ("gpu-l40s-a_1gpu-8vcpu-32gb", "eu-north1", "", "on-demand"): 1.5,
        ("gpu_1x_a10", "us-east-1", "", "on-demand"): 1.2,
    }
    assert published.prices[0].accelerator_count == 1
    assert (published.other_rows, published.unreadable_rows) == (1, 0)


def test_gpuhunt_lists_gcp_by_zone_and_n1_instances_by_their_gpus(tmp_path: Path) -> None:
    n1 = {"instance_name": "n1-standard-4", "location": "us-central1-a", "price": 0.5, "gpu_count": 1, "gpu_name": "T4"}
    published = read_gpuhunt(
        tmp_path, gpuhunt_zip({"gcp.csv": gpuhunt_csv(n1, n1 | {"gpu_count": 2}, n1 | {"gpu_count": 0})})
    )
    assert amounts(published.prices) == {("n1-standard-4+1xt4", "us-central1", "us-central1-a", "on-demand"): 0.5}
    assert published.other_rows == 2


@pytest.mark.parametrize(
    "reserved", [{"flags": "gcp-dws-calendar-mode"}, {"provider_data": '{"is_dws_calendar_mode": true}'}]
)
def test_gpuhunt_capacity_reserved_in_advance_is_not_on_demand(tmp_path: Path, reserved: dict[str, object]) -> None:
    row = {"instance_name": "g2-standard-4", "location": "us-central1-a", "price": 0.2}
    assert read_gpuhunt(tmp_path, gpuhunt_zip({"gcp.csv": gpuhunt_csv(row | reserved)})).prices == ()


def test_single_gpuhunt_file_has_its_provider_in_its_name(tmp_path: Path) -> None:
    published = read_gpuhunt(tmp_path, gpuhunt_csv(L4), "aws.csv")
    assert [price.provider for price in published.prices] == ["aws"]
    assert published.as_of is None


def test_gpuhunt_price_without_a_number_is_none_and_an_invalid_spot_cell_is_reported(tmp_path: Path) -> None:
    published = read_gpuhunt(tmp_path, gpuhunt_csv(L4 | {"price": "n/a"}, L4 | {"spot": "maybe\x1b"}), "aws.csv")
    assert [price.amount for price in published.prices] == [None]
    assert published.unreadable_rows == 1
    assert published.problems == (r"aws.csv:3: spot must be True or False, not 'maybe\x1b'",)


def test_damaged_or_unrelated_gpuhunt_archive_is_rejected(tmp_path: Path) -> None:
    archive = gpuhunt_zip({"aws.csv": gpuhunt_csv(*[L4] * 50)})
    with pytest.raises(UsageError, match="the archive cannot be read"):
        read_gpuhunt(tmp_path, archive[:-30])
    with pytest.raises(UsageError, match="the archive has 0 CSV files"):
        read_gpuhunt(tmp_path, gpuhunt_zip({"a.txt": "x"}))
    flipped = bytearray(archive)
    flipped[60:80] = bytes(20)
    with pytest.raises(UsageError):
        read_gpuhunt(tmp_path, bytes(flipped))


def test_gpuhunt_archive_that_expands_beyond_the_limit_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.profiles.pricing.published.gpuhunt.MAX_BYTES", 10_000)
    bomb = gpuhunt_zip({"aws.csv": gpuhunt_csv(*[L4] * 1000)})
    assert len(bomb) < 2_000
    with pytest.raises(UsageError, match="the files of the archive are larger than"):
        read_gpuhunt(tmp_path, bomb)
    with pytest.raises(UsageError, match="the archive has 101 CSV files"):
        read_gpuhunt(tmp_path, gpuhunt_zip({f"{index}.csv": "" for index in range(101)}))


def test_unsupported_compression_of_a_gpuhunt_archive_is_rejected(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("aws.csv", gpuhunt_csv(L4))
    with pytest.raises(UsageError, match="the compression method of the archive is not supported"):
        read_gpuhunt(tmp_path, content.getvalue())
