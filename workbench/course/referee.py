"""One submission, judged: each check runs here, the answer it asks for in a sandbox.

A check cell of the source notebook is Python that calls the student's functions and
compares.  Under nbgrader both live in one process, where the answer can change the
comparison.  Here the names that an answer defines are bound to stand-ins, which send the
arguments to the sandbox and bring data back; the cell's own code never leaves this
process, and the answer never enters it.

Whatever happens, there is a row for every check.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import hmac
import inspect
import re
import signal
import socket
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workbench.course import checks
from workbench.course.channel import Channel, ClosedError, ProtocolError, TooLateError
from workbench.course.library import library
from workbench.course.notebooks import Assignment, Cell, Submission
from workbench.course.results import Row
from workbench.course.sandbox import Ended, Limits, Sandbox

__all__ = ["Judge", "Options", "judge", "student_secret"]

LONGEST = 4000  # Characters of feedback that are kept.
WAIT = 6  # Times the limit on processor time that may pass by the clock: others keep it busy.
TOO_LARGE = 3  # Times the memory limit that all processes of an answer may hold together.


@dataclass(frozen=True)
class Options:
    """How submissions are judged.

    Parameters
    ----------
    secret : str or None
        Of the course; inputs of hidden checks are drawn from it and the student's name.
        None draws the inputs that a student has at the desk.
    mode : str
        From :func:`workbench.course.sandbox.isolation`.
    overlay : dict
        Private checks by question: Python that runs after the check cell of that name.
    hidden : bool
        Whether hidden checks run too.
    only : tuple of str
        Questions (``"q1"``) or checks to run; empty for all.
    """

    secret: str | None = None
    mode: str = ""
    overlay: dict[str, str] = field(default_factory=dict)
    hidden: bool = True
    only: tuple[str, ...] = ()


class _Stop(BaseException):
    """Ends a check with a verdict; no ``except Exception`` in it can hold this up."""

    def __init__(self, verdict: str, text: str) -> None:
        super().__init__(verdict, text)
        self.verdict, self.text = verdict, text


class Remote:
    """An object of the student's, as a check sees it: it can be called or handed back."""

    def __init__(self, desk: _Desk, description: dict[str, Any]) -> None:
        self.far_id, self._desk = description["id"], desk
        name, parameters = description.get("name"), description.get("parameters")
        self._callable = description.get("callable") is True
        self.__name__ = _plain(name, 60) if isinstance(name, str) else "an object"
        words = [word for word in parameters if isinstance(word, str) and word.isidentifier()
                 ] if isinstance(parameters, list) else []  # fmt: skip
        if words and len(set(words)) == len(words):
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            try:
                self.__signature__ = inspect.Signature([inspect.Parameter(w, kind) for w in words])
            except ValueError:  # A keyword of the language, say.
                self.__signature__ = inspect.Signature()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if not self._callable:
            raise checks.CheckError(self.__name__, "it cannot be called", expected="a function")
        return self._desk.call(self, arguments, options)

    def changing(self, *arguments: Any) -> Any:
        """Call it, and let what it does to its arguments happen to these as well."""
        if not self._callable:
            return self(*arguments)
        return self._desk.call(self, arguments, {}, changing=True)

    def __deepcopy__(self, memo: object) -> Remote:
        return self

    def __bool__(self) -> bool:
        raise checks.CheckError(self.__name__, "it is no number or array, and has no truth value")

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __repr__(self) -> str:
        return f"<{self.__name__}>"


