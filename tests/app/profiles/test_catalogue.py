from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.bundled import DIRECTORY
from app.profiles.catalogue import check_provider, find_accelerator, find_offer, load_catalogue

OFFERS = (DIRECTORY / "hardware" / "offers.csv").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DIRECTORY / "hardware", tmp_path / "hardware"))


def test_the_bundled_catalogue_is_whole() -> None:
    catalogue = load_catalogue()
    assert len(catalogue.offers) == len({offer.key for offer in catalogue.offers}) == 293
    assert len(catalogue.accelerators) == 71
    offer = find_offer(catalogue, "aws/g6.2xlarge")
    assert (offer.accelerator, offer.accelerator_count, offer.vcpus) == ("l4", 1, 8)
    assert offer.on_demand_usd_per_hour == 0.9776
    assert offer.as_of == datetime.date(2026, 7, 20)
    assert find_accelerator(catalogue, "l4").memory_gib == 24
    assert find_offer(catalogue, "vultr/per-gpu-list:mi300x").vcpus is None


def test_an_offer_is_found_in_its_region() -> None:
    catalogue = load_catalogue()
    assert find_offer(catalogue, "aws/g6.xlarge@eu-north-1").region == "eu-north-1"
    assert find_offer(catalogue, "aws/g6.xlarge", region="eu-central-1").region == "eu-central-1"
    with pytest.raises(UsageError) as caught:
        find_offer(catalogue, "aws/g6.xlarge", region="us-west-9")
    assert "us-east-1" in (caught.value.hint or "")


def test_wrong_names_get_the_nearest() -> None:
    catalogue = load_catalogue()
    with pytest.raises(UsageError) as caught:
        find_offer(catalogue, "aws/g6.2xlrage")
    assert "aws/g6.2xlarge" in (caught.value.hint or "")
    with pytest.raises(UsageError) as caught:
        find_accelerator(catalogue, "l-40s")
    assert "l40s" in (caught.value.hint or "")
    with pytest.raises(UsageError) as caught:
        check_provider(catalogue, "azur")
    assert "azure" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("column", "cell", "says"),
    [
        (0, "", "provider is empty"),
        (3, "l4x", "accelerator_key 'l4x' is not in accelerators.csv"),
        (3, "none", "accelerator_count"),
        (4, "", "accelerator_count"),
        (5, "four", "vcpus is not a number"),
        (7, "-1", "on_demand_usd_per_hour is not a number of at least 0"),
        (7, "nan", "on_demand_usd_per_hour"),
        (10, "20.7.2026", "as_of_date is not a date"),
        (11, "", "source is empty"),
        (11, "x,y", "not as many cells"),
        (1, "g4dn.2xlarge", "a second time"),
    ],
)
def test_a_bad_cell_is_told_by_file_and_line(folder: Path, column: int, cell: str, says: str) -> None:
    cells = OFFERS[1].split(",")
    cells[column] = cell
    bad_last = [OFFERS[0], *OFFERS[2:5], ",".join(cells)]
    (folder / "offers.csv").write_text("\n".join(bad_last) + "\n")
    with pytest.raises(UsageError, match=r"offers\.csv:5: ") as caught:
        load_catalogue(folder)
    assert says in str(caught.value)


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_catalogue(tmp_path)


def test_the_peaks_of_every_precision_are_read() -> None:
    card = find_accelerator(load_catalogue(), "b200-sxm-180gb")
    assert (card.tf32_tflops, card.bf16_tflops, card.fp8_tflops, card.fp4_tflops) == (1100, 2250, 4500, 9000)
    assert (card.interconnect, card.interconnect_gb_s) == ("NVLink 5", 1800)
    assert find_accelerator(load_catalogue(), "a100-sxm4-80gb").fp8_tflops is None


def test_retired_instances_are_not_listed() -> None:
    names = {offer.instance_type for offer in load_catalogue().offers}
    assert not names & {"Standard_NC6s_v3", "Standard_NC24s_v3"}
