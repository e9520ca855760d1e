"""Recording calls in place of running them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from workbench import arrays
from workbench.dynamic import versions
from workbench.dynamic.batching.groups import (
    VARIES,
    Group,
    Kind,
    Lane,
    Launch,
    Plan,
    Signature,
    agenda,
    planned,
)
from workbench.dynamic.batching.lazy import Lazy, running
from workbench.dynamic.batching.report import Launched, Report
from workbench.dynamic.batching.rows import Rows
from workbench.dynamic.batching.rules import VIEWS, WEIGHTS, rule_of
from workbench.dynamic.function import Function
from workbench.dynamic.ops.elementwise import values
from workbench.dynamic.ops.indexing import GetItem, SetItem
from workbench.dynamic.tensor import Tensor, mode
from workbench.errors import DtypeError, GraphError, ShapeError, unknown_name

STRATEGIES = ("agenda", "depth", "none")

PLAIN = frozenset((int, str, bool, type(None)))
"""Options that can be in a dictionary's key, beside their type: 1 is not True."""


class batching:  # noqa: N801 (it is used as a function is)
    """Run what is written for one example in batches, found on the fly.

    Within the block operations are recorded, not run.  When somebody asks for a value, or
    the block ends, calls of the same operation on arguments of the same shapes run
    together, as one call on the arguments stacked; a product with the same weights
    becomes one product of large matrices.  Results, and gradients, are those of running
    one by one, up to the order of summation.

    Parameters
    ----------
    strategy : {"agenda", "depth", "none"} or callable
        ``"depth"`` runs together what has the same distance from the leaves, as
        TensorFlow Fold did.  ``"agenda"`` looks at which of these groups are ready, and
        runs next, together, those of the signature with the lowest average depth; so the
        losses of examples of different sizes come last, and all at once.  ``"none"``
        runs call by call in order, for comparison.  A function of your own,
        ``plan(signatures, needs)``, gets for each waiting call the number of its
        signature, and the numbers of the calls whose results it needs; calls are
        numbered from 0, as they were recorded.  It returns lists of numbers: what runs
        together, in order.  Only calls of one signature can.

    Attributes
    ----------
    report : Report
        What ran, in order; print it for a table.

    Raises
    ------
    UnknownNameError
        For another strategy.
    GraphError
        If an argument is edited in place while an operation on it has yet to run; or if a
        plan of yours leaves out a call, names one twice or too early, or mixes signatures.

    Notes
    -----
    G. Neubig, Y. Goldberg and C. Dyer (2017), "On-the-fly operation batching in dynamic
    computation graphs"; M. Looks et al. (2017), "Deep learning with dynamic computation
    graphs".

    * Shapes and dtypes are known without running: a shape error is raised at the line of
      the operation.  An error that depends on *values*, as a label that is no class, is
      raised when the group runs.
    * ``item()``, ``numpy()``, ``if x > 0``, an in-place edit, and what is no
      :class:`Function` (comparisons, argmax) run the groups that they depend on and no
      others.  The report counts these requests; each leaves less to run together.
    * At its end the block runs all that is left, used or not.  If it ends with an
      exception nothing runs, but what somebody asks for later still does.
    * Operations without a rule in ``RULES`` run one by one, and those whose shape cannot
      be told in advance run at once.
    * Numbers are options, and calls with different ones run apart: what belongs to an
      example should be in an array.
    * Random numbers drawn while recording, as dropout's are, are those of running one by
      one.  A Function that draws in ``forward`` does so in the order in which groups run.
    * The gradient with respect to a result of the block is there if asked for when it is
      made, by ``h.retain_grad()``.

    Examples
    --------
    >>> from workbench import dynamic
    >>> w = dynamic.tensor([[1.0], [2.0]], requires_grad=True)
    >>> with batching() as batch:
    ...     ys = [dynamic.ops.affine(np.array([[n, 1.0]]), w) for n in range(3)]
    >>> [y.item() for y in ys], batch.report.before
    ([2.0, 3.0, 4.0], 3)
    """

    def __init__(self, strategy: str | Plan = "agenda") -> None:
        if not callable(strategy) and strategy not in STRATEGIES:
            raise unknown_name("batching", "strategy", strategy, STRATEGIES)
        self.strategy = strategy
        self._alone = strategy == "none" or callable(strategy)  # Each call a group of its own.
        self.report = Report()
        self._made = 0
        self._groups: dict[Any, Group] = {}  # Those that have yet to run.
        self._lanes: dict[Any, Lane] = {}  # And theirs.
        self._signatures: dict[Any, Signature] = {}
        self._views: dict[Any, tuple[int, Any, Any]] = {}

    def __enter__(self) -> batching:
        if hasattr(mode.intercept, "outside"):
            raise GraphError("batching", "a batching block cannot stand inside autocast",
                             fix="put autocast inside: with batching(): with autocast(): ...")  # fmt: skip
        self._before = mode.intercept
        mode.intercept = self._recorder()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        mode.intercept = self._before
        try:
            if error is None:
                self._run(list(self._groups.values()))
        finally:
            for kept in (self._groups, self._lanes, self._signatures, self._views):
                kept.clear()

    # --- recording ---------------------------------------------------------------------

    def _recorder(self) -> Callable[[type[Function], tuple[Any, ...]], Any]:
        """Return what operations call in place of running; it takes about a microsecond."""
        lanes, new, plain = self._lanes, object.__new__, PLAIN

        def record(cls: type[Function], args: tuple[Any, ...]) -> Any:
            key: Any = None
            home, flat = lanes, []
            if args and type(x := args[0]) is Lazy and mode.enabled and len(args) < 3:
                # The commonest calls take no loop, and are found where their argument is.
                home, flat = x._group.lanes_on, [x._row]
                if len(args) == 1:
                    key = cls
                else:
                    kind = type(y := args[1])
                    if kind is Lazy:
                        key = cls, y._group
                        flat.append(y._row)
                    elif kind in plain:
                        key = cls, kind, y
                    elif kind is tuple or kind is slice:
                        key = cls, frozen(y)
                    elif kind is Tensor and y.requires_grad:
                        key = cls, Tensor, id(y)
            if key is None:
                home = lanes
                key, flat = _described(cls, args)
            lane = home.get(key)
            if lane is None:
                lane = self._new_lane(home, key, cls, args)
                if type(lane) is not Lane:
                    return lane
            lane.flat += flat
            order = lane.order
            result = new(Lazy)
            result._group, result._row = lane.group, len(order)
            order.append(lane.number)
            return result

        return record

    def _new_lane(
        self, home: dict[Any, Lane], key: Any, cls: type[Function], args: tuple[Any, ...]
    ) -> Any:
        """Return the lane of a call that is like none before, or its result if it cannot wait."""
        lazy = Lazy in map(type, args)
        if cls is SetItem or not (lazy or any(isinstance(each, Tensor) for each in args)):
            return self._at_once(cls, args)
        if cls is GetItem and getattr(args[1], "dtype", np.dtype(int)).kind == "b":
            return self._at_once(cls, args)  # The values of a mask decide on the shape.
        if not lazy and cls in VIEWS and not (cls is GetItem and _is_row(*args)):
            return self._view(key, cls, args)
        weights = WEIGHTS.get(cls, ())
        known: list[Any] = []  # What decides on the shape of the result ...
        agreed = []  # ... and what else calls have to agree on.
        kinds: list[Any] = []
        sources: list[Any] = []
        in_flat: list[bool] = []
        depth = 0
        for k, each in enumerate(args):
            source = kind = None
            fixed = k in weights
            if type(each) is Lazy:
                source = each._group
                if not source.done and source.batch is not self:
                    source.batch.run(source)  # Of a block around this one.
                depth = depth if source.done else max(depth, source.depth + 1)
                kind, fixed = source.signature.kind, False
            elif _is_array(each):
                wanted = isinstance(each, Tensor) and each.requires_grad
                kind = Kind(each.shape, each.dtype, wanted, arrays.namespace(values(each)))
                if fixed or (wanted and lazy):
                    agreed.append(id(each))
                fixed = fixed or wanted
            elif cls is GetItem and type(each) is int and not lazy:
                kind, fixed = Kind((), np.dtype(int), False, np), True  # Any row of a table.
            known.append(kind or frozen(each))
            kinds.append(kind)
            sources.append(source)
            in_flat.append(kind is not None and not fixed)
        same = (mode.enabled, *agreed, cls, *known)
        signature = self._signatures.get(same)
        if signature is None:
            kind = _result((cls, *known), args)
            if kind is None:
                return self._at_once(cls, args)
            kind = kind._replace(
                requires_grad=mode.enabled and any(x and x.requires_grad for x in kinds)
            )
            signature = Signature(cls, rule_of(cls), tuple(kinds), kind, mode.enabled)
            self._signatures[same] = signature
        alone = self._alone
        where = (object(), 0) if alone else (signature, depth)
        group = self._groups.get(where)
        if group is None:
            self._made += 1
            group = self._groups[where] = Group(self, signature, depth, self._made, where)
        lane = Lane(group, args, sources, in_flat, home, key)
        group.lanes.append(lane)
        if not alone:
            home[key] = lane
        return lane

    def _at_once(self, cls: type[Function], args: tuple[Any, ...]) -> Any:
        """Run a call that cannot wait."""
        waiting = [each for each in args if type(each) is Lazy]
        self.report.at_once += bool(waiting)
        for each in waiting:
            each._settled()
        with running(mode.enabled):
            return cls.apply(*args)

    def _view(self, key: tuple[Any, ...], cls: type[Function], args: tuple[Any, ...]) -> Any:
        """Return a view of a tensor from outside; of weights the same one each time."""
        time, view, _ = self._views.get(key, (None, None, None))
        if time != versions.latest:
            view = self._at_once(cls, args)
            if args[0].requires_grad and not any(map(_is_array, args[1:])):
                self._views[key] = versions.latest, view, args
        return view

    # --- running -----------------------------------------------------------------------

    def run(self, wanted: Group) -> None:
        """Run a group and those that it depends on."""
        found, stack = {wanted}, [wanted]
        while stack:
            new = stack.pop().sources() - found
            found |= new
            stack += new
        self.report.flushes += 1
        self._run(list(found))

    def _run(self, groups: list[Group]) -> None:
        groups.sort(key=lambda group: (group.depth, group.number))
        if self._alone:
            groups.sort(key=lambda group: group.number)
        if callable(self.strategy):
            order: Iterable[Sequence[Group]] = planned(self.strategy, groups)
        else:
            order = agenda(groups) if self.strategy == "agenda" else zip(groups, strict=True)
        for together in order:
            self._launch(together)

    def _launch(self, groups: Sequence[Group]) -> None:
        """Run groups of one signature together."""
        signature, operations = groups[0].signature, 0

        def counted(cls: type[Function], args: tuple[Any, ...]) -> Any:
            nonlocal operations
            operations += 1
            mode.intercept = None
            try:
                return cls.apply(*args)
            finally:
                mode.intercept = counted

        for group in groups:
            for lane in group.lanes:
                lane.check_edits()
        launch, result, items = Launch(groups), NotImplemented, None
        with running(signature.enabled, counted):
            if signature.rule is not None and self.strategy != "none":
                if all(each is not VARIES for each in launch.args):  # As w + 1: once is enough.
                    items = [launch.apply(*launch.args)] * launch.count
                else:
                    result = signature.rule(launch)
            batched = items is not None or result is not NotImplemented
            if not batched:
                items = [launch.apply(*args) for args in launch.calls()]
        got = items[0].shape if items else result.shape[1:]
        if got != launch.shape:
            raise ShapeError("batching", f"{launch.cls.name} gave another shape than it gave ones",
                             given=f"{got}", expected=f"{launch.shape}: a shape that depends on "
                             "shapes alone")  # fmt: skip
        rows = None if items else Rows(result)
        for group in groups:
            group.rows, group.done = rows, True
            if items:
                group.items = items[group.offset : group.offset + len(group.order)]
            for lane in group.lanes:
                lane.home.pop(lane.key, None)
            group.lanes.clear()
            self._groups.pop(group.where, None)
        self.report.rows.append(Launched(signature, launch.count, operations, batched))


