from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from msgspec.structs import replace

from app.errors import UsageError
from app.planning.fleets import plan_fleets
from app.profiles.pricing.catalog import load_bundled_catalog
from app.records.plan import Plan
from app.records.planning_inputs import PlanningInputs
from app.storage.bundle import export_run, import_run
from app.storage.run_directory import StoredRun
from app.wiring import plan_files
from app.wiring.plan_files import PlanFile, encode_plan, read_plan, read_plan_inputs, write_plan
from tests.fakes import offers, small_plan
from tests.fakes import plan_sources as sources
from tests.fakes.golden_runs import golden_plan
from tests.fakes.whole_plan import planning_inputs, whole_plan

pytestmark = pytest.mark.usefixtures("short_simulations")

PLAN_FILE = PlanFile("sizewise 0.1.0", whole_plan(), planning_inputs())
ENCODED = encode_plan(PLAN_FILE)
TEXT, CATALOG_NAME = ENCODED.text, ENCODED.catalog_name
ODD_NOTES = (
    "1e6",
    "no",
    "~",
    "2026-08-01",
    "a: b # c",
    "- d",
    "two\nlines \u2028\x85",
    "\0",
    "×≤é💡",
    " \t",
    "!!int 3",
    "&a *a",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / CATALOG_NAME).write_bytes(ENCODED.catalog)
    return tmp_path / "plan.yaml"


def bundled_question() -> PlanningInputs:
    """Return a question with the whole bundled catalog, based on the measurement of a CPU."""
    return offers.planning_inputs(catalog=load_bundled_catalog(), peak_per_s=900.0)


def planned_file(inputs: PlanningInputs) -> PlanFile:
    return PlanFile("sizewise", plan_fleets(inputs, estimate_only=True), inputs)


def document_of(plan_file: PlanFile) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(encode_plan(plan_file).text, Loader=yaml.CSafeLoader)
    return document


def test_plan_file_survives_a_round_trip(path: Path) -> None:
    with_odd_notes = replace(PLAN_FILE, plan=replace(PLAN_FILE.plan, notes=ODD_NOTES))
    assert write_plan(path, with_odd_notes) == (path, path.parent / CATALOG_NAME)
    assert read_plan(path) == with_odd_notes
    assert sorted(file.name for file in path.parent.iterdir()) == [CATALOG_NAME, "plan.yaml"]


def test_plan_file_starts_with_its_version_and_has_no_yaml_aliases(path: Path) -> None:
    fleet = PLAN_FILE.plan.offers[0]
    shared = replace(PLAN_FILE, plan=replace(PLAN_FILE.plan, offers=(fleet, fleet), runner_up=fleet))
    text = encode_plan(shared).text
    assert text.startswith("sizewise_plan: 3\ntool: sizewise 0.1.0\ncatalog:\n")
    assert " &id" not in text
    assert document_of(shared)["plan"]["offers"] == ["recommendation", "recommendation"]
    path.write_text(text, encoding="utf-8")
    assert read_plan(path) == shared


@pytest.mark.parametrize(
    "inputs", [small_plan.planning_inputs(), bundled_question()], ids=["two offers", "bundled catalog"]
)
def test_plan_computed_again_from_a_copied_plan_file_is_identical_to_the_byte(
    inputs: PlanningInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, copied = tmp_path / "here", tmp_path / "there"
    original.mkdir()
    copied.mkdir()
    for path in write_plan(original / "plan.yaml", planned_file(inputs)):
        shutil.copy(path, copied)
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "other home"))
    file = read_plan(copied / "plan.yaml")
    assert file.inputs == inputs
    recomputed = tmp_path / "again"
    recomputed.mkdir()
    write_plan(recomputed / "plan.yaml", replace(file, plan=plan_fleets(file.inputs, estimate_only=True)))
    for path in original.iterdir():
        assert (recomputed / path.name).read_bytes() == path.read_bytes()


def test_plan_file_over_the_whole_catalog_has_fewer_than_900_lines() -> None:
    file = planned_file(bundled_question())
    text = encode_plan(file).text
    assert len(file.plan.offers) == 293
    assert len(text.splitlines()) < 900


def test_facts_of_a_plan_file_cover_recommended_and_nearest_excluded_offers() -> None:
    file = planned_file(bundled_question())
    assert file.plan.recommendation is not None
    assert file.plan.runner_up is not None
    excluded = [fleet.offer for fleet in file.plan.offers if fleet.rejected is not None]
    document = document_of(file)
    assert set(document["facts"]["offers"]) == {
        file.plan.recommendation.fleet.offer,
        file.plan.runner_up.offer,
        *(fleet.offer for fleet in file.plan.pareto),
        *excluded[:5],
    }
    assert document["plan"]["planned_on"] == document["inputs"]["today"] == "2026-08-01"
    assert "catalog" not in document["inputs"]
    for key, offer_facts in document["facts"]["offers"].items():
        (offer,) = (candidate for candidate in file.inputs.catalog.offers if candidate.key == key)
        assert (offer_facts["as_of"], offer_facts["source"]) == (offer.as_of.isoformat(), offer.source)


