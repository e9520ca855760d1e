"""The student's side: runs an answer in its sandbox, and calls it when a check asks.

Started as ``python -m workbench.course.worker FD [--fork] [--uid N]`` by
:mod:`workbench.course.sandbox`.  With ``--fork`` it imports what answers need once and
then forks a fresh process for every check, so that each costs milliseconds; without it,
it serves one check and ends.

Nothing that runs here is believed.  The check outside compares every value that comes
back with one of its own.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import gc
import importlib
import inspect
import linecache
import os
import re
import signal
import socket
import symtable
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workbench.course.channel import Channel, ClosedError

__all__ = ["main"]

EXTRA_SECONDS = 2  # What a cell that the student added may take before it is left behind.
PR_SET_CHILD_SUBREAPER = 36  # From <linux/prctl.h>.
LARGEST_TOLD = 4000  # Characters of an exception's text.


class Far:
    """A function of the check's, as the answer sees it: called with data, it returns data."""

    def __init__(self, call: Callable[..., Any], description: dict[str, Any]) -> None:
        self.far_id, self._call = description["id"], call
        self.__name__ = str(description.get("name", "f"))

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._call(self.far_id, arguments, options)


class CheckSideError(Exception):
    """A function of the check's raised when the answer called it."""


def describe(value: Any) -> dict[str, Any]:
    """Describe an object of the student's that stays here."""
    if not callable(value):
        return {"callable": False, "name": type(value).__name__}
    try:
        parameters = [name for name in inspect.signature(value).parameters if name.isidentifier()]
    except (TypeError, ValueError):
        parameters = []
    name = getattr(value, "__name__", type(value).__name__)
    return {"callable": True, "name": str(name)[:100], "parameters": parameters[:50]}


