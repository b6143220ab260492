from __future__ import annotations

import msgspec

from app.analysis.language_models import load_language_models
from app.analysis.published_points import TABLE, format_points, load_published_points
from app.profiles.pricing.catalog import load_catalog


def test_bundled_points_survive_a_round_trip() -> None:
    assert TABLE.read_text(encoding="utf-8") == format_points(load_published_points())


def test_bundled_points_refer_only_to_models_and_accelerators_of_the_catalog() -> None:
    points = load_published_points()
    assert {point.served.model for point in points} <= load_language_models().keys()
    assert {point.served.accelerator for point in points} <= load_catalog().accelerators.keys()
    assert len({point.id for point in points}) == len(points) > 2000


def test_missing_value_of_a_point_is_an_empty_cell() -> None:
    point = load_published_points()[0]
    unstated = msgspec.structs.replace(point, image=None, measured_on=None, recipe=None)
    assert format_points([unstated]).splitlines()[1].endswith(",,,")


def test_bundled_points_are_small_and_their_notice_names_the_source() -> None:
    assert TABLE.stat().st_size < 500_000
    notice = (TABLE.parent / "NOTICE").read_text(encoding="utf-8")
    assert "InferenceX" in notice
    assert "unofficial" in notice
    assert (TABLE.parent / "LICENSE").is_file()


def test_points_with_a_recipe_have_an_image() -> None:
    points = load_published_points()
    assert sum(point.recipe is not None for point in points) == 1080
    assert all(point.image for point in points if point.recipe is not None)