def test_plan_files_of_the_same_catalog_share_its_file(tmp_path: Path) -> None:
    inputs = small_plan.planning_inputs()
    _, catalog = write_plan(tmp_path / "a.yaml", planned_file(inputs))
    written_ns = catalog.stat().st_mtime_ns
    write_plan(tmp_path / "b.yaml", planned_file(replace(inputs, slo=())))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.yaml", "b.yaml", catalog.name]
    assert catalog.stat().st_mtime_ns == written_ns
    catalog.write_bytes(b"damaged")
    write_plan(tmp_path / "b.yaml", planned_file(inputs))
    assert read_plan(tmp_path / "a.yaml").inputs == inputs


def test_change_of_the_peak_changes_one_line_of_the_inputs() -> None:
    inputs = small_plan.planning_inputs()
    busier = replace(inputs, traffic=replace(inputs.traffic, peak_per_s=61.0))
    lines, busier_lines = (
        encode_plan(PlanFile("sizewise", whole_plan(), changed_inputs)).text.splitlines()
        for changed_inputs in (inputs, busier)
    )
    assert [(line, other) for line, other in zip(lines, busier_lines, strict=True) if line != other] == [
        ("    peak_per_s: 60.0", "    peak_per_s: 61.0")
    ]


def test_unknown_keys_of_a_plan_file_are_ignored(path: Path) -> None:
    document = yaml.load(TEXT, Loader=yaml.CSafeLoader)
    document["added"] = {"a": 1}
    document["plan"]["added"] = 2
    digested_parts = (document["plan"], document["catalog"]["sha256"], document["inputs"]["today"])
    document["digest"] = hashlib.sha256(msgspec.json.encode(digested_parts, order="sorted")).hexdigest()
    path.write_text(yaml.dump(document, sort_keys=False), encoding="utf-8")
    assert read_plan(path) == PLAN_FILE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT[: TEXT.index("\ninputs:") + 1], "missing required field `inputs`"),
        ("sizewise_plan: 3\n", "missing required field `tool`"),
        (TEXT.replace("sizewise_plan: 3", "sizewise_plan: '3'"), "Expected `int`, got `str` - at `$.sizewise_plan`"),
        (TEXT.replace("peak_per_s: 90.0", "peak_per_s: many"), "Expected `float`, got `str` - at `$.traffic"),
        (TEXT.replace("  sha256: ", "  digest: "), "missing required field `sha256`"),
        (
            TEXT.replace("  offers:\n  - recommendation\n", "  offers:\n  - recommended\n"),
            "'recommended' is not a fleet",
        ),
        (
            TEXT.replace("  offers:\n  - recommendation\n", "  offers:\n  - {like: [x]}\n"),
            "is not a fleet before offers[0]",
        ),
        (TEXT.replace("  offers:\n  - recommendation\n", "  offers:\n  - offers[0]\n"), "'offers[0]' is not a fleet"),
        (TEXT.replace("  offers:\n  - recommendation\n", "  offers:\n  - 3\n"), "Expected `object`, got `int`"),
        (TEXT.replace("  offers:\n  - recommendation\n", "  offers:\n  - {offer: 3}\n"), "Expected `str`, got `int`"),
        (
            TEXT.replace("  offers:\n  - recommendation\n", "  offers:\n" + "  - recommendation\n" * 20),
            "recommendation occurs more than 8 times",
        ),
    ],
)
def test_invalid_plan_file_is_rejected_with_a_message_and_a_hint(path: Path, content: str, message: str) -> None:
    assert content != TEXT
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_plan(path)
    text = str(caught.value)
    assert text.startswith(f"{path} is not a valid plan file: ")
    assert message in text
    assert caught.value.hint is not None


def test_number_of_fleets_in_a_plan_file_is_limited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_files, "_MAX_FLEETS", 3)
    path.write_text(TEXT, encoding="utf-8")
    with pytest.raises(UsageError, match="it has more than 3 fleets"):
        read_plan(path)


def test_missing_catalog_of_a_plan_file_is_reported_with_a_hint(path: Path) -> None:
    write_plan(path, PLAN_FILE)
    (path.parent / CATALOG_NAME).unlink()
    with pytest.raises(UsageError, match=f"needs {CATALOG_NAME}, which is not in the same folder") as caught:
        read_plan(path)
    assert caught.value.hint is not None