class _Desk:
    """Where a check speaks with one process of the student's."""

    def __init__(self, connection: socket.socket, sandbox: Sandbox, limits: Limits) -> None:
        self.channel = Channel(connection, lambda told: Remote(self, told), _describe)
        self.sandbox, self.limits = sandbox, limits
        self.wait = WAIT * limits.seconds
        self.channel.deadline = time.monotonic() + self.wait
        self.channel.idle = self._look
        self._looked = time.monotonic()
        self.largest = 0

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked > 0.2:
            self._looked = now
            self.largest = max(self.largest, memory := self.sandbox.watch())
            if memory > TOO_LARGE * self.limits.megabytes << 20:
                raise _Stop("out of memory", f"its processes held {memory >> 20} MB together")

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and return the reply; serve calls of the check's functions between."""
        try:
            self.channel.send(message)
            while True:
                reply = self.channel.receive()
                if "call" not in reply:
                    break
                self.channel.send(self._serve(reply))
        except TypeError as error:
            raise checks.CheckError("the check", str(error)) from None
        except ProtocolError as error:
            raise _Stop("tampered", f"the process of your code sent {error}") from None
        except TooLateError:
            raise _Stop("timeout", f"no result within {self.wait:g} seconds") from None
        except ClosedError:
            raise _Stop("died", "") from None
        if reply.get("memory") is True:
            raise _Stop("out of memory", f"it asked for more than {self.limits.megabytes} MB")
        if "error" in reply:
            raise _student_error(message.get("name", "your code"), reply["error"])
        return reply

    def _serve(self, reply: dict[str, Any]) -> dict[str, Any]:
        place, arguments, options = reply["call"], reply.get("arguments"), reply.get("options")
        if not (type(place) is int and 0 <= place < len(self.channel.kept)
                and isinstance(arguments, tuple) and isinstance(options, dict)
                and all(isinstance(name, str) for name in options)):  # fmt: skip
            raise ProtocolError("a call of a function that there is not")
        try:
            return {"do": "answer", "value": self.channel.kept[place](*arguments, **options)}
        except Exception as error:  # What it was given may be anything; the answer is told.
            return {"do": "answer", "raised": f"{type(error).__name__}: {error}"[:LONGEST]}

    def call(
        self,
        target: Remote,
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        *,
        changing: bool = False,
    ) -> Any:
        """Call a function of the student's.

        A check's own arrays stay as they are, or an answer could make what it is compared
        with; only with ``changing`` is what it changed written back into the arguments.
        """
        reply = self.ask({"do": "call", "target": target, "arguments": arguments,
                          "options": options})  # fmt: skip
        if "value" not in reply:
            raise _Stop("tampered", "the process of your code sent a reply that is none")
        changed = reply.get("changed")
        if changing and isinstance(changed, list) and len(changed) == 2:
            _write_back(arguments, changed[0])
        return reply["value"]


class Judge:
    """Judges submissions to one assignment; a context manager.

    The sandboxes are kept from one submission to the next, each check in a fresh process.
    So one judge is for the submissions of *one* student: :func:`judge` makes a new one.

    Parameters
    ----------
    assignment : Assignment
    options : Options
    """

    def __init__(self, assignment: Assignment, options: Options) -> None:
        self.assignment, self.options = assignment, options
        settings = assignment.settings
        self.limits = Limits(float(settings.get("seconds", Limits.seconds)),
                             int(settings.get("megabytes", Limits.megabytes)))  # fmt: skip
        self._sandboxes: dict[Path, Sandbox] = {}

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *exception: object) -> None:
        for each in self._sandboxes.values():
            each.stop()
        self._sandboxes.clear()

    def rows(self, submission: Submission, only: tuple[str, ...] = ()) -> list[Row]:
        """Return a row for every check, or for those of some questions, in order."""
        wanted = set(only or self.options.only)
        rows = []
        for cell in self.assignment.of_kind("check"):
            if wanted and not {cell.question, cell.id} & wanted:
                continue
            if submission.problem:
                rows.append(_row(self.assignment, submission, cell, self.options, "missing",
                                 submission.problem))  # fmt: skip
            else:
                rows.append(_judge_cell(self.assignment, submission, cell, self.options,
                                        self._sandbox(cell.question), self.limits))  # fmt: skip
        return rows

    def _sandbox(self, question: str) -> Sandbox:
        folder = library(self.assignment, question)
        if folder not in self._sandboxes:
            self._sandboxes[folder] = Sandbox(folder, _preload(self.assignment),
                                              self.options.mode, self.limits)  # fmt: skip
        return self._sandboxes[folder]


def judge(assignment: Assignment, submission: Submission, options: Options) -> list[Row]:
    """Judge one submission.

    Parameters
    ----------
    assignment : Assignment
    submission : Submission
    options : Options

    Returns
    -------
    list of Row
        One for every check that was asked for, in the notebook's order.
    """
    with Judge(assignment, options) as bench:
        return bench.rows(submission)


def _preload(assignment: Assignment) -> tuple[str, ...]:
    rooms = ("gradcheck", "datasets", "course.checks", *assignment.settings.get("rooms", ()))
    return tuple(f"workbench.{room}" for room in rooms)


