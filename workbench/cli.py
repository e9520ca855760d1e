"""The command line: ``workbench compare``, ``bench``, ``doctor``, and the course's commands.

Rooms are imported by the command that needs them, so ``workbench --help`` and shell
completion answer at once.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench import __version__
from workbench.errors import OptionError, UnknownNameError, WorkbenchError

EXIT_DISAGREE = 1
EXIT_FAILED = 1
EXIT_USAGE = 2  # As every command line answers a misspelt option.
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count.

app = typer.Typer(
    name="workbench",
    help="One model, four generations of deep-learning framework, side by side.",
    epilog="Start with: workbench compare",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


INTERRUPTED = {"grade": "what is judged is kept: go on with --resume"}


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn our own errors and Ctrl-C into a line and an exit status, not a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except WorkbenchError as error:
            typer.echo(f"error: {error}", err=True)
            usage = isinstance(error, OptionError | UnknownNameError)
            raise typer.Exit(EXIT_USAGE if usage else EXIT_FAILED) from None
        except KeyboardInterrupt:
            kept = INTERRUPTED.get(command.__name__, "nothing was written")
            typer.echo(f"interrupted: {command.__name__} stopped; {kept}", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None

    return wrapped


@contextmanager
def between_blocks() -> Iterator[Callable[[], None]]:
    """Let Ctrl-C wait for a safe place; yield the function that is called in such places.

    Python raises KeyboardInterrupt between any two instructions, also inside a finaliser,
    which loses it, or while a progress bar holds its lock.  Here the first Ctrl-C is only
    noted, and raised in the next safe place; a second one acts at once.
    """
    noted = False

    def note(number: int, frame: object) -> None:
        nonlocal noted
        noted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def safe_place() -> None:
        if noted:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield safe_place
        safe_place()
    finally:
        signal.signal(signal.SIGINT, before)


def show_version(asked: bool) -> None:
    """Print the version and leave."""
    if asked:
        typer.echo(f"workbench {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """One model, four generations of deep-learning framework, side by side."""


def starting_with(names: Callable[[], list[str]]) -> Callable[[str], list[str]]:
    """Return a shell completion over names that are looked up when asked for."""
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


def case_names() -> list[str]:
    """Return the cases of `workbench compare`."""
    from workbench.compare import CASES

    return list(CASES)


def era_names() -> list[str]:
    """Return the eras, oldest first."""
    from workbench.compare import ERAS

    return list(ERAS)


def workload_names() -> list[str]:
    """Return the workloads of `workbench bench`."""
    from workbench.compare.workloads import WORKLOADS

    return list(WORKLOADS)


def split(values: list[str] | None) -> list[str] | None:
    """Take ``--eras a,b`` and ``--eras a --eras b`` alike."""
    if values is None:
        return None
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def consoles() -> tuple[Any, Any]:
    """Return consoles for results and for progress; the second leaves pipes clean."""
    from rich.console import Console

    # A table in a file or a pipe should not be cut to a terminal it never sees.
    width = None if sys.stdout.isatty() else 140
    return Console(width=width, highlight=False), Console(stderr=True)


def write_json(target: str, value: dict[str, Any]) -> None:
    """Write JSON to a file, whole or not at all, or to the standard output for ``-``."""
    text = json.dumps(value, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    from workbench.files import atomic_write

    atomic_write(Path(target), text)


JSON_OPTION = typer.Option("--json", metavar="FILE", help="Write the rows here; - for stdout.")


@app.command()
@plain_errors
def compare(
    case: Annotated[
        str,
        typer.Argument(
            help="digits-mlp, mnist-mlp, logistic, digits-cnn, char-rnn or expression-trees.",
            autocompletion=starting_with(case_names),
        ),
    ] = "digits-mlp",
    eras: Annotated[
        list[str] | None,
        typer.Option(
            help="Eras to run, separated by commas.  [default: all that can run the case]",
            metavar="ERA,...",
            autocompletion=starting_with(era_names),
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Training steps.  [default: the case's]")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    json_file: Annotated[str | None, JSON_OPTION] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page with programs and figures.")
    ] = None,
) -> None:
    """Train the same network in each era and compare what comes out.

    Same first weights, same batches. Shows gradients, loss, accuracy, time, memory
    and the lines each era asked of its users. Exit status 1 if the eras disagree.
    """  # fmt: skip
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from workbench import compare as room
    from workbench.compare.runner import check_eras
    from workbench.compare.table import table

    names = check_eras(room.case(case), split(eras))  # Refused before any bar is drawn.
    out, err = consoles()
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("steps"))  # fmt: skip
    with Progress(*columns, console=err) as bars:
        tasks = {era: bars.add_task(era, total=None) for era in names}

        with between_blocks() as safe_place:

            def progress(era: str, done: int, total: int) -> None:
                bars.update(tasks[era], completed=done, total=total)
                safe_place()

            result = room.run(
                case, names, steps=steps, dtype=dtype, device=device, progress=progress
            )
    if json_file != "-":
        out.print(table(result))
    if report is not None:
        from workbench.compare.report import write_report

        err.print(f"report: {write_report(result, report)}", soft_wrap=True)
    if json_file is not None:
        write_json(
            json_file,
            {
                "header": result.header,
                "rows": result.rows,
                "agree": result.agree,
                "disagreements": result.disagreements,
                "notes": result.notes,
            },
        )
    if result.agree:
        err.print(f"{result.verdict} within {result.tolerance:.0e}.")
        return
    err.print(f"[bold red]{result.verdict} within {result.tolerance:.0e}:")
    for line in result.disagreements:
        err.print(f"  {line}", markup=False, soft_wrap=True)
    raise typer.Exit(EXIT_DISAGREE)


@app.command()
@plain_errors
def bench(
    workloads: Annotated[
        list[str] | None,
        typer.Argument(
            help="Workloads to run.  [default: all]",
            metavar="[WORKLOAD]...",
            autocompletion=starting_with(workload_names),
        ),
    ] = None,
    peers: Annotated[
        list[str] | None,
        typer.Option(
            help="Peers to run against, separated by commas.  [default: all]", metavar="PEER,..."
        ),
    ] = None,
    repetitions: Annotated[int, typer.Option(metavar="N", help="Timed batches a side.")] = 9,
    json_file: Annotated[str | None, JSON_OPTION] = None,
) -> None:
    """Time the engines against each other and against what you would use instead.

    Each figure is a ratio, ours / theirs: both sides run in turns, on the same data,
    with the same number of threads. Below 1 is faster than the peer.
    """  # fmt: skip
    from rich.progress import Progress

    from workbench.compare.bench import run_bench, table
    from workbench.compare.machine import header

    out, err = consoles()
    with Progress(console=err) as bars:
        task = bars.add_task("bench", total=None)

        def progress(label: str, done: int, total: int) -> None:
            bars.update(task, description=label, completed=done, total=total)

        rows = run_bench(workloads or None, split(peers), repetitions, progress)
    if json_file is not None:
        write_json(json_file, {"header": header(1), "rows": rows})
    if json_file != "-":
        out.print(table(rows))


@app.command()
@plain_errors
def doctor() -> None:
    """Say what this installation can do, what is missing, and the line that fixes it."""
    from workbench.compare.doctor import checks, table

    found = checks()
    out, _ = consoles()
    out.print(table(found))
    if any(check.needed and not check.fine for check in found):
        raise typer.Exit(EXIT_FAILED)


def exercise_names() -> list[str]:
    """Return the exercises in this folder."""
    return sorted(path.parent.name for path in Path("exercises").glob("*/*.ipynb"))


def assignment_names() -> list[str]:
    """Return the assignments in this folder."""
    return sorted(path.parent.name for path in Path("solutions").glob("*/*.ipynb"))


COURSE = Annotated[
    Path, typer.Option("--course", metavar="DIR", help="Folder of solutions/ and exercises/.")
]
NAME = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The assignment.",
                   autocompletion=starting_with(assignment_names)),
]  # fmt: skip


@app.command(rich_help_panel="Course")
@plain_errors
def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The assignment, or the path of its notebook.",
            autocompletion=starting_with(exercise_names),
        ),
    ],
    questions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUESTION]...", help="Such as q2.  [default: all]"),
    ] = None,
    course: COURSE = Path(),
    json_file: Annotated[str | None, JSON_OPTION] = None,
) -> None:
    """Check your own answers, as the grader will, with the inputs that you can see.

    Each check runs in a fresh process. Exit status 1 if one of them does not pass.
    """  # fmt: skip
    from workbench.course.selfcheck import check_notebook, find_notebook_of

    out, _ = consoles()
    rows = []
    for row in check_notebook(find_notebook_of(name, course), questions or []):
        rows.append(row)
        if json_file == "-":
            continue
        passed = row.verdict == "pass"
        out.print(f"{'✓' if passed else '✗'} {row.question}", end=" ", markup=False,
                  style="blue" if passed else "dark_orange")  # fmt: skip
        out.print(f"{row.verdict}, {row.points:g} of {row.max_points:g}", markup=False)
        if row.feedback:
            out.print("  " + row.feedback.replace("\n", "\n  "), markup=False)
    points, most = (sum(getattr(row, kind) for row in rows) for kind in ("points", "max_points"))
    if json_file is not None:
        write_json(json_file, {"rows": [row.data() for row in rows]})
    if json_file != "-":
        out.print(f"{points:g} of {most:g} points; hidden inputs are not counted yet")
    if any(row.verdict != "pass" for row in rows):
        raise typer.Exit(EXIT_FAILED)


@app.command(rich_help_panel="Course")
@plain_errors
def grade(
    name: NAME,
    submitted: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of STUDENT/NAME/NAME.ipynb.  [default: submitted/ in the course folder]",
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes.  [default: the processors]")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Grade on this Dask cluster instead.")
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(
            metavar="S",
            help="Secret that hidden inputs are drawn from.  [default: the course folder's own]",
        ),
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Your private checks: NAME/CHECK.py.")
    ] = None,
    student: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this student; may be repeated.")
    ] = None,
    json_file: Annotated[str | None, JSON_OPTION] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run was stopped.")
    ] = False,
    course: COURSE = Path(),
) -> None:
    """Grade submissions: verdicts, marks into gradebook.db, a feedback page a student.

    Answers run in a sandbox, hidden checks outside it. A bad submission costs nobody else
    a mark, and every question of every submission gets a verdict.
    """  # fmt: skip
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from workbench.course import grading

    out, err = consoles()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip

    def finished(graded: grading.Graded) -> None:
        if json_file is not None:  # Whatever becomes of the gradebook, the verdicts are there.
            write_json(json_file, graded.data())

    with Progress(*columns, console=err) as bars, between_blocks() as safe_place:
        task = bars.add_task("grading", total=None)

        def progress(student: str, done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)
            safe_place()

        graded = grading.grade_course(
            name, course, submitted=submitted, students=student or (),
            jobs=jobs or grading.workers(), scheduler=scheduler, seed=seed, overlay=overlay,
            resume=resume, progress=progress, finished=finished,
        )  # fmt: skip
    if json_file != "-":
        out.print(grading.table(graded.rows, name))
    number = len({row.student for row in graded.rows})
    err.print(f"{number} submission{'s' if number > 1 else ''} in {graded.seconds:.1f} s; marks are in "
              f"{course / 'gradebook.db'}, pages in {course / 'feedback'}.", soft_wrap=True)  # fmt: skip
    if graded.to_mark:
        per = len({each["question"] for each in graded.to_mark})
        err.print(f"Free text waits to be read: {per} question{'s' if per > 1 else ''} a student, "
                  "in nbgrader's formgrader.", soft_wrap=True)  # fmt: skip
    if graded.header["isolation"] == "UNISOLATED" and not scheduler:
        err.print(f"UNISOLATED: {graded.header['isolation_reason']}. Answers could read your "
                  "files.", style="bold dark_orange", soft_wrap=True)  # fmt: skip


@app.command(rich_help_panel="Course")
@plain_errors
def release(
    name: NAME,
    force: Annotated[
        bool, typer.Option("--force", help="Even if there are answers in it.")
    ] = False,
    course: COURSE = Path(),
) -> None:
    """Make exercises/NAME from solutions/NAME, through nbgrader."""
    from workbench.course.nbgrader import release as make

    typer.echo(make(name, course, force=force))


@app.command(rich_help_panel="Course")
@plain_errors
def collect(
    name: NAME,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DOWNLOAD", help="A zip file or folder from Canvas, Moodle or Blackboard."
        ),
    ],
    course: COURSE = Path(),
) -> None:
    """Put what a learning-management system gives away into submitted/.

    One line a file says what became of it. Exit status 1 if one was refused.
    """  # fmt: skip
    from workbench.course.folder import collect as take

    found = take(source, name, course)
    for each in found:
        typer.echo(str(each))
    if any(each.action == "refused" for each in found):
        raise typer.Exit(EXIT_FAILED)


@app.command(rich_help_panel="Course")
@plain_errors
def export(
    name: NAME,
    to: Annotated[str, typer.Option(help="canvas, moodle, blackboard or plain.")] = "plain",
    column: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Header that the system has for the mark.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="[default: grades-NAME.csv]")
    ] = None,
    course: COURSE = Path(),
) -> None:
    """Write the marks of gradebook.db as a CSV file for a learning-management system."""
    from workbench.course.export import write_csv
    from workbench.course.gradebook import scores

    found = scores(name, course)
    path = write_csv(csv_file or course / f"grades-{name}.csv", found, name, to, column)
    typer.echo(path)
    if unread := sum(each.unread for each in found):
        typer.echo(f"{unread} of {len(found)} still have free text to be read", err=True)


@app.command(rich_help_panel="Course")
@plain_errors
def similarity(
    name: NAME,
    submitted: Annotated[
        Path | None, typer.Option(metavar="DIR", help="[default: submitted/ in the course folder]")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="[default: similarity-NAME.html]")
    ] = None,
    course: COURSE = Path(),
) -> None:
    """List answers that share more structure than the exercise gave everybody.

    For you to look at: the page shows both sides, and says nothing about anybody.
    """  # fmt: skip
    from workbench.course.grading import compare_answers

    path = report or course / f"similarity-{name}.html"
    found = compare_answers(name, course, submitted, path)
    typer.echo(f"{path}: {len(found.pairs)} pairs of {found.number} submissions share structure")


course_app = typer.Typer(name="course", help="Make a course folder.", no_args_is_help=True)
app.add_typer(course_app, rich_help_panel="Course")


@course_app.command()
@plain_errors
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="CLONE",
            help="A clone of the workbench's repository.  "
            "[default: the one that this package runs from]",
        ),
    ] = None,
) -> None:
    """Make an instructor's folder that works at once: assignments, settings, a secret."""
    from workbench.course.folder import init as make

    made = make(directory, source)
    typer.echo(f"{made}: read README.md there; then: cd {made} && workbench grade NAME")


def main() -> None:
    """Run the command line (the ``workbench`` script)."""
    app(prog_name="workbench")
