"""``jit``: trace once for each signature, simplify, compile, and run that.

A warm call goes through the guards of the signatures used last (see
:mod:`workbench.functional.guards`); what they do not take, through a dictionary of all
signatures; what that has not, through the tracer and the compiler.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import numpy as np

from workbench import compiler
from workbench.errors import OptionError, ShapeError, unknown_name
from workbench.functional.calling import Function, check_function
from workbench.functional.closed import axes_of, call, hoist
from workbench.functional.compile import simplify, to_python
from workbench.functional.core import STACK, Tracer, Value, get_aval
from workbench.functional.guards import (
    MISS,
    Signature,
    differences,
    flatten_call,
    write_guard,
)
from workbench.functional.jaxpr import Jaxpr
from workbench.functional.lowering import ON_HOST, compile_jaxpr, compiles, in_python, to_program
from workbench.functional.staging import stage_tree
from workbench.functional.tree import TreeDef, build

KEPT = 256
"""Signatures that one function keeps; the one not used for longest goes first."""

TRIED = 4
"""Guards that a call goes through before its signature is looked up."""


def jit(
    f: Function | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    donate_argnums: int | Sequence[int] = (),
) -> Any:
    """Return a function that traces f once for each signature, and runs what it recorded.

    The signature is the structure of the arguments, the shape and dtype of each leaf,
    and the values of static arguments.  Python side effects happen while tracing only.  The
    record is simplified and compiled.  Under another transform, or inside another jit, the
    record is one equation ``jit[...]``.

    Results share no memory with the arguments or one another, but for donated ones.  Arrays
    that f closes over are part of the record.

    Parameters
    ----------
    f : callable
        From pytrees to a pytree.  Without it, ``jit(static_argnums=1)`` is a decorator.
    static_argnums, static_argnames : int or str, or sequences of them
        Arguments that f takes as they are, so that it may branch on them; each new value is
        traced anew.  They must be hashable.  One that f declares by name is static both by
        position and by keyword.
    donate_argnums : int or sequence of int
        Positional arguments whose memory the results may have.  A result of the same shape and
        dtype as one of their arrays is written into that array, and is that array: it holds
        the new values afterwards, as does whatever shares its memory.  NumPy's arrays cannot
        be deleted; do not read the old values again.  Arrays that fit no result stay as they
        are, and so do all while another transform traces the call.

    Returns
    -------
    Jitted

    Raises
    ------
    OptionError, UnknownNameError
        If f has no such argument, or one is both static and donated; on call, if a donated
        array is read-only.
    DtypeError
        On call, if a static argument is not hashable.
    GraphError
        On call, if f needs the value of something traced.

    Examples
    --------
    >>> import numpy as np
    >>> power = jit(lambda x, n: x**n if n else x, static_argnums=1)
    >>> power(np.array([2.0, 3.0]), 2)
    array([4., 9.])
    """
    given: dict[str, Any] = {
        "static_argnums": (static_argnums,) if isinstance(static_argnums, int) else static_argnums,
        "static_argnames": (static_argnames,) if isinstance(static_argnames, str)
        else static_argnames,
        "donate_argnums": (donate_argnums,) if isinstance(donate_argnums, int) else donate_argnums,
    }  # fmt: skip
    return functools.partial(jit, **given) if f is None else Jitted(f, **given)


class Jitted:
    """A function under :func:`jit`."""

    __slots__ = ("__dict__", "__weakref__", "_cache")

    def __init__(
        self,
        f: Function,
        static_argnums: Sequence[int],
        static_argnames: Sequence[str],
        donate_argnums: Sequence[int],
    ) -> None:
        where = check_function("jit", f)
        self._cache = _Cache(f, where, *_resolve(f, where, static_argnums, static_argnames,
                                                 donate_argnums))  # fmt: skip
        functools.update_wrapper(self, f)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function: by a guard, or in the general way."""
        if STACK.dynamic is None and not STACK.axes:
            for entry in self._cache.recent:
                result = entry.guard(args, kwargs)
                if result is not MISS:
                    entry.used += 1
                    if entry is not self._cache.recent[0]:
                        self._cache.promote(entry)
                    return result
        return self._cache.run(args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<{self._cache.where}>"

    def clear_cache(self) -> None:
        """Forget every signature."""
        self._cache.clear()

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """Return what a call with these arguments runs, without running it."""
        leaves, signature = self._cache.signature(args, kwargs)
        entry = self._cache.find(signature, leaves)
        return Lowered(entry.jaxpr, entry.compiled(self._cache.donated_leaves(signature)))


@dataclasses.dataclass(frozen=True, repr=False)
class Lowered:
    """What ``jit`` makes of a function for one signature; its ``str`` is all of it.

    Attributes
    ----------
    jaxpr : Jaxpr
        The record, simplified.
    """

    jaxpr: Jaxpr
    _runner: _Runner

    @property
    def program(self) -> str:
        """The compiler's program, or the Python that is run where the compiler does not serve."""
        return str(self._runner.executable.program) if self._runner.executable else self.python

    @property
    def kernels(self) -> dict[str, str]:
        """The source of each kernel, in C, by name; empty where the compiler does not serve."""
        source = getattr(self._runner.executable, "source", {})
        return dict(source.get("kernels", {}))

    @property
    def python(self) -> str:
        """The same as straight Python, a line an equation."""
        return to_python(self.jaxpr)[0]

    def __str__(self) -> str:
        return "\n\n".join([str(self.jaxpr), self.program, *self.kernels.values()])

    __repr__ = __str__


@dataclasses.dataclass(frozen=True)
class CacheInfo:
    """What a jitted function keeps, and why it last traced; print it.

    Attributes
    ----------
    function : str
    entries : tuple of (str, int, float)
        Of each signature kept, the latest first: the arguments, how often it was used, and the
        seconds that tracing and compiling took.
    traces : int
        How often the function was traced since the cache was cleared.
    reason : str
        Why it was traced the last time: the first thing that differs from the nearest
        signature.
    """

    function: str
    entries: tuple[tuple[str, int, float], ...]
    traces: int
    reason: str

    def __str__(self) -> str:
        lines = [f"{self.function}: {len(self.entries)} kept, {self.traces} traced"]
        for arguments, used, seconds in self.entries:
            times = "once" if used == 1 else f"{used} times"
            lines.append(f"  ({arguments})  used {times}, compiled in {seconds:.3f} s")
        return "\n".join([*lines, f"last traced because: {self.reason}"])


def explain_cache(f: Any) -> CacheInfo:
    """Say what a jitted function keeps, and why its last new call was traced again.

    Raises
    ------
    OptionError
        If ``f`` is not what :func:`jit` returned.
    """
    if not isinstance(f, Jitted):
        raise OptionError("explain_cache", "this is not a jitted function", given=repr(f),
                          expected="what jit(f) returned")  # fmt: skip
    return f._cache.info()


class _Runner:
    """A simplified jaxpr, ready to run on its leaves.

    ``donate`` says which output takes the memory of which leaf.
    """

    def __init__(self, jaxpr: Jaxpr, donated: Sequence[int]) -> None:
        self.jaxpr = jaxpr
        self.executable: Any = None
        self.avals = [var.aval for var in jaxpr.invars]
        self.weak = [i for i, atom in enumerate(jaxpr.outvars) if atom.aval.weak_type]
        self.donate: dict[int, int] = {}
        left = list(donated)
        for i, atom in enumerate(jaxpr.outvars):
            j = next((j for j in left if self.avals[j] == atom.aval), None)
            if j is not None and not atom.aval.weak_type:
                self.donate[i] = j
                left.remove(j)
        if compiles(jaxpr) and all(x.dtype.isnative for x in jaxpr.consts):
            consts = len(jaxpr.consts)
            memory = {i: consts + j for i, j in self.donate.items()}
            self.executable = compiler.compile(
                dataclasses.replace(to_program(jaxpr), donate=memory)
            )

    @functools.cached_property
    def _python(self) -> Callable[..., tuple[Value, ...]]:
        return compile_jaxpr(self.jaxpr) if self.executable is None else in_python(self.jaxpr)

    def __call__(self, leaves: Sequence[Value]) -> Sequence[Value]:
        if self.executable is None or not all(isinstance(x, ON_HOST) for x in leaves):
            return self._in_python(leaves)
        inputs = [
            x if type(x) is np.ndarray else np.asarray(x, aval.dtype)
            for x, aval in zip(leaves, self.avals, strict=True)
        ]
        try:
            outs = self.executable(*self.jaxpr.consts, *inputs)
        except ShapeError:
            self._python(*leaves)  # Says which operation it was, in NumPy's words.
            raise
        return [x.item() if i in self.weak else x for i, x in enumerate(outs)]

    def _in_python(self, leaves: Sequence[Value]) -> list[Value]:
        outs = list(self._python(*leaves))
        for i, j in self.donate.items():
            leaves[j][...] = outs[i]
            outs[i] = leaves[j]
        return outs


def _native(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array in this machine's order of bytes, which compiled code reads."""
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def _no_guard(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return MISS


@dataclasses.dataclass(eq=False, slots=True)
class _Entry:
    """What is kept for one signature; ``runner`` is None until it is first needed."""

    signature: Signature
    jaxpr: Jaxpr
    out_tree: TreeDef
    seconds: float
    used: int = 0
    runner: _Runner | None = None
    guard: Callable[[tuple[Any, ...], dict[str, Any]], Any] = _no_guard

    def compiled(self, donated: Sequence[int]) -> _Runner:
        """Compile the first time."""
        if self.runner is None:
            start = time.perf_counter()
            self.runner = _Runner(self.jaxpr, donated)
            self.seconds += time.perf_counter() - start
        return self.runner

    def write_guard(self, leaves: Sequence[Value]) -> bool:
        """Make the guard after these leaves, if it can be; return whether it was."""
        runner = self.runner
        assert runner is not None
        if self.guard is not _no_guard or not getattr(runner.executable, "startable", False):
            return False
        written = write_guard(
            self.signature, leaves, self.out_tree.node,
            [atom.aval for atom in self.jaxpr.outvars], self.jaxpr.consts,
            runner.executable.start,
        )  # fmt: skip
        if written is None:
            return False
        source, namespace = written
        exec(compile(source, "<guard>", "exec"), namespace)
        self.guard = namespace["guard"]
        return True


class _Cache:
    """The signatures of one function, and everything that is not the fast path."""

    def __init__(
        self,
        f: Function,
        where: str,
        names: list[str],
        statics: dict[int | str, str],
        donated: frozenset[int],
    ) -> None:
        self.f, self.where, self.names = f, where, names
        self.statics, self.donated = statics, donated
        self.lock = threading.Lock()  # Held while entries change, never while tracing.
        self.clear()

    def clear(self) -> None:
        with self.lock:
            self.entries: OrderedDict[Signature, _Entry] = OrderedDict()
            self.recent: tuple[_Entry, ...] = ()  # Replaced, not changed: others may walk it.
            self.traces, self.reason = 0, "it was not called yet"

    def signature(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Value], Signature]:
        """Return the leaves of a call, and its signature."""
        leaves: list[Value] = []
        node = flatten_call(args, kwargs, self.statics, self.where, leaves)
        leaves = [_native(x) if isinstance(x, np.ndarray) else x for x in leaves]
        axes = tuple((name, axis.size) for name, axis in STACK.axes.items())
        return leaves, Signature(node, tuple([get_aval(x, self.where) for x in leaves]), axes)

    def promote(self, entry: _Entry) -> None:
        """Let an entry be tried first, and kept longest."""
        with self.lock:
            if self.entries.get(entry.signature) is entry:
                self.entries.move_to_end(entry.signature)
                if entry.guard is not _no_guard:
                    rest = [each for each in self.recent if each is not entry]
                    self.recent = (entry, *rest[: TRIED - 1])

    def find(self, signature: Signature, leaves: Sequence[Value]) -> _Entry:
        """Return the entry of a signature, tracing if there is none."""
        with self.lock:
            found = self.entries.get(signature)
        if found is not None:
            return found
        start = time.perf_counter()
        jaxpr, out_tree = stage_tree(
            self.f, TreeDef(signature.node), signature.avals, self.where
        )  # fmt: skip
        entry = _Entry(signature, simplify(jaxpr), out_tree, time.perf_counter() - start)
        closed_over = any(isinstance(const, Tracer) for const in jaxpr.consts)
        with self.lock:
            self.traces += 1
            self.reason = self._why(signature)
            if closed_over:  # Another transform's tracer would be stale in the next call.
                self.reason = "it closes over a value that another transform traces: not kept"
            else:
                entry = self.entries.setdefault(signature, entry)
                while len(self.entries) > KEPT:
                    _, dropped = self.entries.popitem(last=False)
                    self.recent = tuple([each for each in self.recent if each is not dropped])
        return entry

    def _why(self, signature: Signature) -> str:
        near = [
            list(differences(each, signature, self.names)) for each in [*self.entries][-TRIED * 4 :]
        ]
        if not near:
            return "it was the first call"
        nearest = min(reversed(near), key=len)
        more = f" (and {len(nearest) - 1} more)" if len(nearest) > 1 else ""
        return (nearest[0] if nearest else "another thread traced it at the same time") + more

    def donated_leaves(self, signature: Signature) -> list[int]:
        """Return the numbers of the leaves of donated arguments."""
        if not self.donated:
            return []
        counts = [TreeDef(node).leaves for node in signature.node[2][0][2]]
        ends = np.cumsum([0, *counts])
        return [j for i in sorted(self.donated) if i < len(counts) for j in range(*ends[i : i + 2])]

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function in the general way."""
        leaves, signature = self.signature(args, kwargs)
        found = self.find(signature, leaves)
        found.used += 1
        consts = found.jaxpr.consts
        traced = STACK.dynamic is not None or (
            STACK.depth and any(isinstance(x, Tracer) for x in [*leaves, *consts])
        )
        outs: Sequence[Value]
        if traced or axes_of({"": found.jaxpr}):
            # One equation of the trace outside, which may be another jit's.
            name = getattr(self.f, "__name__", "function")
            outs = call(*consts, *leaves, name=name, jaxpr=hoist(found.jaxpr))
        else:
            donated = self.donated_leaves(signature)
            runner = found.compiled(donated)
            for j in runner.donate.values():
                if isinstance(leaves[j], np.ndarray) and not leaves[j].flags.writeable:
                    raise OptionError(
                        self.where, f"an array in donated argument {self._owner(signature, j)} is "
                        "read-only", given=f"leaf {j}, {signature.avals[j]}",
                        expected="arrays that the results may replace",
                    )  # fmt: skip
            outs = runner(leaves)
            found.write_guard(leaves)
            self.promote(found)
        return build(found.out_tree.node, iter(outs))

    def _owner(self, signature: Signature, leaf: int) -> str:
        ends = np.cumsum([TreeDef(node).leaves for node in signature.node[2][0][2]])
        place = int(np.searchsorted(ends, leaf, side="right"))
        return self.names[place] if place < len(self.names) else f"args[{place}]"

    def info(self) -> CacheInfo:
        with self.lock:
            rows = [
                (each.signature.describe(self.names), each.used, each.seconds)
                for each in reversed(self.entries.values())
            ]
            return CacheInfo(self.where, tuple(rows), self.traces, self.reason)


def _resolve(
    f: Function,
    where: str,
    static_argnums: Sequence[int],
    static_argnames: Sequence[str],
    donate_argnums: Sequence[int],
) -> tuple[list[str], dict[int | str, str], frozenset[int]]:
    """Return the names of positional arguments, the static ones, and the donated ones."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):  # Written in C.
        parameters = [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                      inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)]  # fmt: skip
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)

    def position(option: str, i: int) -> int:
        if not (-len(named) <= i < len(named) or (several and i >= 0)):
            raise OptionError(where, f"there is no argument {i}", given=f"{option} {i}",
                              expected=f"the number of one of: {', '.join(named) or 'none'}")  # fmt: skip
        return i + len(named) if i < 0 else i

    statics: dict[int | str, str] = {}
    for i in [position("static_argnums", i) for i in static_argnums]:
        statics[i] = named[i] if i < len(named) else f"args[{i}]"
        if i < len(named):
            statics[named[i]] = named[i]
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in static_argnames:
        if name not in known and not open_ended:
            raise unknown_name(where, "argument", name, known)
        statics[name] = name
        if name in named:
            statics[named.index(name)] = name
    donated = frozenset(position("donate_argnums", i) for i in donate_argnums)
    if both := [statics[i] for i in sorted(donated) if i in statics]:
        raise OptionError(where, "an argument is both static and donated", given=", ".join(both),
                          expected="static values have no memory to give")  # fmt: skip
    return named, statics, donated
