from __future__ import annotations

from typing import get_args

import pytest

from app.errors import UsageError
from app.planning.exports.files import ExportKind, export_plan
from app.planning.exports.settings import ExportSettings
from tests.app.planning.exports.planned import planned, without_recommendation

SETTINGS = ExportSettings(name="../CON: fraud")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("k8s", ["kubernetes-con-fraud.yaml"]),
        ("kserve", ["kserve-con-fraud.yaml"]),
        ("terraform", ["sizewise-con-fraud.auto.tfvars.json", "sizewise-con-fraud.variables.tf.json"]),
        ("csv", ["offers-con-fraud.csv"]),
        ("json", ["plan-con-fraud.json"]),
    ],
)
def test_each_kind_has_its_files(kind: ExportKind, names: list[str]) -> None:
    files = export_plan(planned(), kind, SETTINGS)
    assert list(files) == names
    assert all(text.endswith("\n") and text.encode() for text in files.values())
    assert files == export_plan(planned(), kind, SETTINGS)


def test_only_what_reports_of_every_offer_needs_no_recommendation() -> None:
    for kind in get_args(ExportKind):
        if kind in ("csv", "json"):
            assert export_plan(without_recommendation(planned()), kind, SETTINGS)
        else:
            with pytest.raises(UsageError, match="recommends no fleet") as raised:
                export_plan(without_recommendation(planned()), kind, SETTINGS)
            assert raised.value.hint is not None
