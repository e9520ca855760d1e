"""From expressions to something that can be called.

``function`` checks what it is given and rewrites the graph.  The first call with new
shapes lowers the graph to a program of the compiler, and compiles that; later calls with
those shapes run it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench import compiler
from workbench.arrays import Array
from workbench.compiler.cache import Cache
from workbench.errors import (
    GraphError,
    NotFiniteError,
    OptionError,
    ShapeError,
    WorkbenchError,
    unknown_name,
)
from workbench.symbolic.checks import Pairs, check_givens, check_inputs, check_updates
from workbench.symbolic.graph import (
    Apply,
    CannotLower,
    Operand,
    Variable,
    fits,
    leaves,
    merge,
    nodes,
    rebuild,
)
from workbench.symbolic.interpreter import Schedule
from workbench.symbolic.lowering import STATIC_LIMIT, ValueNeeded, lower, value_leaves
from workbench.symbolic.profiling import Profile, ProfileRow
from workbench.symbolic.rewriting import Rewriting, rewrite
from workbench.symbolic.values import Shared, accept, operand

MODES = ("interpret", "check", *compiler.TARGETS)
CACHE_LIMIT = 32
"""For how many sets of shapes a function keeps compiled programs."""


@dataclass(frozen=True)
class In:
    """An input with a default: ``function([x, In(rate, 0.1)], ...)``.

    Attributes
    ----------
    variable : Variable
    value : array_like
        What a call that does not give the input runs with.
    """

    variable: Variable
    value: Any


class Function:
    """A compiled expression; made by :func:`function`.

    Attributes
    ----------
    name : str
    mode : str
    inputs, outputs : list of Variable
    updates : dict of Shared to Variable
    nodes : list of Apply
        What one call computes, after rewriting.
    rewriting : Rewriting or None
        Every rewrite that fired; None where the graph runs as it was written.
    cache : compiler.cache.Cache
        The compiled programs by the shapes they are for, with statistics.
    fallback : str or None
        Why calls run op by op although the mode compiles, if they do.
    """

    def __init__(
        self,
        inputs: list[Variable],
        outputs: list[Variable],
        updates: dict[Shared, Variable],
        mode: str,
        name: str,
        single: bool = False,
        defaults: Mapping[Variable, Any] | None = None,
        rewriting: Rewriting | None = None,
        threads: int = 1,
        passes: Sequence[Callable[[compiler.Program], compiler.Program]] = (),
    ) -> None:
        self.inputs, self.outputs, self.updates = inputs, outputs, updates
        self.mode, self.name, self.single = mode, name, single
        self.defaults, self.rewriting = dict(defaults or {}), rewriting
        self._threads, self._passes = threads, tuple(passes)
        self._results = [*outputs, *updates.values()]
        self.nodes: list[Apply] = nodes(self._results)
        needed = [*leaves(self._results), *updates]
        self._shared = list(dict.fromkeys(x for x in needed if isinstance(x, Shared)))
        self._leaves = [*inputs, *self._shared]
        self._schedule: Schedule | None = None
        self._statics: list[int] = []
        self._key: Any = None
        self._run: Any = None
        # What the inputs were in the last call, if they alone decide which program runs.
        self._last: list[tuple[Any, Any]] | None = None
        self._fixed = all(None not in s.shape for s in self._shared)
        self.cache: Cache[Any] = Cache(CACHE_LIMIT, name)
        self.fallback: str | None = None

    @property
    def graph_size(self) -> int:
        """The number of nodes that one call computes."""
        return len(self.nodes)

    @property
    def executable(self) -> Any:
        """What the last call ran, with the result of every stage that made it; None before.

        See :class:`workbench.compiler.llvm.driver.Executable`.
        """
        return self._run

    def __repr__(self) -> str:
        names = ", ".join(x.label for x in self.inputs)
        how = f"interpreted, because {self.fallback}" if self.fallback else f"mode {self.mode!r}"
        return f"<function {self.name}({names}): {len(self.nodes)} nodes, {how}>"

    # --- calling -----------------------------------------------------------------------------

    def __call__(self, *values: Any, **named: Any) -> Any:
        """Run the function on arrays or numbers, by position or by name.

        Returns
        -------
        array, or list of arrays
            As ``outputs`` was one variable or a list; all the caller's own.

        Raises
        ------
        GraphError
            For missing, surplus or unknown arguments.
        DtypeError, ShapeError
            For an argument that its variable does not allow.
        WorkbenchError
            For an op that fails, with the shapes of its inputs and the line that built it.
            Whatever is raised, no shared variable has changed.
        """
        if named or not self._familiar(values):
            results = self._compute(self._accept(values, named))
        else:
            results = self._execute([*values, *[s._value for s in self._shared]])
        n = len(self.outputs)
        for s, value in zip(self.updates, results[n:], strict=True):
            s._value = value
        return results[0] if self.single else list(results[:n])

    def _accept(self, values: Sequence[Any], named: Mapping[str, Any]) -> list[Array]:
        """Return one array for every leaf: the arguments, then the shared variables."""
        if named or len(values) != len(self.inputs):
            values = self._arranged(values, named)
        name = self.name
        given = [accept(x, value, name) for x, value in zip(self.inputs, values, strict=True)]
        given.extend([s._value for s in self._shared])
        return given

    def _familiar(self, values: Sequence[Any]) -> bool:
        """Return whether these arguments are like the last ones, so that all is known of them."""
        last = self._last
        if last is None or len(values) != len(last):
            return False
        for x, (dtype, shape) in zip(values, last, strict=True):
            if type(x) is not np.ndarray or x.dtype is not dtype or x.shape != shape:
                return False
        return True

    def _compute(self, given: list[Array]) -> Sequence[Array]:
        """Return the outputs, then the new values of what is updated; those fit."""
        if self.mode == "interpret" or self.fallback:
            return self._interpret(given)
        key = [x.shape for x in given]
        if self._statics:
            key += [given[i].tobytes() for i in self._statics]
        try:
            if key != self._key:
                self._run, self._last = self._specialised(given), None
                self._key = key
        except WorkbenchError:
            self._interpret(given)
            raise
        if self._run is None:
            return self._interpret(given)
        if self._fixed and not self._statics:
            self._last = [(x.dtype, x.shape) for x in given[: len(self.inputs)]]
        return self._execute(given)

    def _execute(self, given: list[Array]) -> Sequence[Array]:
        try:
            if self.mode == "check":
                self._check(given)
            results: Sequence[Array] = self._run(*given)
        except WorkbenchError:
            # All inputs are as they were: op by op, the failure has a name and a line.
            self._interpret(given)
            raise
        return results

    def _interpret(self, given: list[Array]) -> Sequence[Array]:
        if self._schedule is None:
            self._schedule = Schedule(self.name, self._leaves, self._results,
                                      checked=self.mode == "check")  # fmt: skip
        results = self._schedule(given)
        self._check_updates([x.shape for x in results[len(self.outputs) :]])
        return results

    def _check_updates(self, shapes: Sequence[tuple[int, ...]]) -> None:
        for s, shape in zip(self.updates, shapes, strict=True):
            if not fits(shape, s.shape):
                raise ShapeError(self.name, f"the update of {s.label!r} has the wrong shape",
                                 given=f"{shape}", expected=f"{s.shape}")  # fmt: skip

    def _arranged(self, values: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """Return the arguments in order, some of them given by name."""
        labels = [x.label for x in self.inputs]
        if len(values) > len(labels):
            raise GraphError(self.name, "too many arguments", given=f"{len(values)}",
                             expected=f"{len(labels)}: {', '.join(labels)}")  # fmt: skip
        arranged = dict(zip(self.inputs, values, strict=False))
        for label, value in named.items():
            if label not in labels:
                raise unknown_name(self.name, "input", label, labels)
            x = self.inputs[labels.index(label)]
            if x in arranged:
                raise GraphError(self.name, f"the input {label!r} is given twice",
                                 fix="give it by position or by name")  # fmt: skip
            arranged[x] = value
        arranged = {**self.defaults, **arranged}
        if missing := [x.label for x in self.inputs if x not in arranged]:
            raise GraphError(self.name, f"missing the input{'s' * (len(missing) > 1)} "
                             + ", ".join(map(repr, missing)),
                             expected=f"{len(labels)}: {', '.join(labels)}")  # fmt: skip
        return [arranged[x] for x in self.inputs]

    # --- compiling ---------------------------------------------------------------------------

    def _specialised(self, given: list[Array]) -> Any:
        """Return the executable for arguments of these shapes; None if there can be none."""
        if self.mode != "cuda" and not all(type(x) is np.ndarray for x in given):
            return None  # CuPy's arrays run op by op, where they are.
        while True:
            key = tuple([x.shape for x in given] + [given[i].tobytes() for i in self._statics])
            try:
                return self.cache.get(key, lambda: self._compile(given))
            except CannotLower as reason:
                self.fallback = str(reason)
                return None
            except ValueNeeded as question:
                needed = [self._leaves.index(x) for x in value_leaves(question.variable)]
                small = all(given[i].dtype.kind in "biu" and given[i].size <= STATIC_LIMIT
                            for i in needed)  # fmt: skip
                if not small or set(needed) <= set(self._statics):
                    self.fallback = f"the value of {question.variable.label!r} decides a shape"
                    return None
                self._statics = sorted({*self._statics, *needed})

    def program(self, *values: Any, **named: Any) -> compiler.Program:
        """Return the program that a call with these arguments would compile and run.

        Raises
        ------
        GraphError
            If there is none: the message says why the function runs op by op.
        """
        given = self._accept(values, named)
        if self.mode != "interpret":
            self._specialised(given)
        try:
            return self._lowered(given)
        except (CannotLower, ValueNeeded) as reason:
            raise GraphError(self.name, "this graph has no program",
                             given=self.fallback or str(reason)) from None  # fmt: skip

    def _lowered(
        self, given: list[Array], results: Sequence[Variable] | None = None
    ) -> compiler.Program:
        types = [compiler.Type(x.dtype, x.shape) for x in given]
        known = {self._leaves[i]: given[i] for i in self._statics}
        if results is not None:
            return lower(self.name, self._leaves, types, results, known)
        donate = {}
        for i, (s, new) in enumerate(self.updates.items(), len(self.outputs)):
            j = self._leaves.index(s)
            if fits(given[j].shape, new.shape) and None not in new.shape:
                donate[i] = j
        program = lower(self.name, self._leaves, types, self._results, known, donate)
        self._check_updates([y.shape for y in program.outputs[len(self.outputs) :]])
        return program

    def _compile(self, given: list[Array]) -> Any:
        target = compiler.best_target() if self.mode == "check" else self.mode
        return compiler.compile(self._lowered(given), target, self._threads, self._passes)

    # --- looking inside ----------------------------------------------------------------------

    def _check(self, given: list[Array]) -> None:
        """Compare what was compiled to the interpreter, on copies of the arguments."""
        self._interpret(given)  # Stops at the op that makes NaN.
        made = self._run(*[x.copy() for x in given])
        if (i := self._differs(self._results, made, given)) is None:
            return
        every = [node.output for node in self.nodes if node.output.dtype.kind in "biuf"]
        program = self._lowered(given, every)
        separate = compiler.compile(program, compiler.best_target())(*given)
        first = self._differs(every, separate, given)
        where = "no single op: the fused kernels differ" if first is None else every[first].owner
        what = f"output {i}" if i < len(self.outputs) else "an update"
        raise NotFiniteError(
            self.name, f"{what} differs between the compiled function and the interpreter",
            given=f"first at {where}",
        )  # fmt: skip

    def _differs(
        self, variables: Sequence[Variable], made: Sequence[Array], given: list[Array]
    ) -> int | None:
        """Return the number of the first value that is not what the interpreter makes of it."""
        # Digits are lost where an op cancels, so they are counted from what the op reads.
        read = [x for y in variables for x in (y.owner.inputs if y.owner else ())]
        numbers = list(dict.fromkeys(x for x in [*variables, *read] if x.dtype.kind in "biuf"))
        values = dict(zip(numbers, Schedule(self.name, self._leaves, numbers)(given), strict=True))
        for i, (x, y) in enumerate(zip(variables, made, strict=True)):
            near = [x, *(x.owner.inputs if x.owner else ())]
            if not _close(values[x], y, [values[each] for each in near if each in values]):
                return i
        return None

    def profile(self, *values: Any, repetitions: int = 20, **named: Any) -> Profile:
        """Say where the time of a call goes: by kernel if it is compiled, else by op.

        Parameters
        ----------
        *values, **named
            As for a call; nothing is updated.
        repetitions : int

        Returns
        -------
        Profile
            Prints as a table; ``rows`` holds the figures.
        """
        given = [x.copy() for x in self._accept(values, named)]
        start = time.perf_counter()
        self._compute([x.copy() for x in given])
        first = time.perf_counter() - start
        if self._run is not None and not self.fallback:
            rows = [ProfileRow.of_kernel(self._run, *row)
                    for row in self._run.profile(*given, repetitions=repetitions)]  # fmt: skip
        else:
            assert self._schedule is not None
            runs = [self._schedule.timed(given, time.perf_counter) for _ in range(repetitions)]
            rows = [ProfileRow(node.op.name, str(node.output.trace), float(np.median(seconds)))
                    for node, seconds in zip(self.nodes, zip(*runs, strict=True), strict=True)]  # fmt: skip
        return Profile(self.name, self.mode, first, rows, self.cache)


def _close(x: Array, y: Array, scales: Sequence[Array]) -> bool:
    """Return whether two results agree as closely as another order of summing allows."""
    if x.dtype.kind != "f":
        return bool(np.array_equal(x, y))
    finite = np.isfinite(x)
    if not np.array_equal(np.where(finite, 0, x), np.where(np.isfinite(y), 0, y), equal_nan=True):
        return False
    with np.errstate(all="ignore"):
        scale = max(np.max(np.abs(each), where=np.isfinite(each), initial=0) for each in scales)
    return bool(np.all(np.abs(x[finite] - y[finite]) <= 1000 * np.finfo(x.dtype).eps * scale))


def function(
    inputs: Sequence[Variable | In],
    outputs: Operand | Sequence[Operand] | None,
    updates: Pairs = None,
    givens: Pairs = None,
    mode: str | None = None,
    name: str | None = None,
    on_unused_input: str = "raise",
    threads: int = 1,
    passes: Sequence[Callable[[compiler.Program], compiler.Program]] = (),
) -> Function:
    """Compile expressions into a callable.

    Parameters
    ----------
    inputs : sequence of Variable or In
        What a call gives values for, in order.  Shared variables are implicit.
    outputs : Variable, sequence of Variable, or None
        What a call returns: one array, or a list of them.
    updates : mapping, or sequence of pairs, of shared variable to expression, optional
        New values; all expressions see the old ones.  A call that fails changes nothing.
    givens : mapping, or sequence of pairs, of Variable to expression, optional
        Replacements, made all at once before anything else.
    mode : {"llvm", "numpy", "cuda", "interpret", "check"}, optional
        The first three rewrite the graph and compile it for that target, once for each
        set of shapes; ``"llvm"``, the default where llvmlite is installed, else
        ``"numpy"``.  ``"interpret"`` runs the graph as it was written, op by op.
        ``"check"`` compiles, compares each result with the interpreter's, and stops at
        the op that first makes NaN.
    name : str, optional
        For error messages.
    on_unused_input : {"raise", "ignore"}
        What to do about an input that nothing depends on.
    threads : int
        Over how many threads mode "llvm" divides a loop over a large array (some 1e6
        elements); products of matrices have the threads that NumPy's have.
    passes : sequence of functions from compiler.Program to compiler.Program
        Your own, run in order on every program before the compiler's stages.

    Raises
    ------
    GraphError
        For an unused or repeated input, an input that is missing here, two updates of
        one variable, or an update of something that is not shared.
    DtypeError, ShapeError
        For an update or replacement of another type than what it stands for.

    Examples
    --------
    >>> x = symbolic.vector("x")
    >>> f = symbolic.function([x], (x * x).sum())
    >>> f([1.0, 2.0])
    array(5.)
    """
    where = name or "function"
    mode = compiler.best_target() if mode is None else mode
    if mode not in MODES:
        raise unknown_name(where, "mode", mode, MODES)
    if on_unused_input not in ("raise", "ignore"):
        raise unknown_name(where, "on_unused_input", on_unused_input, ("raise", "ignore"))
    if not isinstance(threads, int) or threads < 1:
        raise OptionError(where, "this is not a number of threads", given=repr(threads),
                          expected="an int of at least 1")  # fmt: skip
    if passes and mode == "interpret":
        raise OptionError(where, 'mode "interpret" makes no program for passes to work on',
                          expected="a mode that compiles")  # fmt: skip
    if isinstance(inputs, Variable) or not isinstance(inputs, Sequence):
        raise OptionError(where, "inputs is not a list", given=repr(inputs),
                          expected="a list of variables, maybe empty")  # fmt: skip
    defaults = {x.variable: x.value for x in inputs if isinstance(x, In)}
    variables = [x.variable if isinstance(x, In) else x for x in inputs]
    single = outputs is not None and not isinstance(outputs, list | tuple)
    listed: Sequence[Any] = [] if outputs is None else [outputs] if single else outputs  # type: ignore[assignment]
    results = [operand(where, y, f"outputs[{i}]") for i, y in enumerate(listed)]
    new_values = check_updates(where, updates)
    everything = [*results, *new_values.values()]
    replacements = check_givens(where, givens)
    everything = rebuild(everything, replacements) if replacements else everything
    while new := _default_updates(everything, new_values):
        new_values |= new
        everything += rebuild([*new.values()], replacements)
    check_inputs(where, variables, everything, on_unused_input == "ignore")
    for x, value in defaults.items():
        accept(x, value, where)
    rewriting = None
    if mode == "interpret":
        everything = merge(everything)
    else:
        rewriting = Rewriting()
        everything = rewrite(everything, trace=rewriting)
    replaced = dict(zip(new_values, everything[len(results) :], strict=True))
    return Function(variables, everything[: len(results)], replaced, mode, where, single,
                    defaults, rewriting, threads, passes)  # fmt: skip


def _default_updates(
    everything: Sequence[Variable], updates: Mapping[Shared, Variable]
) -> dict[Shared, Variable]:
    """Return what shared variables that are read, and not updated, are to become by default."""
    return {
        x: x.default_update
        for x in leaves(everything)
        if isinstance(x, Shared) and x.default_update is not None and x not in updates
    }
