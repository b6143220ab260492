from __future__ import annotations

import pandas as pd

from app.reporting.groups import group_tables
from tests.fakes.traffic import locust_run, spike_run, streaming_run


def test_several_targets_and_names_have_a_table_each() -> None:
    streams, locust = streaming_run(), locust_run()
    (targets,) = group_tables(streams.rows, streams.result.stages)
    (names,) = group_tables(locust.rows, locust.result.stages)
    assert (targets.column, [row.label for row in targets.rows]) == ("target", ["target 1", "target 2"])
    assert (names.column, [row.label for row in names.rows]) == ("name", ["/item/[id]", "/search"])
    assert sum(row.share for row in names.rows) == 1.0


def test_one_target_without_names_has_no_table() -> None:
    spike = spike_run()
    assert group_tables(spike.rows, spike.result.stages) == ()
    assert group_tables(pd.DataFrame(), spike.result.stages) == ()
