from __future__ import annotations

import itertools

from PySide6.QtCore import QPointF, QRectF, QSizeF

from app.gui.charts.labels import place_labels

AREA = QRectF(30, 17, 430, 146)


def test_crowded_point_labels_overlap_neither_labels_nor_points() -> None:
    points = [QPointF(x, y) for x, y in ((131, 160), (115, 55), (53, 108), (68, 109), (71, 125), (84, 145), (108, 145))]
    rects = place_labels(points, [QSizeF(width, 13) for width in (125, 119, 152, 152, 131, 88, 88)], AREA)
    placed = [rect for rect in rects if rect is not None]
    assert len(placed) == len(points)
    assert not any(first.intersects(second) for first, second in itertools.combinations(placed, 2))
    assert not any(rect.contains(point) for rect in placed for point in points)
    assert all(AREA.contains(rect) for rect in placed)


def test_point_label_is_beside_its_point_and_avoids_points_and_occupied_space() -> None:
    point, size = QPointF(200, 90), QSizeF(60, 13)
    (beside,) = place_labels([point], [size], AREA)
    assert beside is not None
    assert beside.left() > point.x()
    assert beside.left() - point.x() < 10
    covered = QPointF(beside.center())
    (elsewhere,) = place_labels([point], [size], AREA, [covered])
    assert elsewhere is not None
    assert not elsewhere.contains(covered)
    (free,) = place_labels([point], [size], AREA, occupied=[beside])
    assert free is not None
    assert not free.intersects(beside)


def test_point_label_without_space_is_omitted() -> None:
    assert place_labels([QPointF(40, 20)], [QSizeF(900, 13)], AREA) == (None,)
