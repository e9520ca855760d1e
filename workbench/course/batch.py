"""A class is a batch: every submission judged, on this machine or on a Dask cluster.

Each finished submission is one line of a journal, written before the next is taken up.
A run that was killed goes on from it; a submission, a release or a secret that changed
since is judged anew.

Only the processes that judge are in the pool.  They never run a student's code, so they
do not die of it; where one dies all the same (a machine out of memory, a cluster's node
switched off), its submission is judged by another.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench import __version__
from workbench.course.notebooks import (
    Assignment,
    Submission,
    find_notebook,
    parse_submission,
    read_file,
)
from workbench.course.referee import Options, judge
from workbench.course.results import VERDICTS, Row
from workbench.errors import DataError, DeviceError, require

__all__ = ["Handed", "find_submissions", "grade"]

TRIES = 3  # Times that a submission is given to a judge, if judges die of it.


@dataclass(frozen=True)
class Handed:
    """A submission as it lies in its folder.

    Parameters
    ----------
    student : str
    path : Path or None
        The notebook; None if there is none.
    problem, note : str
        Why there is none; what is odd about it.
    digest : str
        SHA-256 of its bytes.
    data : bytes or None
        The bytes themselves, where the judge may be on another machine.
    """

    student: str
    path: Path | None = None
    problem: str = ""
    note: str = ""
    digest: str = ""
    data: bytes | None = None

    def parse(self, assignment: Assignment) -> Submission:
        """Read the notebook."""
        if self.problem:
            return Submission(self.student, problem=self.problem)
        try:
            data = self.data
            if data is None:
                assert self.path is not None
                data = read_file(self.path)
        except DataError as error:
            return Submission(self.student, problem=str(error))
        found = parse_submission(self.student, data, assignment)
        return replace(found, notes=(self.note, *found.notes)) if self.note else found


def find_submissions(submitted: Path, name: str) -> list[Handed]:
    """List what lies in ``submitted/STUDENT/NAME``, students in order.

    Raises
    ------
    DataError
        If there is no such folder, or nobody has handed in anything.
    """
    if not submitted.is_dir():
        raise DataError("grade", "there is no folder of submissions",
                        given=str(submitted.resolve()),
                        expected=f"STUDENT/{name}/{name}.ipynb in it")  # fmt: skip
    found = []
    for folder in sorted(submitted.iterdir()):
        if folder.name.startswith(".") or not folder.is_dir() or folder.is_symlink():
            continue
        if (folder / name).is_symlink():
            found.append(Handed(folder.name, problem=f"{name} is a link, not a folder"))
        elif (folder / name).is_dir():
            found.append(_handed(folder.name, folder / name, name))
    if not found:
        raise DataError("grade", f"nobody has submitted {name!r}", given=str(submitted.resolve()),
                        expected=f"STUDENT/{name}/{name}.ipynb")  # fmt: skip
    return found


def _handed(student: str, folder: Path, name: str) -> Handed:
    try:
        path, note = find_notebook(folder, name)
        if path is None:
            return Handed(student, problem=note)
        return Handed(student, path, note=note, digest=hashlib.sha256(read_file(path)).hexdigest())
    except (DataError, OSError) as error:
        return Handed(student, problem=str(error))


def grade(
    assignment: Assignment,
    handed: Iterable[Handed],
    options: Options,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    journal: Path | None = None,
    resume: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Row]:
    """Judge a batch of submissions.

    Parameters
    ----------
    assignment : Assignment
    handed : iterable of Handed
    options : Options
    jobs : int
        Processes that judge.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers judge instead.
    journal : Path, optional
        File for what is done.
    resume : bool
        Take from the journal what is in it and still holds.
    progress : callable, optional
        Called as ``progress(student, done, total)``.

    Returns
    -------
    list of Row
        Students in order, checks in the notebook's order.

    Raises
    ------
    DataError
        If the journal cannot be written.
    DeviceError
        If there is no scheduler at the address.
    """
    todo = list(handed)
    keys = {each.student: _key(assignment, each, options) for each in todo}
    done: dict[str, list[Row]] = {}
    if journal is not None:
        if resume:
            done = {student: rows for student, (key, rows) in _read(journal).items()
                    if keys.get(student) == key}  # fmt: skip
        _begin(journal, [(keys[student], rows) for student, rows in done.items()])
    left = [each for each in todo if each.student not in done]
    run = _on_cluster(scheduler) if scheduler else _in_pool(jobs)
    total = len(todo)
    if progress is not None:
        progress("", len(done), total)
    for student, rows in run(assignment, left, options):
        if student in done:
            continue
        if journal is not None:
            _append(journal, keys[student], rows)
        done[student] = rows
        if progress is not None:
            progress(student, len(done), total)
    return [row for each in todo for row in done[each.student]]


def judge_handed(assignment: Assignment, handed: Handed, options: Options) -> list[Row]:
    """Judge one submission in this process; never raise for what is in it."""
    return judge(assignment, handed.parse(assignment), options)


Run = Callable[[Assignment, list[Handed], Options], Iterator[tuple[str, list[Row]]]]


def _in_pool(jobs: int) -> Run:
    def run(
        assignment: Assignment, left: list[Handed], options: Options
    ) -> Iterator[tuple[str, list[Row]]]:
        if jobs == 1 or len(left) < 2:
            for each in left:
                yield each.student, judge_handed(assignment, each, options)
            return
        tries = dict.fromkeys((each.student for each in left), 0)
        while left:
            # A process that has threads is not forked safely, and ours may have some.
            context = multiprocessing.get_context("spawn")
            workers = min(jobs, len(left))
            with ProcessPoolExecutor(workers, context, initializer=_begin_judge) as pool:
                futures = {pool.submit(judge_handed, assignment, each, options): each
                           for each in left}  # fmt: skip
                lost = []
                for future, each in _as_done(futures):
                    try:
                        yield each.student, future.result()
                    except BrokenProcessPool:
                        lost.append(each)
            for each in lost[:workers]:  # The one that it died of is among the first.
                tries[each.student] += 1
            left = [each for each in lost if tries[each.student] < TRIES]
            for each in lost:
                if tries[each.student] >= TRIES:
                    yield each.student, _undone(assignment, each, options)

    return run


def _as_done(futures: dict[Future[Any], Handed]) -> Iterator[tuple[Future[Any], Handed]]:
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, return_when=FIRST_COMPLETED)
        for each in finished:
            yield each, futures[each]


def _begin_judge() -> None:
    """Leave Ctrl-C to the process that started this one."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _undone(assignment: Assignment, handed: Handed, options: Options) -> list[Row]:
    text = f"the processes that judged it died {TRIES} times; ask your instructor"
    return [Row(handed.student, assignment.name, cell.id, "died", 0.0, cell.points, text,
                isolation=options.mode) for cell in assignment.of_kind("check")]  # fmt: skip


