from __future__ import annotations

from pathlib import Path

from pytestqt.qtbot import QtBot

from app.gui.engine.run import Asking
from app.records.control import AddNote, Answer, Extend, SetRate, StopRun, Wish
from app.storage.control import ControlBox


def test_wishes_reach_the_engine_and_its_answers_the_window(tmp_path: Path, qtbot: QtBot) -> None:
    box, asking = ControlBox(tmp_path), Asking()
    wishes: list[Wish] = []
    answers: list[tuple[Wish, str]] = []
    refusals: list[tuple[Wish, str]] = []
    asking.granted.connect(lambda wish, answer: answers.append((wish, answer)))
    asking.refused.connect(lambda wish, error: refusals.append((wish, str(error))))

    def obey(wish: Wish) -> Answer:
        wishes.append(wish)
        return Answer(not isinstance(wish, SetRate), "as you like" if not isinstance(wish, SetRate) else "no")

    def is_answered(count: int) -> bool:
        box.obey(obey)
        return len(answers) + len(refusals) == count

    asking.note(tmp_path, "  now  ")
    asking.note(tmp_path, "   ")
    qtbot.waitUntil(lambda: is_answered(1))
    asking.change_rate(tmp_path, 50.0)
    qtbot.waitUntil(lambda: is_answered(2))
    asking.extend(tmp_path, 30.0)
    qtbot.waitUntil(lambda: is_answered(3))
    asking.stop(tmp_path)
    qtbot.waitUntil(lambda: is_answered(4))
    assert wishes == [AddNote("now"), SetRate(50.0), Extend(30.0), StopRun()]
    assert answers == [(wish, "as you like") for wish in (AddNote("now"), Extend(30.0), StopRun())]
    assert refusals == [(SetRate(50.0), "no")]
    box.close()


def test_a_run_that_has_ended_refuses(tmp_path: Path, qtbot: QtBot) -> None:
    asking = Asking()
    with qtbot.waitSignal(asking.refused) as refused:
        asking.stop(tmp_path)
    assert refused.args is not None
    assert "has ended" in str(refused.args[1])
