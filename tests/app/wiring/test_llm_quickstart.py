from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ProfileError, StorageError
from app.inference.generation.model_folder import read_model_folder
from app.planning.fleets import plan_fleets
from app.profiles.profile import GeneratingProfile
from app.records.result import ShapePlan
from app.reporting.plan import build_shape_plan_section
from app.wiring import llm_quickstart
from app.wiring.llm_quickstart import build_profile, build_shape_inputs, write_demonstration_model
from tests.fakes.offers import TODAY


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def drawn_folders(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the folders of drawn models, each with only a placeholder file."""
    folders: list[Path] = []

    def draw(folder: Path, *_: object) -> None:
        folders.append(folder)
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"drawn")

    monkeypatch.setattr(llm_quickstart, "write_random_decoder", draw)
    return folders


def test_demonstration_model_is_drawn_once_into_the_home(drawn_folders: list[Path], home: Path) -> None:
    first, second = write_demonstration_model(), write_demonstration_model()
    assert first == second == home / "models" / "random-decoder-4x384"
    assert [path.name for path in first.iterdir()] == ["model.onnx"]
    assert len(drawn_folders) == 1
    assert [path.name for path in (home / "models").iterdir()] == [first.name]


def test_unwritable_model_folder_is_reported(drawn_folders: list[Path], home: Path) -> None:
    (home / "models").write_text("a file")
    with pytest.raises(StorageError, match="could not be written"):
        write_demonstration_model()
    assert not drawn_folders


def test_demonstration_model_supports_batches_and_has_no_prefix_cache(home: Path) -> None:
    model = read_model_folder(write_demonstration_model())
    assert model.paged_cache is not None
    assert model.paged_cache.max_batch == 8
    assert '"prefix_caching":false' in (home / "models" / "random-decoder-4x384" / "genai_config.json").read_text()


def test_quickstart_profile_serves_the_model_and_sweeps_concurrency(tmp_path: Path) -> None:
    profile = build_profile(tmp_path, 1.5, is_own_model=False, overrides=["load.workers=1"])
    assert isinstance(profile, GeneratingProfile)
    serve, sweep = profile.target.serve, profile.load.sweep
    assert serve is not None
    assert (serve.model, serve.provider) == (tmp_path, "cpu")
    assert sweep is not None
    assert (sweep.concurrency, sweep.step_duration_s) == ((1, 2, 4, 8, 16, 32), 2.25)
    assert [objective.metric for objective in profile.slo][:2] == ["ttft_ms", "tpot_ms"]
    own = build_profile(tmp_path, 1.5, is_own_model=True)
    assert own.slo[0].limit > profile.slo[0].limit


def test_missing_model_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="is not a folder"):
        build_profile(tmp_path / "nowhere", 1.0, is_own_model=True)


def test_plan_of_the_larger_model_has_only_accelerators_and_is_assumed() -> None:
    inputs = build_shape_inputs(TODAY)
    assert inputs.measured == ()
    assert all(offer.accelerator for offer in inputs.catalog.offers)
    plan = plan_fleets(inputs, estimate_only=True)
    assert plan.recommendation is not None
    assert {fleet.basis for fleet in plan.offers} == {"assumed"}
    section = build_shape_plan_section(ShapePlan("Llama 3.1 8B", plan))
    accelerators = [row.accelerator for row in section.rows]
    assert len(accelerators) == len(set(accelerators)) == 6
    costs = [row.fleet.usd_per_month.value or 0.0 for row in section.rows]
    assert costs == sorted(costs)
    assert "Nothing that this run measured is part of it" in section.statement
