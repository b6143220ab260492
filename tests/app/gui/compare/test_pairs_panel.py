from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.gui.compare.entries import load_comparison, save_comparison
from app.gui.compare.page import ComparePage
from app.gui.compare.pairs_panel import PairsPanel
from app.gui.navigation import Launch, Navigation
from app.records.control import ControlCommand, ControlResponse, StopRun
from app.storage.run_directory import SPEC
from tests.app.gui.compare.conftest import store_run, wait_until_idle
from tests.fakes.program import PROFILE
from tests.fakes.repeated import result, steady
from tests.fakes.stored_pairs import StoredPairs
from tests.fakes.stored_runs import reseal_run
from tests.fakes.widget_walk import clipped_texts, unnamed_widgets, unreachable_widgets

OpenPage = Callable[[], ComparePage]


@pytest.fixture
def near(baseline: Path) -> Path:
    run_directory = store_run(result(steady(10.8, 0.5), run_id="near"), 4)
    for run in (baseline, run_directory):
        text = PROFILE.format(url="http://127.0.0.1:1", rate="10/s", duration="1s", extra="")
        (run / SPEC).write_text(text)
        reseal_run(run)
    return run_directory


@pytest.fixture
def new_pair(near: Path) -> tuple[Path, Path]:
    return (
        store_run(result(steady(10.1, 0.1), run_id="new-baseline"), 5),
        store_run(result(steady(10.9, 0.1), run_id="new-candidate"), 5),
    )


def get_panel(page: ComparePage) -> PairsPanel:
    return page.pairs_panel


def test_pairs_button_requests_the_launch_that_the_command_shows(
    baseline: Path, near: Path, open_page: OpenPage, navigation: Navigation, qtbot: QtBot
) -> None:
    page = open_page()
    page.compare((baseline, near))
    wait_until_idle(qtbot, page)
    card = page.verdict_tab.pairs_card
    assert card.run_button.text().replace("&", "") == "Run 6 more pairs"
    card.pair_count_box.setValue(2)
    card.time_limit_box.setValue(3)
    assert "The time limit is 3 min." in card.duration
    with qtbot.waitSignal(navigation.launch_requested) as launch_request:
        qtbot.mouseClick(card.run_button, Qt.MouseButton.LeftButton)
    (launch,) = launch_request.args
    assert isinstance(launch, Launch)
    assert f"sizewise {' '.join(launch.arguments)}" == card.command
    assert card.command.endswith(" --measure --pairs 2 --max-duration 3m")
    request = load_comparison(launch.directory)
    assert request is not None
    assert [(entry.path, entry.side) for entry in request.entries] == [(baseline, "baseline"), (near, "candidate")]


def test_pairs_button_is_disabled_with_a_reason_if_a_run_has_no_profile(
    baseline: Path, near: Path, open_page: OpenPage, qtbot: QtBot
) -> None:
    (near / SPEC).unlink()
    reseal_run(near)
    page = open_page()
    page.compare((baseline, near))
    wait_until_idle(qtbot, page)
    card = page.verdict_tab.pairs_card
    assert not card.run_button.isEnabled()
    assert "comes from another tool and has no profile" in card.problem
    assert "CANDIDATE.yaml --measure" in card.command


def test_progress_of_ab_pairs_is_shown_and_finished_runs_join_the_comparison(
    baseline: Path, near: Path, new_pair: tuple[Path, Path], open_page: OpenPage, qtbot: QtBot
) -> None:
    page, written = open_page(), StoredPairs()
    page.compare((baseline, near))
    wait_until_idle(qtbot, page)
    save_comparison(written.directory, page.presenter.request)
    page.pairs_panel.watch(written.directory)
    written.start_run(1, "baseline", new_pair[0])
    panel = get_panel(page)
    qtbot.waitUntil(lambda: panel.progress.text == "Pair 1 of 2: measuring baseline")
    assert panel.progress.isVisibleTo(page)
    assert not page.verdict_tab.pairs_card.run_button.isEnabled()
    with qtbot.waitSignal(page.navigation.watch_run_requested) as watched:
        panel.progress.watch_button.click()
    assert watched.args == [new_pair[0]]
    written.finish_run(1, "baseline", new_pair[0])
    written.start_run(1, "candidate", new_pair[1])
    qtbot.waitUntil(lambda: panel.progress.text == "Pair 1 of 2: measuring candidate")
    written.finish_run(1, "candidate", new_pair[1])
    written.end(message="The time limit was reached after 1 of 2 pairs.")
    qtbot.waitUntil(lambda: page.run_directories() == (baseline, new_pair[0], near, new_pair[1]))
    wait_until_idle(qtbot, page)
    outcome = page.presenter.outcome
    assert outcome is not None
    assert outcome.comparison is not None
    assert outcome.comparison.baseline == ("baseline", "new-baseline")
    assert outcome.comparison.candidate == ("near", "new-candidate")
    assert panel.strip.text().splitlines() == [
        "The A/B pairs have finished (complete pairs: 1).", "The time limit was reached after 1 of 2 pairs.",
        "Their runs were added to the comparison as repeats of each side.",
    ]  # fmt: skip
    assert not panel.progress.isVisibleTo(page)


