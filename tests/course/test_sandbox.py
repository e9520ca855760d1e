"""Where answers run: what is there, what is not, and how an end is told."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from workbench.course import sandbox as module
from workbench.course.channel import Channel, ClosedError, TooLateError
from workbench.course.library import library
from workbench.course.notebooks import Assignment
from workbench.course.sandbox import BUBBLEWRAP, UNISOLATED, Limits, Sandbox, isolation

psutil = pytest.importorskip("psutil", reason='needs pip install ".[course]"')
linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


@pytest.fixture(params=[BUBBLEWRAP, UNISOLATED])
def mode(request):
    if request.param == BUBBLEWRAP and isolation()[0] != BUBBLEWRAP:
        pytest.skip(isolation()[1])
    return request.param


@pytest.fixture
def place(mode):
    with Sandbox(library(Assignment("small", ()), "q1"), (), mode, Limits(20, 300)) as found:
        yield found


OPEN: list[socket.socket] = []


@pytest.fixture(autouse=True)
def closed():
    yield
    while OPEN:
        OPEN.pop().close()


class Caller:
    """Speaks with one process in a sandbox."""

    def __init__(self, sandbox):
        OPEN.append(connection := sandbox.connect())
        self.channel = Channel(connection, lambda told: _Far(told["id"]), None)
        self.channel.deadline = time.monotonic() + 20

    def run(self, source, name="f", *arguments):
        """Run a cell; call a function that it defines."""
        cells = [{"id": "q1-f", "source": source, "role": "own"}]
        loaded = self.ask({"do": "load", "cells": cells, "names": [name]})["loaded"]
        assert loaded["problems"] == {}, loaded
        target = self.ask({"do": "get", "name": name})["value"]
        return self.ask({"do": "call", "target": target, "arguments": arguments, "options": {}})

    def ask(self, message):
        self.channel.send(message)
        return self.channel.receive()

    def quit(self):
        self.channel.send({"do": "quit"})
        self.channel.close()


class _Far:
    def __init__(self, far_id):
        self.far_id = far_id


# --- what there is on this machine ----------------------------------------------------


@pytest.fixture
def anew():
    isolation.cache_clear()
    yield
    isolation.cache_clear()


def test_without_bubblewrap_the_reason_is_said(anew, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "platform", "linux")
    mode, reason = isolation()
    assert mode == UNISOLATED
    assert "apt install bubblewrap" in reason


def test_on_another_system_the_reason_is_said(anew, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isolation() == (UNISOLATED, "bubblewrap is for Linux; this is darwin")


def test_a_bubblewrap_that_does_not_work_is_none(anew, monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'no permission to make a namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(sys, "platform", "linux")
    module._namespaces.cache_clear()
    try:
        mode, reason = isolation()
    finally:
        module._namespaces.cache_clear()
    assert mode == UNISOLATED
    assert reason == "bubblewrap does not work here: no permission to make a namespace"


# --- processes ------------------------------------------------------------------------


def test_an_answer_runs_and_ends(place):
    caller = Caller(place)
    assert caller.run("def f(x):\n    return 2 * x", "f", 21) == {"value": 42}
    caller.quit()
    ended = place.ended()
    assert ended.signal == 0
    assert 1 << 20 < ended.memory < 1 << 30


@linux
def test_every_check_finds_a_fresh_process(place):
    source = "import os, numpy\nseen = globals().get('seen', 0) + 1\nnumpy.mine = \
getattr(numpy, 'mine', 0) + 1\ndef f():\n    return seen, numpy.mine, os.listdir('.')"
    for _ in range(3):
        caller = Caller(place)
        assert caller.run(source) == {"value": (1, 1, [])}
        caller.quit()
        place.ended()


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGXCPU])
def test_the_signal_that_ended_a_process_is_told(place, number):
    caller = Caller(place)
    with pytest.raises(ClosedError):
        caller.run(f"import os\ndef f():\n    os.kill(os.getpid(), {int(number)})")
    assert place.ended().signal == number
    caller = Caller(place)  # The next check is not harmed.
    assert caller.run("def f(): return 1") == {"value": 1}


@linux
def test_a_killed_server_is_started_again(place):
    first = Caller(place)
    assert first.run("def f(): return 1") == {"value": 1}
    before = place.process.pid
    family = psutil.Process(before).children(recursive=True)
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # One takes others with it.
            each.kill()
    place.process.kill()
    place.process.wait()
    assert psutil.wait_procs(family, timeout=10)[1] == []
    second = Caller(place)
    assert second.run("def f(): return 2") == {"value": 2}
    assert place.process.pid != before


def test_stop_leaves_nothing(place):
    caller = Caller(place)
    code = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
    caller.run(f"{code}def f(): return 1")
    process, folder = psutil.Process(place.process.pid), place.folder
    family = [process, *process.children(recursive=True)]
    assert len(family) >= 2
    place.stop()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert folder is None or not folder.exists()
    assert place.process is None
    assert place.watch() == 0
    place.stop()  # Twice is not too often.


def test_memory_of_all_processes_is_seen(place):
    caller = Caller(place)
    caller.run("def f(): return 1")
    before = place.watch()
    caller.run("kept = b'x' * (80 << 20)\ndef f(): return len(kept)")
    assert place.watch() - before > 60 << 20


def test_a_sandbox_that_cannot_start_is_closed(mode, tmp_path):
    with Sandbox(tmp_path, (), mode, Limits()) as empty, pytest.raises(ClosedError):
        empty.connect()
    with Sandbox(library(Assignment("small", ()), "q1"), ("workbench.manual",), mode,
                 Limits()) as lacking, pytest.raises(ClosedError):  # fmt: skip
        lacking.connect()


# --- what an answer sees --------------------------------------------------------------


def test_no_variable_of_the_graders_is_seen(place, monkeypatch):
    monkeypatch.setenv("WORKBENCH_TEST_TOKEN", "a secret of the grader")
    found = Caller(place).run("import os\ndef f(): return dict(os.environ)")["value"]
    assert "a secret of the grader" not in found.values()
    assert found["OMP_NUM_THREADS"] == "1"
    assert found["PYTHONHASHSEED"] == "0"


def test_only_what_is_needed_can_be_imported(place):
    code = "import importlib.util as u\ndef f(names): return [n for n in names if u.find_spec(n)]"
    wanted = ["numpy", "json", "workbench", "workbench.gradcheck", "workbench.course.checks"]
    absent = ["workbench.manual", "workbench.dynamic", "workbench.cli", "workbench.course.referee"]
    if place.mode == BUBBLEWRAP:
        absent += ["pytest", "nbgrader", "pip", "IPython"]
    assert Caller(place).run(code, "f", [*wanted, *absent])["value"] == wanted


@linux
def test_limits_hold_in_the_process(place):
    code = """