def test_edited_fact_of_a_plan_file_is_rejected_even_without_effect(tmp_path: Path) -> None:
    path, _ = write_plan(tmp_path / "plan.yaml", planned_file(small_plan.planning_inputs()))
    text = path.read_text("utf-8")
    path.write_text(text.replace("on_demand_usd_per_hour: 1.0", "on_demand_usd_per_hour: 0.5", 1), encoding="utf-8")
    with pytest.raises(UsageError, match=r"the facts of acme/c2@here in .* differ from those in its catalog") as caught:
        read_plan(path)
    assert caught.value.hint is not None
    assert "--set price.OFFER" in caught.value.hint


@pytest.mark.parametrize("name", ["none/plan.yaml", "file/plan.yaml", "folder", "file/..", "x" * 300])
def test_unwritable_plan_path_is_reported_and_leaves_no_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot be written: "):
        write_plan(tmp_path / name, PLAN_FILE)
    assert {entry.name for entry in tmp_path.rglob("*")} - {CATALOG_NAME} == {"file", "folder"}


def test_plan_folder_is_synced_to_disk_after_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("app.storage.run_directory._sync_folder", synced.append)
    write_plan(tmp_path / "plan.yaml", PLAN_FILE)
    assert synced == [tmp_path, tmp_path]


def test_failed_write_does_not_change_an_existing_plan_file(path: Path) -> None:
    write_plan(path, PLAN_FILE)
    (path.parent / "plan.yaml.part").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_plan(path, replace(PLAN_FILE, tool="another"))
    assert read_plan(path) == PLAN_FILE


def test_bundle_includes_the_catalog_of_a_plan_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    run = Path(sources.endpoint_run(tmp_path / "run"))
    write_plan(run / "plan.yaml", PLAN_FILE)
    (run / "events.jsonl").touch()
    bundle = export_run(StoredRun(run), tmp_path / "run.zip")
    assert {"plan.yaml", CATALOG_NAME} <= {file.path for file in bundle.files}
    imported, _ = import_run(tmp_path / "run.zip")
    assert read_plan(imported / "plan.yaml") == PLAN_FILE


def test_golden_plan_is_rewritten_identically_except_for_its_digest(tmp_path: Path) -> None:
    golden = golden_plan(tmp_path)
    file = read_plan(golden)
    assert not file.has_digest
    assert file.notes
    rewritten = tmp_path / "again"
    rewritten.mkdir()
    path, catalog = write_plan(rewritten / "plan.yaml", file)
    assert catalog.read_bytes() == (tmp_path / catalog.name).read_bytes()
    lines = path.read_text("utf-8").splitlines()
    assert [line for line in lines if not line.startswith("digest: ")] == golden.read_text("utf-8").splitlines()
    assert read_plan(path) == replace(file, has_digest=True)


@pytest.mark.parametrize(
    ("original", "changed"),
    [
        (r"(?m)^( +usd_per_month:\n +value: )[\d.]+", r"\g<1>859.0"),
        (r"(?m)^( +instances: )\d+", r"\g<1>1"),
        (r"(?m)^(  planned_on: ).*", r"\g<1>'2026-08-02'"),
        (r"(?m)^(  today: ).*", r"\g<1>'2026-08-02'"),
        (r"(?m)^(digest: ).*", r"\g<1>" + 64 * "a"),
    ],
)
def test_edited_plan_is_rejected_and_can_be_computed_again(path: Path, original: str, changed: str) -> None:
    text, count = re.subn(original, changed, TEXT, count=1)
    assert count == 1
    assert text != TEXT
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match="was changed after it was written") as refused:
        read_plan(path)
    assert f"sizewise plan {path} --out {path}" in str(refused.value.hint)
    write_plan(path, PlanFile("sizewise", PLAN_FILE.plan, read_plan_inputs(path)))
    assert read_plan(path).has_digest


def test_digest_of_a_plan_file_does_not_depend_on_its_layout(path: Path) -> None:
    laid_out = yaml.dump(yaml.safe_load(TEXT), sort_keys=True, default_flow_style=False)
    path.write_text(f"sizewise_plan: 3\n# reviewed\n{laid_out.replace('sizewise_plan: 3', '')}", "utf-8")
    assert read_plan(path) == PLAN_FILE


def test_plan_files_of_other_inputs_survive_a_round_trip(tmp_path: Path) -> None:
    """Fleets with offers that are not in the catalog are written in full."""
    plan: Plan = whole_plan()
    for number, inputs in enumerate((planning_inputs(), small_plan.planning_inputs(), bundled_question())):
        file = PlanFile("sizewise", plan, inputs)
        write_plan(tmp_path / f"{number}.yaml", file)
        assert read_plan(tmp_path / f"{number}.yaml") == file