class Server:
    """Answers the questions of one check."""

    def __init__(self, connection: socket.socket) -> None:
        self.channel = Channel(connection, lambda told: Far(self.ask, told), describe)
        self.namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
        self.sources: dict[str, str] = {}
        self.problems: dict[str, dict[str, Any]] = {}

    def ask(self, far_id: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Call a function of the check's."""
        self.channel.send({"call": far_id, "arguments": arguments, "options": options})
        answer = self.serve()
        if "raised" in answer:
            raise CheckSideError(answer["raised"])
        return answer["value"]

    def serve(self) -> dict[str, Any]:
        """Do what is asked until an answer to a call of ours comes."""
        while True:
            message = self.channel.receive()
            match message.pop("do"):
                case "answer":
                    return message
                case "quit":
                    return message
                case "load":
                    self.channel.send({"loaded": self.load(**message)})
                case "get":
                    self.channel.send(self.get(**message))
                case "call":
                    self.channel.send(self.call(**message))

    def get(self, name: str) -> dict[str, Any]:
        """Tell the value of a global name."""
        if name in self.namespace:
            return {"value": self.namespace[name]}
        return {"absent": name}

    def call(self, target: Any, arguments: Any, options: Any) -> dict[str, Any]:
        """Call a function of the student's; tell the result, and arguments that it changed."""
        given = [arguments, options]
        before = self.channel.pack(given)
        try:
            reply = {"value": target(*arguments, **options)}
            if self.channel.pack(given) != before:
                reply["changed"] = given
            self.channel.pack(reply)
        except RecursionError as error:
            return self.told(error)
        except MemoryError:
            return {"memory": True}
        except Exception as error:
            return self.told(error)
        return reply

    def told(self, error: BaseException) -> dict[str, Any]:
        """Tell an exception: its kinds, its text, and the line of the answer it came from."""
        place, trace = None, error.__traceback__
        while trace is not None:
            cell = trace.tb_frame.f_code.co_filename
            if cell in self.sources:
                lines = self.sources[cell].splitlines()
                number = trace.tb_lineno
                text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
                place = f"line {number} of {cell[1:-1]}: {text}"[:300]
            trace = trace.tb_next
        if isinstance(error, SyntaxError) and error.filename in self.sources:
            place = f"line {error.lineno} of {error.filename[1:-1]}: {(error.text or '').strip()}"
        try:
            text = str(error)[:LARGEST_TOLD]
        except Exception as worse:
            text = f"(its text cannot be made: {type(worse).__name__})"
        kinds = [kind.__name__ for kind in type(error).__mro__][:20]
        return {"error": {"kinds": kinds, "text": text, "place": place}}

    # --- the notebook ---------------------------------------------------------------

    def load(self, cells: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
        """Run what the answer needs of a notebook, in its order.

        ``cells`` are dicts of ``id``, ``source`` and ``role``: ``given`` cells and the
        question's ``own`` run always, ``other`` ones only if they define a name that is
        needed.  Returns the problems of the question's own cells.
        """
        for number in plan(cells, names):
            cell = cells[number]
            problem = self.run(cell["id"], cell["source"], extra=cell["role"] == "other")
            if problem is not None and cell["role"] != "other":
                self.problems[cell["id"]] = problem
        return {"problems": self.problems, "names": [name for name in names
                                                     if name in self.namespace]}  # fmt: skip

    def run(self, cell_id: str, source: str, *, extra: bool) -> dict[str, Any] | None:
        """Run one cell as a kernel would; return what went wrong."""
        name = f"<{cell_id}>"
        self.sources[name] = source = without_magics(source)
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            with timer(EXTRA_SECONDS if extra else 0):
                exec(compile(source, name, "exec"), self.namespace)
        except (SystemExit, KeyboardInterrupt) as error:
            return self.told(error)
        except MemoryError:
            return {"memory": True}
        except Exception as error:
            return self.told(error)
        return None


def without_magics(source: str) -> str:
    """Blank a notebook's magics and shell lines; what they did to the notebook is not graded."""
    if source.startswith("%%"):
        magic = source.split(maxsplit=1)[0]
        if magic in ("%%time", "%%timeit", "%%capture"):
            return source.replace(source.splitlines()[0], "", 1)
        return ""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        ast.parse(source)
        return (
            source  # Python as it stands: a line that begins with "%name" goes on from one above.
        )
    line = r"(?m)^([ \t]*)(?:[%!](?=[A-Za-z]).*|\?{1,2}[\w.]+|[\w.]+\?{1,2})[ \t]*$"
    return re.sub(line, lambda m: f"{m[1]}pass" if m[1] else "", source)


@contextlib.contextmanager
def timer(seconds: float) -> Any:
    """Raise TimeoutError in the block after so many seconds, where the system can."""
    if not seconds or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def plan(cells: list[dict[str, Any]], names: list[str]) -> list[int]:
    """Choose the cells to run: given and own ones, and those that define what these need."""
    tables: dict[int, tuple[set[str], set[str]]] = {}

    def table(i: int) -> tuple[set[str], set[str]]:
        if i not in tables:
            tables[i] = globals_of(cells[i]["source"])
        return tables[i]

    chosen: set[int] = set()
    fresh = {i for i, cell in enumerate(cells) if cell["role"] != "other"}
    wanted, here = set(names), set(dir(builtins))
    for i in fresh:
        here |= table(i)[0]
    while fresh:
        chosen |= fresh
        for i in fresh:
            wanted |= table(i)[1]
        missing = wanted - here
        # Mostly nothing is missing, and the rest of the notebook need not be read.
        fresh = {i for i in range(len(cells)) if missing and i not in chosen
                 and missing & table(i)[0]}  # fmt: skip
    return sorted(chosen)


def globals_of(source: str) -> tuple[set[str], set[str]]:
    """Return the global names that a cell binds, and those that it uses, in functions too."""
    try:
        top = symtable.symtable(without_magics(source), "<cell>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(), set()
    bound = {each.get_name() for each in top.get_symbols() if each.is_assigned()
             or each.is_imported() or each.is_namespace()}  # fmt: skip
    used = {each.get_name() for each in top.get_symbols() if each.is_referenced()}
    inner = list(top.get_children())
    while inner:
        scope = inner.pop()
        inner += scope.get_children()
        used |= {each.get_name() for each in scope.get_symbols() if each.is_global()}
    return bound, used - bound


# --- the process --------------------------------------------------------------------


def limit(seconds: int, megabytes: int, processes: int) -> None:
    """Bound what this process may take, where the system has such limits."""
    try:
        import resource
    except ImportError:  # Windows: the grader watches from outside.
        return
    bounds = {"CPU": seconds, "CORE": 0, "FSIZE": 16 << 20, "NOFILE": 64, "NPROC": processes}
    with contextlib.suppress(OSError, ValueError):  # Linux only: what is mapped now is not counted.
        mapped = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
        bounds["AS"] = (megabytes << 20) + int(mapped) * resource.getpagesize()
    for name, value in bounds.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None:
            most = resource.getrlimit(kind)[1]
            value = value if most == resource.RLIM_INFINITY else min(value, most)
            # Out of time it is told so, by SIGXCPU, a second before it is killed.
            hard = value + 1 if name == "CPU" and most == resource.RLIM_INFINITY else value
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(kind, (value, hard))


def serve(connection: socket.socket, limits: dict[str, int]) -> None:
    """Be the process of one check."""
    limit(**limits)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    with contextlib.suppress(ClosedError):
        Server(connection).serve()


def fork_server(control: socket.socket, *, alone: bool) -> None:
    """Fork a process for each connection that arrives; tell how each one ended.

    ``alone`` says that every other process in sight belongs to the sandbox, and may be
    killed when a check is over.
    """
    if not alone and sys.platform == "linux":
        import ctypes

        # A process whose parent ended becomes a child of this one, where it is found and killed.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    while True:
        message, files, _, _ = socket.recv_fds(control, 4096, 1)
        if not message:
            return
        words = message.decode("ascii").split()
        limits = dict(zip(("seconds", "megabytes", "processes"), map(int, words), strict=True))
        child = os.fork()
        if child == 0:
            try:
                control.close()
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                serve(socket.socket(fileno=files[0]), limits)
            finally:
                os._exit(0)
        for each in files:
            os.close(each)
        _, status, usage = os.wait4(child, 0)
        if alone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.waitpid(-1, 0)
        scale = 1 if sys.platform == "darwin" else 1024
        control.sendall(f"{status} {usage.ru_maxrss * scale}\n".encode("ascii"))


def main(arguments: list[str] | None = None) -> None:
    """Serve on an inherited socket, or on a port of this machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", help="number of an open socket, or PORT:TOKEN")
    parser.add_argument("--fork", action="store_true")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--uid", type=int)
    parser.add_argument("--limits", default="")
    parser.add_argument("--preload", nargs="*", default=[])
    given = parser.parse_args(arguments)
    if given.uid is not None:
        os.setgroups([])
        os.setresgid(given.uid, given.uid, given.uid)
        os.setresuid(given.uid, given.uid, given.uid)
    if ":" in given.address:
        port, token = given.address.split(":")
        control = socket.create_connection(("127.0.0.1", int(port)))
        control.sendall(token.encode("ascii"))
    else:
        control = socket.socket(fileno=int(given.address))
    for name in given.preload:
        importlib.import_module(name)
    control.sendall(b"ready\n")
    if given.fork:
        gc.freeze()  # Children share these pages as long as nobody counts through them.
        fork_server(control, alone=given.alone)
    else:
        seconds, megabytes, processes = map(int, given.limits.split())
        serve(control, {"seconds": seconds, "megabytes": megabytes, "processes": processes})


if __name__ == "__main__":
    main()