import resource as r
def f():
    return {n: r.getrlimit(getattr(r, "RLIMIT_" + n))[0] for n in ("CPU", "CORE", "FSIZE", "NPROC")}
"""
    caller = Caller(place)
    found = caller.run(code)["value"]
    assert found == {"CPU": 21, "CORE": 0, "FSIZE": 16 << 20, "NPROC": 12}
    code = "def f():\n    return len(bytearray(2 << 30))"
    assert caller.run(code) == {"memory": True}


def test_walls_hide_the_disk_the_network_and_other_processes(tmp_path):
    if isolation()[0] != BUBBLEWRAP:
        pytest.skip(isolation()[1])
    secret = tmp_path / "solutions.ipynb"
    secret.write_text("the answers")
    code = """
import os, pathlib, socket
def f(paths):
    seen = [path for path in paths if os.path.exists(path)]
    written = []
    for path in ["/library/x", "/usr/x", "/x", "/site/x", "/proc/sys/kernel/hostname"]:
        try:
            pathlib.Path(path).write_text("x")
            written.append(path)
        except OSError:
            pass
    alive = [n for n in os.listdir("/proc") if n.isdigit()]
    nets = [name for _, name in socket.if_nameindex()]
    return seen, [w for w in written if w != "/x"], len(alive), nets, os.getuid(), os.listdir("/tmp")
"""
    with Sandbox(library(Assignment("small", ()), "q1"), (), BUBBLEWRAP, Limits()) as place:
        hidden = [str(secret), os.path.abspath("pyproject.toml"), "/etc/passwd", "/var"]
        seen, written, alive, nets, user, temporary = Caller(place).run(code, "f", hidden)["value"]
    assert seen == []
    assert written == []
    assert alive <= 4
    assert nets == ["lo"]
    assert user != 0
    assert temporary == []


# --- words between the processes ------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "found"),
    [(b"ready\n", "ready"), (b"0 123\nmore", "0 123"), (b"x" * 500, "x" * 100), (b"\xff\n", "�")],
)
def test_a_line_is_short_and_is_text(data, found):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        assert module._line(ours, 5) == found


def test_a_line_that_does_not_come_is_late_or_closed():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"half a li")
        with pytest.raises(TooLateError):
            module._line(ours, 0.2)
        theirs.close()
        with pytest.raises(ClosedError):
            module._line(ours, 5)


def test_a_process_that_ends_before_it_is_ready_is_closed(mode, monkeypatch):
    monkeypatch.setattr(module, "FLAGS", ("-c", "raise SystemExit(3)"))
    with Sandbox(library(Assignment("small", ()), "q1"), (), mode, Limits()) as place:
        with pytest.raises(ClosedError):
            place.connect()
        assert place.process is None


def test_a_process_that_never_says_it_is_ready_is_late(mode, monkeypatch):
    monkeypatch.setattr(module, "FLAGS", ("-c", "import time; time.sleep(600)"))
    monkeypatch.setattr(module, "STARTED", 0.5)
    before = set(psutil.Process().children())
    with (
        Sandbox(library(Assignment("small", ()), "q1"), (), mode, Limits()) as place,
        pytest.raises(TooLateError),
    ):
        place.connect()
    assert set(psutil.Process().children()) <= before


def test_kill_does_not_wait_for_the_dead():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    module._kill(process, tree=True)
    assert process.returncode == 0


def test_two_sandboxes_do_not_see_each_other(mode):
    """Each thread of a cluster's worker has its own."""
    place, results = library(Assignment("small", ()), "q1"), {}

    def work(number):
        with Sandbox(place, (), mode, Limits()) as mine:
            results[number] = Caller(mine).run(f"def f(): return {number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == {number: {"value": number} for number in range(3)}