def _row(
    assignment: Assignment, submission: Submission, cell: Cell, options: Options, verdict: str,
    feedback: str, seconds: float = 0.0, memory: int = 0,
) -> Row:  # fmt: skip
    points = cell.points if verdict == "pass" else 0.0
    notes = "" if verdict == "pass" else "".join(f"\nnote: {note}" for note in submission.notes)
    return Row(submission.student, assignment.name, cell.id, verdict, points, cell.points,
               _plain(feedback + notes, LONGEST), round(seconds, 4), memory, options.mode)  # fmt: skip


def _judge_cell(
    assignment: Assignment, submission: Submission, cell: Cell, options: Options,
    sandbox: Sandbox, limits: Limits,
) -> Row:  # fmt: skip
    begin, desk = time.monotonic(), None
    try:
        with _backstop((WAIT + 1) * limits.seconds + 10):
            desk = _Desk(sandbox.connect(), sandbox, limits)
            _check(assignment, submission, cell, options, desk)
        verdict, feedback = "pass", ""
    except _Stop as stop:
        verdict, feedback = stop.verdict, stop.text
    except ClosedError:
        verdict, feedback = "died", ""
    except (TooLateError, AssertionError) as error:
        verdict, feedback = "fail", str(error) or "an assertion of the check does not hold"
        if isinstance(error, TooLateError):
            verdict, feedback = "timeout", "its process did not start in time"
    except RecursionError:
        verdict, feedback = "fail", "what your code returned is nested too deeply to be compared"
    except MemoryError:
        verdict, feedback = "out of memory", "what your code returned does not fit into memory"
    except NameError as error:
        verdict, feedback = "missing", f"your notebook defines no {error.name}"
    except Exception as error:  # The check met a value that it could make nothing of.
        verdict = "fail"
        feedback = f"the check cannot use what your code returned: {type(error).__name__}: {error}"
    end = _finish(sandbox, desk, verdict)
    if verdict == "died":
        verdict, feedback = _fate(end.signal, limits)
    seconds = time.monotonic() - begin
    largest = max(end.memory, desk.largest if desk else 0)
    return _row(assignment, submission, cell, options, verdict, feedback, seconds, largest)


def _finish(sandbox: Sandbox, desk: _Desk | None, verdict: str) -> Ended:
    if desk is None:
        sandbox.stop()
        return sandbox.ended()
    if verdict in ("timeout", "out of memory", "tampered"):
        sandbox.stop()
    else:
        desk.channel.idle = None
        desk.channel.deadline = time.monotonic() + 1
        with contextlib.suppress(ClosedError, TooLateError):
            desk.channel.send({"do": "quit"})
    desk.channel.close()
    return sandbox.ended()


def _fate(number: int, limits: Limits) -> tuple[str, str]:
    if number in (getattr(signal, "SIGXCPU", -1),):
        return "timeout", f"it used {limits.seconds:g} seconds of processor time"
    name = f" ({signal.Signals(number).name})" if number in set(signal.Signals) else ""
    return "died", f"the process of your code ended{name} before it answered"


def _check(
    assignment: Assignment, submission: Submission, cell: Cell, options: Options, desk: _Desk
) -> None:
    question = cell.question
    near = [each for each in assignment.cells if each.question in ("setup", question)]
    theirs = [(each, names) for each in near if each.kind in ("answer", "apparatus")
              and (names := _names(each.source))]  # fmt: skip
    wanted = [name for _, names in theirs for name in names]
    reply = desk.ask({"do": "load", "cells": submission.cells_for(assignment, question),
                      "names": wanted}).get("loaded")  # fmt: skip
    problems = reply.get("problems") if isinstance(reply, dict) else None
    if not isinstance(problems, dict):
        raise _Stop("tampered", "the process of your code sent a reply that is none")
    for each in near:
        if each.kind == "given" and isinstance(told := problems.get(each.id), dict):
            raise _student_error(f"the given cell {each.id}", told.get("error"))
    namespace: dict[str, Any] = {"__name__": "__main__", "print": lambda *values, **how: None}
    secret = student_secret(options.secret, submission.student, assignment.name)
    with checks.seeded(secret), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for each in near:
            if each.kind == "given":
                exec(_code(each.id, each.source), namespace)
        for each, names in theirs:
            for name in names:
                namespace[name] = _fetch(desk, name, each, problems, submission)
        shown, hidden = split_hidden(cell.source)
        exec(_code(cell.id, shown + hidden if options.hidden else shown), namespace)
        if extra := options.overlay.get(cell.id):
            exec(_code(f"{cell.id} (overlay)", extra), namespace)


