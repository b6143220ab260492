"""A monkey at the window: `python -m tests.fakes.monkey FOLDER --seed SEED --actions COUNT`.

Random clicks, keys, drags, texts, sizes, themes and files, from a seed, on a window as `sizewise gui` opens it. Events
go through the platform's event queue, so that popups and modal dialogs take what is meant for them. The process fails
for exceptions in slots and threads, for bugs that the window reports, for Qt warnings, for an action after which the
event loop does not turn any more, and for memory that grows. File dialogs return random files of HOME, nothing is
opened outside, and at most MAX_ENGINES benchmarks start, each of which is ended after ENGINE_S. The home with its runs
and files, and the log of the actions, are in FOLDER.
"""

from __future__ import annotations

import argparse
import errno
import faulthandler
import functools
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import msgspec
import psutil
import shiboken6
from PySide6.QtCore import (
    QMessageLogContext,
    QMimeData,
    QPoint,
    QPointF,
    Qt,
    QThread,
    QThreadPool,
    QTimer,
    QtMsgType,
    QUrl,
    qInstallMessageHandler,
)
from PySide6.QtGui import QDesktopServices, QDragEnterEvent, QDropEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QFileDialog,
    QLineEdit,
    QPlainTextEdit,
    QTabBar,
    QWidget,
)

from app.gui.theme import ThemeChoice
from loadgen.reference.script import Script
from loadgen.reference.scripted import ScriptedServer
from tests.fakes.golden_runs import golden_bundle, golden_plan, golden_run
from tests.fakes.program import FAKE_RENDERER_FOLDER, write_profile
from tests.fakes.session_dependencies import CALIBRATION

LOG = "actions.log"
"""File in the folder with every action, written before the action is done."""
HANG_S = 120.0
"""Time after which an action without another turn of the event loop counts as a hang."""
WARM_ACTIONS = 1500
MAX_GROWTH_MIB = 250.0
"""Growth of the resident memory after WARM_ACTIONS."""
MAX_ENGINES, ENGINE_S = 6, 15.0
MAX_DEPTH = 3
"""Number of nested event loops, of dialogs and menus, after which the monkey only leaves the innermost one."""
_PAUSE_MS, _IDLE_EVERY, _IDLE_MS = 5, 40, 400
_SHOWN_ACTIONS = 50
_AROUND_SHARE = 0.2
"""Share of clicks on controls beside the page."""

TEXTS = (
    "", "0", "-1", "1e309", "nan", "99999999999999999999", "50/s", "10ms", "1s", "0s", "latency_ms.p95 < 50",
    "<img src=/etc/passwd><b>&x", "a" * 3000, "\u202eabc\u202c", "\x00\x07", "𝔘nïcode 🔥", "%s %n {0} {x!r}", "${HOME}",
    "../../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/", "https://[::1", "'; DROP TABLE runs; --",
    "{a: [1, 2", "- - -\n\t: &x *x", "[[[[[[[[", "n/a", "1,5", "١٢٣",
)  # fmt: skip
"""What somebody may type or paste into any field."""
_KEYS = (
    Qt.Key.Key_Tab, Qt.Key.Key_Backtab, Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Left, Qt.Key.Key_Right,
    Qt.Key.Key_Return, Qt.Key.Key_Escape, Qt.Key.Key_Space, Qt.Key.Key_Delete, Qt.Key.Key_Backspace, Qt.Key.Key_Home,
    Qt.Key.Key_End, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_F1, Qt.Key.Key_F2, Qt.Key.Key_F5,
    Qt.Key.Key_F6, Qt.Key.Key_T, Qt.Key.Key_M, Qt.Key.Key_Plus, Qt.Key.Key_Minus, Qt.Key.Key_A, Qt.Key.Key_7,
)  # fmt: skip
_SHORTCUTS = (
    *((key, Qt.KeyboardModifier.ControlModifier) for key in map(Qt.Key, map(ord, "ACDEFKNOVXYZQ,"))),
    (Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier),
    (Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier),
    (Qt.Key.Key_F5, Qt.KeyboardModifier.ShiftModifier),
)
_CONTROLS = (
    QAbstractButton, QLineEdit, QComboBox, QAbstractSpinBox, QTabBar, QAbstractItemView, QPlainTextEdit,
)  # fmt: skip
_LEFT, _NO_MODIFIER = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