def _on_cluster(address: str) -> Run:
    def run(
        assignment: Assignment, left: list[Handed], options: Options
    ) -> Iterator[tuple[str, list[Row]]]:
        require("distributed", room="course", extra="cluster")
        from distributed import Client, as_completed

        try:
            client = Client(address, timeout="10s", set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise DeviceError("grade", "there is no Dask scheduler there", given=address,
                              fix="start one with: dask scheduler, and dask worker ADDRESS"
                              ) from error  # fmt: skip
        with client:
            futures = {}
            for each in left:
                # A key a submission: the task of a lost worker runs again under the same one.
                key = f"judge-{assignment.name}-{uuid.uuid4().hex}"
                futures[key] = each, client.submit(_judge_on_worker, assignment, _whole(each),
                                                   options, key=key, pure=False)  # fmt: skip
            for future in as_completed([future for _, future in futures.values()],
                                       loop=client.loop):  # fmt: skip
                each = futures[future.key][0]
                if future.status == "finished":
                    yield each.student, [Row(**row) for row in future.result()]
                else:  # Dask gave it up: worker after worker was lost with it.
                    yield each.student, _undone(assignment, each, options)

    return run


def _whole(handed: Handed) -> Handed:
    """Put the notebook's bytes in place of its path, which means nothing elsewhere."""
    if handed.path is None or handed.problem:
        return handed
    try:
        return replace(handed, data=read_file(handed.path), path=None)
    except DataError as error:
        return replace(handed, path=None, problem=str(error))


def _judge_on_worker(
    assignment: Assignment, handed: Handed, options: Options
) -> list[dict[str, Any]]:
    from workbench.course.sandbox import isolation

    here = replace(options, mode=isolation()[0])  # Of that machine, not of the one that asks.
    return [row.data() for row in judge_handed(assignment, handed, here)]


def _key(assignment: Assignment, handed: Handed, options: Options) -> str:
    """Name what a verdict rests on; another key means that it has to be found anew."""
    parts = [__version__, assignment.name, repr(assignment.cells), repr(assignment.settings),
             handed.student, handed.digest, handed.problem, handed.note,
             repr((options.secret, sorted(options.overlay.items()), options.hidden, options.only))]  # fmt: skip
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def _begin(journal: Path, entries: list[tuple[str, list[Row]]]) -> None:
    from workbench.files import atomic_write

    text = "".join(_entry(key, rows) for key, rows in entries)
    atomic_write(journal, text, where="grade", instead="grade in a folder that you may write")


def _append(journal: Path, key: str, rows: list[Row]) -> None:
    try:
        with open(journal, "a", encoding="utf-8") as file:
            file.write(_entry(key, rows))
    except OSError as error:
        raise DataError("grade", f"cannot write {journal}: {error.strerror}",
                        fix="make room, then go on with --resume; what is graded is kept"
                        ) from error  # fmt: skip


def _entry(key: str, rows: list[Row]) -> str:
    return json.dumps({"key": key, "rows": [row.data() for row in rows]}) + "\n"


def _read(journal: Path) -> dict[str, tuple[str, list[Row]]]:
    """Read a journal; a line that was torn by a kill is no line."""
    found = {}
    try:
        lines = journal.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            entry = json.loads(line)
            rows = [Row(**row) for row in entry["rows"]]
            if rows and all(row.verdict in VERDICTS for row in rows):
                found[rows[0].student] = (entry["key"], rows)
        except (ValueError, TypeError, KeyError):
            continue
    return found