def _fetch(
    desk: _Desk, name: str, cell: Cell, problems: dict[str, Any], submission: Submission
) -> Any:
    reply = desk.ask({"do": "get", "name": name})
    if "value" in reply:
        return reply["value"]
    problem = problems.get(cell.id)
    if isinstance(problem, dict) and problem.get("memory") is True:
        raise _Stop("out of memory", f"the cell {cell.id} asked for more than the limit")
    if isinstance(problem, dict):
        raise _student_error(f"the cell {cell.id}", problem.get("error"))
    if cell.kind == "apparatus":
        raise _Stop("fail", f"{name} could not be prepared with your answer")
    reason = submission.absent.get(cell.id, f"your notebook defines no {name}")
    raise _Stop("missing", reason)


def split_hidden(source: str) -> tuple[str, str]:
    """Part a check into what the release shows and what it hides."""
    pattern = (
        r"(?ms)^[ \t]*### BEGIN HIDDEN TESTS[^\n]*\n(.*?)^[ \t]*### END HIDDEN TESTS[^\n]*$\n?"
    )
    hidden = "\n".join(re.findall(pattern, source))
    return re.sub(pattern, "", source) + "\n", hidden


def student_secret(secret: str | None, student: str, assignment: str) -> bytes | None:
    """Return what a student's hidden inputs of an assignment are drawn from."""
    if secret is None:
        return None
    return hmac.digest(secret.encode(), f"{assignment}\0{student}".encode("utf-8", "replace"),
                       hashlib.sha256)  # fmt: skip


@functools.lru_cache(maxsize=500)
def _code(name: str, source: str) -> Any:
    return compile(source, f"<{name}>", "exec")


@functools.lru_cache(maxsize=500)
def _names(source: str) -> tuple[str, ...]:
    """Return the names that a cell defines, in order."""
    found: list[str] = []
    try:
        tree = ast.parse(source)
    except SyntaxError:  # A student's own notebook, while it is being written.
        return tuple(dict.fromkeys(re.findall(r"(?m)^(?:def|class) (\w+)", source)))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign):
            found += [each.id for each in node.targets if isinstance(each, ast.Name)]
    return tuple(dict.fromkeys(found))


def _describe(value: Any) -> dict[str, Any]:
    if not callable(value):
        raise TypeError(f"a {type(value).__name__} cannot be handed to an answer: it is not data")
    return {"callable": True, "name": getattr(value, "__name__", "f")}


def _write_back(old: Any, new: Any) -> None:
    """Make arguments what the answer made of them, where they are of one shape."""
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        if old.shape == new.shape and old.dtype == new.dtype:
            old[...] = new
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            old[:] = new
        for before, after in zip(old, new, strict=True):
            _write_back(before, after)
    elif isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            _write_back(before, after)
    elif isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() & new.keys():
            _write_back(old[name], new[name])
        for name in old.keys() - new.keys():
            del old[name]
        old.update({name: new[name] for name in new.keys() - old.keys()})


def _student_error(where: str, told: Any) -> checks.StudentError:
    told = told if isinstance(told, dict) else {}
    kinds = tuple(each for each in told.get("kinds") or () if isinstance(each, str))
    text = told.get("text") if isinstance(told.get("text"), str) else ""
    place = told.get("place") if isinstance(told.get("place"), str) else None
    if "NotImplementedError" in kinds:
        return checks.StudentError(
            "this question", "it is not answered yet", kinds=kinds, text=text
        )
    problem = f"it raised {kinds[0] if kinds else 'an error'}: {text}"
    return checks.StudentError(place or where, problem, kinds=kinds, text=text)


def _plain(text: str, longest: int) -> str:
    """Return a text that any file and terminal takes: no control characters, not too long."""
    text = text[: longest + 1].encode("utf-8", "replace").decode("utf-8")
    text = "".join(each if each.isprintable() or each == "\n" else "�" for each in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


class _backstop:  # noqa: N801
    """Ends a check that runs too long by itself, fed with what an answer returned."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.armed = seconds, False

    def __enter__(self) -> None:
        if not hasattr(signal, "setitimer"):
            return

        def stop(number: int, frame: object) -> None:
            raise _Stop("timeout", "the check itself did not end on what your code returned")

        try:
            self.before = signal.signal(signal.SIGALRM, stop)
        except ValueError:  # Not the main thread, which alone gets signals.
            return
        self.armed = True
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *exception: object) -> None:
        if self.armed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self.before)