def test_second_window_adds_finished_ab_pairs_to_the_saved_comparison(
    baseline: Path, near: Path, new_pair: tuple[Path, Path], open_page: OpenPage, qtbot: QtBot
) -> None:
    first, written = open_page(), StoredPairs()
    first.compare((baseline, near))
    wait_until_idle(qtbot, first)
    save_comparison(written.directory, first.presenter.request)
    second = open_page()
    second.pairs_panel.watch(written.directory)
    assert second.run_directories() == (baseline, near)
    written.add_pairs([new_pair])
    written.end()
    qtbot.waitUntil(lambda: len(second.run_directories()) == 4)
    wait_until_idle(qtbot, second)


def test_comparison_opened_during_ab_pairs_stays_until_the_notice_is_clicked(
    baseline: Path, near: Path, slower_run: Path, new_pair: tuple[Path, Path], open_page: OpenPage, qtbot: QtBot
) -> None:
    page, written = open_page(), StoredPairs()
    page.compare((baseline, near))
    wait_until_idle(qtbot, page)
    save_comparison(written.directory, page.presenter.request)
    page.pairs_panel.watch(written.directory)
    qtbot.waitUntil(lambda: get_panel(page).state.status == "running")
    page.compare((baseline, slower_run))
    written.add_pairs([new_pair])
    written.end()
    panel = get_panel(page)
    qtbot.waitUntil(lambda: "The A/B pairs have finished (complete pairs: 1)." in panel.strip.text())
    assert page.run_directories() == (baseline, slower_run)
    panel.strip.action_triggered.emit()
    assert page.run_directories() == (baseline, new_pair[0], near, new_pair[1])
    wait_until_idle(qtbot, page)


def test_stopping_ab_pairs_needs_confirmation_and_complete_pairs_are_added(
    new_pair: tuple[Path, Path], open_page: OpenPage, qtbot: QtBot
) -> None:
    page, written, executed = open_page(), StoredPairs(), list[ControlCommand]()
    page.pairs_panel.watch(written.directory)
    written.add_pairs([new_pair])
    written.start_run(2, "candidate", new_pair[1].parent / "third")
    panel = get_panel(page)
    qtbot.waitUntil(lambda: panel.state.complete_pair_count == 1)
    page.pairs_panel.stop()
    assert "Stop these A/B pairs?" in panel.stop_strip.text()
    page.pairs_panel.stop()
    assert panel.state.status == "stopping"

    def execute(sent_command: ControlCommand) -> ControlResponse:
        executed.append(sent_command)
        return ControlResponse(True, "stopping")

    def has_executed() -> bool:
        written.store.process_commands(execute)
        return bool(executed)

    qtbot.waitUntil(has_executed)
    assert executed == [StopRun()]
    written.end(130, "INTERRUPTED", "the comparison was interrupted")
    qtbot.waitUntil(lambda: page.run_directories() == new_pair)
    assert "The A/B pairs were stopped." in panel.strip.text()
    wait_until_idle(qtbot, page)


def test_complete_ab_pairs_of_a_lost_process_are_added(
    new_pair: tuple[Path, Path], open_page: OpenPage, qtbot: QtBot
) -> None:
    page, written = open_page(), StoredPairs()
    written.add_pairs([new_pair])
    written.store.close()
    page.pairs_panel.watch(written.directory)
    qtbot.waitUntil(lambda: get_panel(page).state.status == "lost")
    qtbot.waitUntil(lambda: page.run_directories() == new_pair)
    assert "ended unexpectedly" in get_panel(page).strip.text()
    wait_until_idle(qtbot, page)


def test_failed_start_of_ab_pairs_is_reported_and_the_directory_removed(
    home: Path, baseline: Path, near: Path, open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    directory = home / "comparisons" / "one"
    save_comparison(directory, page.presenter.request)
    page.pairs_panel.launch(Launch(("compare", "gone.yaml", "gone.yaml", "--measure"), directory, "one", "pairs"))
    qtbot.waitUntil(lambda: get_panel(page).state.status == "failed")
    assert "gone.yaml is neither a file nor a bundled profile" in get_panel(page).strip.text()
    assert not directory.exists()


def test_ab_pairs_panel_is_named_reachable_and_not_clipped_at_twice_the_text_size(
    baseline: Path, near: Path, new_pair: tuple[Path, Path], open_page: OpenPage, qtbot: QtBot
) -> None:
    page, written = open_page(), StoredPairs()
    page.resize(1300, 1500)
    page.theme_controller.scale_text(2)
    try:
        page.compare((baseline, near))
        wait_until_idle(qtbot, page)
        page.pairs_panel.watch(written.directory)
        written.start_run(1, "baseline", new_pair[0])
        qtbot.waitUntil(lambda: get_panel(page).state.progress.pair_run is not None)
        page.pairs_panel.stop()
        assert unnamed_widgets(page) == []
        assert unreachable_widgets(page) == []
        qtbot.waitUntil(lambda: clipped_texts(page) == [])
    finally:
        page.theme_controller.scale_text(1)
        written.end()
    qtbot.waitUntil(lambda: not get_panel(page).state.is_running)
    wait_until_idle(qtbot, page)