def _described(cls: type[Function], args: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Any]]:
    """Return what tells lanes apart, and what differs from call to call within one."""
    key: list[Any] = [cls, mode.enabled]
    flat: list[Any] = []
    for k, each in enumerate(args):
        kind = type(each)
        if kind is Lazy:
            key.append(each._group)
            flat.append(each._row)
        elif kind in PLAIN:
            key += kind, each
        elif kind is tuple or kind is slice or kind is float:
            key.append(frozen(each))
        elif isinstance(each, Tensor) and each.requires_grad:
            key.append(id(each))
        elif not _is_array(each):
            key.append(frozen(each))
        elif k in WEIGHTS.get(cls, ()):
            key.append(id(each))
        else:  # A copy of the array: the caller may write the next example there.
            x = each.data if isinstance(each, Tensor) else each.copy()
            key.append((x.shape, x.dtype.char))  # A dtype itself is slow to hash.
            flat.append(x)
    return tuple(key), flat


def _is_array(x: Any) -> bool:
    return hasattr(x, "ndim") and not isinstance(x, np.generic)


def _is_row(x: Any, index: Any) -> bool:
    """Return whether x[index] looks rows up in a table."""
    return x.requires_grad and (type(index) is int or (_is_array(index) and index.ndim > 0))


def frozen(option: Any) -> Any:
    """Return what stands for an option in a dictionary's key; for an array, nothing else does."""
    kind = type(option)
    if kind is slice:  # In Python 3.11 it cannot be in a key itself.
        return option.start, option.stop, option.step
    if kind is float:
        return option.hex()  # 0.0 is not -0.0.
    if kind is tuple or kind is list or isinstance(option, tuple):
        return kind, *[each if type(each) is int else frozen(each) for each in option]
    try:
        hash(option)
    except TypeError:
        return object()
    return kind, option


_results: dict[Any, Kind | None] = {}


def _result(key: tuple[Any, ...], args: tuple[Any, ...]) -> Kind | None:
    """Return the kind of the result, found by running on ones; None if that cannot be told."""
    if key in _results:
        return _results[key]
    stand_ins = [_ones(each._group.signature.kind) if type(each) is Lazy else each for each in args]
    try:
        with running(False), np.errstate(all="ignore"):
            x = key[0].apply(*stand_ins)
        kind = Kind(x.shape, x.dtype, False, arrays.namespace(x.data))
    except (ShapeError, DtypeError):
        raise
    except Exception:  # Ones may have no inverse: then see what happens with the values.
        kind = None
    if len(_results) > 10_000:
        _results.clear()
    _results[key] = kind
    return kind


def _ones(kind: Kind) -> Tensor:
    fill = kind.namespace.ones if arrays.is_float(kind.dtype) else kind.namespace.zeros
    return Tensor(fill(kind.shape, kind.dtype))