class Monkey:
    def __init__(self, home: Path, seed: int, action_count: int, log: TextIO) -> None:
        self._seed, self._random, self._log, self._action_count = seed, random.Random(seed), log, action_count
        self._files = sorted(path for path in (home / "files").iterdir())
        self._runs = sorted(path for path in (home / "runs").iterdir() if path.is_dir())
        self.actions: list[str] = []
        self._failures: set[str] = set()
        self._searched: QWidget | None = None
        self.slowest: list[tuple[float, str]] = []
        self.memory_mib: list[float] = []
        self._engines: list[Any] = []
        self._engine_count = self._depth = 0
        self._loop_level = 0
        """Level of the event loop in which the current action started."""
        self._replace_what_leaves()
        from app.gui.main import prepare

        self.application, self.window, _ = prepare()
        may_close = self.window.may_close or (lambda: True)
        self.window.may_close = lambda: may_close() and False
        self._choices: tuple[tuple[float, Callable[[], str]], ...] = (
            (30, self._click_control), (8, self._click_anywhere), (5, self._click_right), (5, self._double_click),
            (12, self._press_key), (6, self._press_shortcut), (7, self._drag), (5, self._turn_wheel),
            (3, self._resize), (1, self._change_theme), (0.5, self._scale_text), (6, self._switch_page),
            (3, self._open_run), (3, self._drop), (9, self._type),
        )  # fmt: skip

    def run(self) -> None:
        from app.gui.import_preloading import ImportPreloader

        self.window.show()
        ImportPreloader(self.window)
        QTimer.singleShot(200, self.application, self._act)
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        self.application.exec()
        faulthandler.dump_traceback_later(2 * HANG_S, exit=True)
        for engine in self._engines:
            _kill(engine)
        self.window.close_without_question()
        if not QThreadPool.globalInstance().waitForDone(30_000):
            self.fail("work goes on in the pool after the window was closed")
        faulthandler.cancel_dump_traceback_later()

    def fail(self, text: str) -> None:
        """Report a failure with the actions before it, unless the same one was reported before."""
        if text not in self._failures:
            self._failures.add(text)
            print(f"\n== seed {self._seed}, after:", *self.actions[-_SHOWN_ACTIONS:], text, sep="\n", flush=True)

    @property
    def has_failed(self) -> bool:
        return bool(self._failures)

    def _act(self) -> None:
        """Do one action. The next one is scheduled first, because this one may open a dialog or menu, whose event loop
        ends after actions inside of it."""
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        if len(self.actions) >= self._action_count:
            self._leave_everything()
            return
        is_idle = len(self.actions) % _IDLE_EVERY == _IDLE_EVERY - 1
        QTimer.singleShot(_IDLE_MS if is_idle else _PAUSE_MS, self.application, self._act)
        level = QThread.currentThread().loopLevel()
        if self._depth and level == self._loop_level:  # QTest turns the loop between two events of the current action.
            return
        if len(self.actions) // 250 >= len(self.memory_mib):
            self.memory_mib.append(psutil.Process().memory_info().rss / 2**20)
        if self._depth and self._random.random() < (1.0 if self._depth > MAX_DEPTH else 0.2):
            self._note(self._leave())
            return
        outer_level, self._loop_level = self._loop_level, level
        weights, choices = zip(*self._choices, strict=True)
        action = self._random.choices(choices, weights)[0]
        number, started_s = len(self.actions), time.thread_time()
        self.actions.append(action.__name__)  # Until the action has logged itself.
        self._log.write(f"{number}: {action.__name__}\n")
        self._depth += 1
        try:
            self._note(action(), number)
        except Exception:
            self.fail(traceback.format_exc())
        finally:
            self._depth -= 1
            self._loop_level = outer_level
        self.slowest = sorted([*self.slowest, (time.thread_time() - started_s, self.actions[number])])[-8:]

    def _note(self, text: str, number: int | None = None) -> None:
        if number is None:
            number = len(self.actions)
            self.actions.append("")
        self.actions[number] = f"{number} ({self.window.pages.current.key}): {text}"
        self._log.write(self.actions[number] + "\n")
        self._log.flush()

    def _leave_everything(self) -> None:
        """Close dialogs and menus, from the innermost one, and end the event loop."""
        if not _takes_input():
            self.application.exit()  # quit() would first ask whether the window may close
            return
        self._leave()
        QTimer.singleShot(20, self.application, self._act)

    def _leave(self) -> str:
        top = self._top()
        text = f"leave {_describe(top)}"
        self._log.write(f"  {text}\n")
        QTest.keyClick(top, Qt.Key.Key_Escape)
        if top is not self.window and shiboken6.isValid(top) and top.isVisible() and top.isModal():
            top.close()
        return text

    def _top(self) -> QWidget:
        """Return the window that takes the user's input."""
        top = QApplication.activePopupWidget() or QApplication.activeModalWidget()
        if top is None:
            others = [
                widget for widget in QApplication.topLevelWidgets() if widget.isVisible() and widget.windowHandle()
            ]
            top = self._random.choice(others) if others and self._random.random() < 0.1 else self.window
        return top

    def _pick_control(self, *kinds: type[QWidget]) -> QWidget | None:
        top = self._top()
        if top is self.window:  # Not of all pages: to look through them takes longer than most actions.
            around: list[QWidget] = [self.window.rail, self.window.toolbar, self.window.strip, self.window.statusBar()]
            around += [one for one in self.window.list_visible_docks() if not one.isFloating()]
            top = self._random.choice(around) if self._random.random() < _AROUND_SHARE else self.window.pages.current
        controls = [one for kind in kinds or _CONTROLS for one in top.findChildren(kind)]
        self._searched = top  # PySide invalidates what is found in a menu of a combo box with the last reference to it.
        self._random.shuffle(controls)  # To look for the visible part of every control takes longer than most actions.
        usable = (one for one in controls if one.isVisible() and one.isEnabled() and not one.visibleRegion().isEmpty())
        return next(usable, None)

    def _point_in(self, widget: QWidget) -> QPoint:
        inside = widget.visibleRegion().boundingRect()
        return QPoint(
            inside.left() + self._random.randrange(max(1, inside.width())),
            inside.top() + self._random.randrange(max(1, inside.height())),
        )

    def _click(self, widget: QWidget, point: QPoint, button: Qt.MouseButton = _LEFT, *, twice: bool = False) -> str:
        window = widget.window()
        text = f"{'double-click' if twice else 'click'} {button.name} {_describe(widget)} at {point.x()}, {point.y()}"
        self._log.write(f"  {text}\n")
        handle = window.windowHandle()
        if handle is not None:
            click = QTest.mouseDClick if twice else QTest.mouseClick
            click(handle, button, self._modifier(), widget.mapTo(window, point))
        return text

    def _modifier(self) -> Qt.KeyboardModifier:
        others = (Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier)
        return self._random.choice(others) if self._random.random() < 0.1 else _NO_MODIFIER

    def _click_control(self) -> str:
        control = self._pick_control()
        return "nothing to click" if control is None else self._click(control, self._point_in(control))

    def _click_anywhere(self) -> str:
        top = self._top()
        return self._click(top, self._point_in(top))

    def _click_right(self) -> str:
        widget = self._pick_control() if self._random.random() < 0.5 else self._top()
        return "nothing" if widget is None else self._click(widget, self._point_in(widget), Qt.MouseButton.RightButton)

    def _double_click(self) -> str:
        widget = self._pick_control(QAbstractItemView) or self._top()
        return self._click(widget, self._point_in(widget), twice=True)

    def _press_key(self) -> str:
        key, count = self._random.choice(_KEYS), self._random.choice((1, 1, 1, 2, 5))
        for _ in range(count):
            self._key(key, self._modifier())
        return f"press {key.name} × {count}"

    def _press_shortcut(self) -> str:
        key, modifier = self._random.choice(_SHORTCUTS)
        self._log.write(f"  {modifier.name}+{key.name}\n")
        self._key(key, modifier)
        return f"press {modifier.name}+{key.name}"

    def _key(self, key: Qt.Key, modifier: Qt.KeyboardModifier) -> None:
        popup = QApplication.activePopupWidget()
        window = (popup or self._top()).windowHandle()
        if window is not None:
            QTest.keyPress(window, key, modifier)
            if shiboken6.isValid(
                window
            ):  # The press may have closed it: QTest would release the key on a deleted window.
                QTest.keyRelease(window, key, modifier)

    def _drag(self) -> str:
        widget = self._pick_control() if self._random.random() < 0.4 else self._top()
        if widget is None or widget.window().windowHandle() is None:
            return "nothing to drag"
        window = widget.window()
        handle, start = window.windowHandle(), widget.mapTo(window, self._point_in(widget))
        end = self._point_in(window)
        text = f"drag {_describe(widget)} from {start.x()}, {start.y()} to {end.x()}, {end.y()}"
        self._log.write(f"  {text}\n")
        QTest.mousePress(handle, _LEFT, _NO_MODIFIER, start)
        for step in range(1, 5):
            if shiboken6.isValid(handle):  # A press beside a menu closes it.
                QTest.mouseMove(handle, start + (end - start) * step / 4)
        if shiboken6.isValid(handle):
            QTest.mouseRelease(handle, _LEFT, _NO_MODIFIER, end)
        return text

    def _turn_wheel(self) -> str:
        top = self._top()
        point = self._point_in(top)
        target = top.childAt(point) or top
        turn = QPoint(0, self._random.choice((-1200, -120, 120, 1200)))
        position = QPointF(target.mapFrom(top, point))
        wheel = QWheelEvent(
            position, QPointF(target.mapToGlobal(position.toPoint())), QPoint(), turn, Qt.MouseButton.NoButton,
            self._modifier(), Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(target, wheel)
        return f"wheel {turn.y()} over {_describe(target)}"

    def _resize(self) -> str:
        size = self._random.choice(((320, 240), (800, 600), (1366, 768), (1920, 1080), (2560, 1440), (1024, 300)))
        self.window.resize(*size)
        return f"resize to {size}"

    def _change_theme(self) -> str:
        choices: tuple[ThemeChoice, ...] = ("system", "light", "dark", "contrast")
        choice = self._random.choice(choices)
        self.window.theme_controller.set_choice(choice)
        return f"theme {choice}"

    def _scale_text(self) -> str:
        scale = self._random.choice((1.0, 1.0, 1.25, 1.5, 2.0))
        self.window.theme_controller.scale_text(scale)
        return f"text × {scale}"

    def _switch_page(self) -> str:
        key = self._random.choice("1234567")
        self._key(Qt.Key(ord(key)), Qt.KeyboardModifier.ControlModifier)
        return f"page {key}"

    def _open_run(self) -> str:
        run, other_run = self._random.choice(self._runs), self._random.choice(self._runs)
        navigation = self.window.navigation
        requests: tuple[Callable[[], None], ...] = (
            lambda: navigation.open_run_requested.emit(run),
            lambda: navigation.watch_run_requested.emit(run),
            lambda: navigation.comparison_requested.emit((run, other_run)),
            lambda: navigation.plan_requested.emit((run,)),
            lambda: navigation.open_profile_requested.emit(run / "spec.yaml"),
        )
        place = self._random.randrange(len(requests))
        self._log.write(f"  request {place} for {run.name}, {other_run.name}\n")
        requests[place]()
        return f"request {place} for {run.name}, {other_run.name}"

    def _drop(self) -> str:
        paths = self._random.sample([*self._files, *self._runs], self._random.choice((1, 1, 2)))
        text = f"drop {', '.join(path.name for path in paths)}"
        self._log.write(f"  {text}\n")
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        middle = self.window.rect().center()
        entering = QDragEnterEvent(middle, Qt.DropAction.CopyAction, data, _LEFT, _NO_MODIFIER)
        QApplication.sendEvent(self.window, entering)
        if entering.isAccepted():
            dropped = QDropEvent(QPointF(middle), Qt.DropAction.CopyAction, data, _LEFT, _NO_MODIFIER)
            QApplication.sendEvent(self.window, dropped)
        return text

    def _type(self) -> str:
        """Paste a text into a field, as its user would."""
        field, text = self._pick_control(QLineEdit, QPlainTextEdit), self._random.choice(TEXTS)
        if field is None:
            return "no field to type into"
        action = f"type {text[:40]!r} into {_describe(field)}"
        self._log.write(f"  {action}\n")
        field.setFocus()
        QApplication.clipboard().setText(text)
        for key in (Qt.Key.Key_A, Qt.Key.Key_V):
            if shiboken6.isValid(field):  # Another text may have replaced the form.
                QTest.keyClick(field, key, Qt.KeyboardModifier.ControlModifier)
        if self._random.random() < 0.5 and shiboken6.isValid(field):
            QTest.keyClick(field, Qt.Key.Key_Return)
        return action

    def _replace_what_leaves(self) -> None:
        """Replace file dialogs and openers of other programs, and limit the engines. Called before modules of the
        window are imported, because some import what is replaced here."""
        from app.errors import SizewiseError
        from app.gui import navigation
        from app.gui.engine import launch

        def choose(*_: object) -> tuple[str, str]:
            return self._random.choice([*map(str, self._files), ""]), ""

        def choose_several(*_: object) -> tuple[list[str], str]:
            return [str(path) for path in self._random.sample(self._files, self._random.randrange(3))], ""

        def choose_folder(*_: object) -> str:
            return self._random.choice([*map(str, self._runs), ""])

        def save_to(*_: object) -> tuple[str, str]:
            home = self._runs[0].parents[1]
            return self._random.choice((str(home / "saved"), str(home / "none" / "saved"), "")), ""

        dialog: Any = QFileDialog
        dialog.getOpenFileName, dialog.getOpenFileNames = staticmethod(choose), staticmethod(choose_several)
        dialog.getExistingDirectory, dialog.getSaveFileName = staticmethod(choose_folder), staticmethod(save_to)
        services: Any = QDesktopServices
        services.openUrl = staticmethod(lambda url: True)
        start_engine, build_error_notice = launch.start_engine, navigation.build_error_notice

        def start_few(requested: navigation.Launch) -> launch.EngineProcess:
            if self._engine_count >= MAX_ENGINES:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self._engine_count += 1
            self._log.write(f"  engine {requested.arguments}\n")
            engine = start_engine(requested)
            self._engines.append(engine)
            QTimer.singleShot(int(1000 * ENGINE_S), self.application, functools.partial(_kill, engine))
            return engine

        def build_notice(error: Exception) -> navigation.Notice:
            if not isinstance(error, SizewiseError):
                self.fail("".join(traceback.format_exception(error)))
            return build_error_notice(error)

        setattr(launch, "start_engine", start_few)  # noqa: B010 (mypy accepts no assignment to a function)
        setattr(navigation, "build_error_notice", build_notice)  # noqa: B010


def _takes_input() -> bool:
    """Return whether a menu or dialog is open that takes the input of the whole application."""
    return QApplication.activePopupWidget() is not None or QApplication.activeModalWidget() is not None


def _kill(engine: Any) -> None:
    """End the session of an engine, so that its children end too."""
    if engine.poll() is None:
        os.killpg(engine.pid, signal.SIGKILL)


def _describe(widget: QWidget) -> str:
    name = widget.accessibleName() or getattr(widget, "text", str)() or widget.objectName()
    return f"{type(widget).__name__} {name[:40]!r}"


def _watch_for_failures(monkey: Monkey) -> None:
    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        monkey.fail("".join(traceback.format_exception(kind, error, trace)))

    def report_message(kind: QtMsgType, context: QMessageLogContext, text: str) -> None:
        is_known = text.startswith("This plugin does not support ")  # of the offscreen platform
        if kind not in (QtMsgType.QtDebugMsg, QtMsgType.QtInfoMsg) and not is_known:
            monkey.fail(f"Qt: {text}\n{''.join(traceback.format_stack(limit=8))}")

    sys.excepthook = report
    sys.unraisablehook = lambda unraisable: monkey.fail(
        f"{unraisable.err_msg}: {unraisable.object!r}\n"
        + "".join(traceback.format_exception(unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback))
    )
    threading.excepthook = lambda unraisable: monkey.fail(
        "".join(traceback.format_exception(unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback))
    )
    qInstallMessageHandler(report_message)


def _fill_home(home: Path, url: str) -> None:
    """Store runs of every kind, and files of every kind beside them, some of them damaged."""
    from app.profiles.bundled import bundled_models, bundled_profiles
    from app.storage.calibrations import store_calibration
    from app.wiring.machine import read_machine_info

    now = datetime.now(UTC).isoformat()
    fingerprint = read_machine_info().environment.fingerprint
    store_calibration(msgspec.structs.replace(CALIBRATION, measured_at=now, fingerprint=fingerprint))
    files, runs = home / "files", home / "runs"
    for folder in (files, runs):
        folder.mkdir(parents=True)
    for place, name in enumerate(("search", "llm", "local", "killed", "search", "local")):
        golden_run(name, home).rename(runs / f"20261120-12000{place}-{name}-{place:04x}")
    golden_bundle(files)
    golden_plan(files)
    profile = Path(write_profile(files, url, rate="20/s", duration="5s"))
    (files / "hostile.yaml").write_text(profile.read_text().replace("name: test", "name: '<img src=x><b>&'"))
    (files / "cut.yaml").write_text(profile.read_text()[:150] + "\n\t: [")
    for source in (*bundled_models().values(), *list(bundled_profiles().values())[:4]):
        shutil.copy(source, files)
    (files / "cut.onnx").write_bytes(next(iter(bundled_models().values())).read_bytes()[:200])
    (files / "cut.zip").write_bytes((files / "bundle.zip").read_bytes()[:5000])
    (files / "prices.csv").write_text("offer,price\n<b>x</b>,abc\n")
    (files / "empty.json").touch()
    (files / "noise.gguf").write_bytes(random.Random(1).randbytes(5000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--actions", type=int, default=5000)
    arguments = parser.parse_args()
    faulthandler.enable()
    home = arguments.folder / "home"
    os.environ |= {"SIZEWISE_HOME": str(home), "PYTHONPATH": str(FAKE_RENDERER_FOLDER)}
    with ScriptedServer(Script(delay_s=0.005)) as server, (arguments.folder / LOG).open("w", errors="replace") as log:
        _fill_home(home, server.url)
        monkey = Monkey(home, arguments.seed, arguments.actions, log)
        _watch_for_failures(monkey)
        monkey.run()
    grown_mib = monkey.memory_mib[-1] - monkey.memory_mib[min(WARM_ACTIONS // 250, len(monkey.memory_mib) - 1)]
    if grown_mib > MAX_GROWTH_MIB:
        monkey.fail(f"the window grew by {grown_mib:.0f} MiB after {WARM_ACTIONS} actions")
    print("memory in MiB:", *(f"{value:.0f}" for value in monkey.memory_mib))
    print("most processor time:", *(f"{cpu_s:.2f} s {text}" for cpu_s, text in monkey.slowest[::-1]), sep="\n  ")
    sys.stdout.flush()
    os._exit(1 if monkey.has_failed else 0)


if __name__ == "__main__":
    main()
