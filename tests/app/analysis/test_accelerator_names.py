from __future__ import annotations

import pytest

from app.analysis.accelerator_names import list_short_names, matches_accelerator
from app.profiles.pricing.catalog import load_bundled_catalog

KEYS = tuple(load_bundled_catalog().accelerators)


def match_keys(name: str) -> set[str]:
    return {key for key in KEYS if matches_accelerator(key, name)}


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("h100", {"h100-pcie-80gb", "h100-sxm5-80gb", "h100-nvl-94gb"}),
        ("H100", {"h100-pcie-80gb", "h100-sxm5-80gb", "h100-nvl-94gb"}),
        ("NVIDIA H100 SXM", {"h100-sxm5-80gb"}),
        ("h100-sxm5", {"h100-sxm5-80gb"}),
        ("h100 80GB", {"h100-pcie-80gb", "h100-sxm5-80gb"}),
        ("A100 80", {"a100-pcie-80gb", "a100-sxm4-80gb"}),
        ("a100_sxm_40gb", {"a100-sxm4-40gb"}),
        ("h200", {"h200-sxm-141gb", "h200-nvl-141gb"}),
        ("b200", {"b200-sxm-180gb"}),
        ("l40", {"l40"}),
        ("l40s", {"l40s"}),
        ("t4", {"t4"}),
        ("a10", {"a10"}),
        ("rtx4090", {"rtx-4090"}),
        ("4090", {"rtx-4090"}),
        ("GeForce RTX 4090", {"rtx-4090"}),
        ("rtx 6000", {"rtx-6000-ada", "quadro-rtx-6000"}),
        ("rtx pro 6000", {"rtx-pro-6000-server", "rtx-pro-6000-workstation"}),
        ("v5e", {"tpu-v5e"}),
        ("tpu v6e", {"tpu-v6e"}),
        ("mi300x", {"mi300x"}),
        ("v100", {"v100-pcie-16gb", "v100-sxm2-16gb", "v100-sxm2-32gb"}),
        ("v100-32gb", {"v100-sxm2-32gb"}),
        ("h1", set()),
        ("h", set()),
        ("80gb", set()),
        ("h100-40gb", set()),
        ("h100-sxm5-80gb-x", set()),
        ("", set()),
        (" - ", set()),
        ("nvidia", set()),
        ("none", set()),
    ],
)
def test_accelerator_name_matches_exactly_its_variants(name: str, keys: set[str]) -> None:
    assert match_keys(name) == keys


def test_every_catalog_key_matches_only_itself() -> None:
    for key in KEYS:
        assert match_keys(key) == {key}


def test_name_none_matches_only_instances_without_accelerators() -> None:
    assert matches_accelerator(None, "none")
    assert not matches_accelerator(None, "h100")
    assert not matches_accelerator("h100-sxm5-80gb", "none")


def test_short_names_include_models_and_exclude_bare_prefixes() -> None:
    names = list_short_names(KEYS)
    assert {"h100", "h100-sxm5", "h100-sxm5-80gb", "l40s", "a100", "mi300x"} <= names
    assert not {"rtx", "quadro", "tpu", "jetson"} & names
