"""What optimisers share: parameter groups, state, and the fused step.

For a network of small parameters a step costs as many NumPy calls as there are parameters
times operations, and each call costs more than its arithmetic.  So small parameters are
laid side by side in one array, of which each ``p.data`` becomes a view; their gradients
are gathered into a second one, and one sequence of calls updates them all.  (Apex's
``FusedAdam`` and PyTorch's ``fused=True`` launch one GPU kernel for the same reason.)
Large parameters are updated where they are: for them the gathering would cost another
pass through memory, and the calls cost nothing.

A step allocates no array (Adadelta's does): it computes in scratch arrays that stay.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import is_
from typing import Any, ClassVar

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic import versions
from workbench.dynamic.tensor import Tensor
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError, unknown_name

SMALL = {"cpu": 1 << 14, "gpu": 1 << 20}
"""Up to how many elements a parameter shares an array with others, on each device.

Measured, microseconds a step (one thread, float32; each parameter alone / sharing): SGD
18 / 7 and Adam 60 / 14 for layers of 2-16-16-2, SGD 14 / 8 and Adam 46 / 21 for 64-64-10.
For layers of 784-256-128-10, whose 200,704 weights do not fit the first cache, sharing
everything makes SGD half again slower; sharing the small ones changes nothing.
"""

_POSITIVE = (lambda v: v > 0, "a positive number")
_NOT_NEGATIVE = (lambda v: v >= 0, "zero or a positive number")
_FRACTION = (lambda v: 0 <= v < 1, "from 0 up to 1, not including 1")
_COUNT = (lambda v: v == int(v) and v > 0, "a positive integer")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "lr": _POSITIVE,
    "eps": _POSITIVE,
    "momentum": _FRACTION,
    "alpha": _FRACTION,
    "rho": _FRACTION,
    "betas": (lambda v: len(v) == 2 and all(0 <= b < 1 for b in v),
              "two numbers from 0 up to 1, not including 1"),
    "weight_decay": _NOT_NEGATIVE,
    "tolerance": _NOT_NEGATIVE,
    "iterations": _COUNT,
    "history": _COUNT,
}  # fmt: skip
"""What each option may be; an option of one name means one thing in every optimiser."""

State = dict[str, Array]


class Unit:
    """Parameters that are updated together, as one array.

    Attributes
    ----------
    parameters : list of Tensor
    options : dict
        Those of their group.
    p : array
        Their values: flat where there are several, with each ``data`` a view of a part;
        of one parameter its ``data`` itself.
    t : int
        Steps taken, this one included.
    state : dict from str to array
        What the optimiser remembers, like ``p``.
    scratch : array
        Like ``p``, to compute in.
    """

    def __init__(
        self, parameters: list[Tensor], options: dict[str, Any], p: Array, t: int, state: State
    ) -> None:
        self.parameters, self.options = parameters, options
        self.p, self.t, self.state = p, t, state
        self.shapes = [each.data.shape for each in parameters]
        self.scratch = np.empty_like(p)
        self.gathered = np.empty_like(p) if len(parameters) > 1 else None

    def __getitem__(self, name: str) -> Array:
        """Return the named array of the state, which is zero at first."""
        found = self.state.get(name)
        if found is None:
            found = self.state[name] = np.zeros_like(self.p)
        return found

    def gather(self, grads: list[Array]) -> Array:
        """Return the gradients as one array like ``p``; the optimiser may not write into it.

        Raises
        ------
        ShapeError
            If one does not have the shape of its parameter.
        """
        if len(grads) == 1 and grads[0].shape == self.shapes[0]:
            return grads[0]
        if [g.shape for g in grads] != self.shapes:
            k = next(k for k, g in enumerate(grads) if g.shape != self.shapes[k])
            raise ShapeError("step", "a gradient does not have the shape of its parameter",
                             given=f"grad {grads[k].shape}",
                             expected=f"{self.shapes[k]}")  # fmt: skip
        return np.concatenate([g.ravel() for g in grads], out=self.gathered)

    def parts(self) -> Iterator[tuple[Tensor, int, State]]:
        """Yield each parameter with its number of steps and its own state."""
        state = {name: _cut(array, self.shapes) for name, array in self.state.items()}
        for k, p in enumerate(self.parameters):
            yield p, self.t, {name: pieces[k] for name, pieces in state.items()}

    def split(self, wanted: list[bool]) -> list[Unit]:
        """Return the runs of neighbours that are all wanted, or all not, as units of their own.

        Nothing is copied or moved, and units never merge again: a model that leaves out
        changing parameters ends with the finest cut that it needs.
        """
        runs = [list(run) for _, run in itertools.groupby(range(len(wanted)), wanted.__getitem__)]
        sizes = [(sum(self.parameters[k].data.size for k in run),) for run in runs]
        shapes = [self.shapes[r[0]] if len(r) == 1 else n for r, n in zip(runs, sizes, strict=True)]
        state = {name: _cut(array, shapes) for name, array in self.state.items()}
        return [
            Unit([self.parameters[k] for k in run], self.options, p, self.t,
                 {name: cuts[j] for name, cuts in state.items()})
            for j, (run, p) in enumerate(zip(runs, _cut(self.p, shapes), strict=True))
        ]  # fmt: skip


def _cut(array: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
    """Return consecutive parts of a flat array as views of these shapes."""
    if len(shapes) == 1:
        return [array.reshape(shapes[0])]
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))
    starts = [0, *ends]
    return [array[a:b].reshape(s) for a, b, s in zip(starts, ends, shapes, strict=False)]


def _join(pieces: list[Array]) -> Array:
    """Return arrays one after another as a flat one; a single array as it is."""
    return pieces[0] if len(pieces) == 1 else np.concatenate([each.ravel() for each in pieces])


def _runs(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Return runs of parameters whose values lie one after another in memory."""
    runs = [parameters[:1]]
    for before, after in itertools.pairwise(parameters):
        if _address(before.data) + before.data.nbytes == _address(after.data):
            runs[-1].append(after)
        else:
            runs.append([after])
    return runs


def _address(array: Array) -> int:
    return array.ctypes.data if arrays.namespace(array) is np else array.data.ptr


def _like(array: Array, like: Array) -> Array:
    """Return an array on the device and in the dtype of another."""
    return arrays.to_device(array, arrays.device_of(like)).astype(like.dtype, copy=False)


class Optimizer:
    """Base class of optimisers.

    A subclass writes ``update(unit, g)``, lists the arrays that it remembers in ``slots``,
    and hands its options to this constructor.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
        Leaves that require gradients; or groups of them, each a dict with the parameters
        under ``"params"`` and the options in which the group differs.
    **options
        Options of every group that does not say otherwise, among them

        lr : float
            Learning rate: what the step is multiplied by.
        weight_decay : float
            The gradient of ``weight_decay * |p|² / 2`` is added to p's.

    Attributes
    ----------
    param_groups : list of dict
        The groups, complete.  Options may be changed between steps.

    Raises
    ------
    OptionError, UnknownNameError, DtypeError, GraphError
        If there is nothing to optimise, something that is not a leaf, or an option that
        is not known or out of range.

    Notes
    -----
    To share one array, small parameters get a new ``data`` when the optimiser is made.
    An array that was taken from ``p.data`` (or a ``p.detach()``) before no longer follows
    the parameter; take it afterwards.  Parameters that are views already stay in place.

    A parameter whose ``grad`` is None is left alone, with its state.  If somebody replaces
    ``p.data``, on another device or in another dtype even, the next step notices and moves
    the state after it.
    """

    slots: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: Iterable[Any], **options: Any) -> None:
        self.param_groups: list[dict[str, Any]] = []
        self._defaults, self._units = options, list[Unit]()
        given: list[Any] = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if not given or not isinstance(given[0], dict):
            given = [{"params": given}]
        for group in given:
            self.add_param_group(group)

    @property
    def parameters(self) -> list[Tensor]:
        """Every parameter, group by group."""
        return [p for group in self.param_groups for p in group["params"]]

    @property
    def lr(self) -> float:
        """Learning rate of the first group; setting it sets that of all groups."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = value

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Optimise more parameters, from the next step on.

        Parameters
        ----------
        group : dict
            As the constructor takes.

        Raises
        ------
        OptionError, UnknownNameError, DtypeError, GraphError
            As the constructor.
        """
        name = type(self).__name__
        for key in group:
            if key not in self._defaults and key != "params":
                raise unknown_name(name, "option", key, ["params", *self._defaults])
        given = group.get("params", ())
        group = {**self._defaults, **group,
                 "params": [given] if isinstance(given, Tensor) else list(given)}  # fmt: skip
        self.check(group)
        if not group["params"]:
            raise OptionError(name, "there are no parameters to optimise",
                              fix="pass model.parameters()")  # fmt: skip
        known = {id(p) for p in self.parameters}
        for k, p in enumerate(group["params"], len(known)):
            if not isinstance(p, Tensor):
                raise DtypeError(name, f"parameter {k} is not a tensor", given=type(p).__name__,
                                 fix="pass model.parameters()")  # fmt: skip
            if not p.requires_grad or p.node is not None:
                raise GraphError(name, f"parameter {k} is not a leaf that requires a gradient",
                                 given=repr(p.shape),
                                 fix="make it with dynamic.tensor(..., requires_grad=True)")  # fmt: skip
            if id(p) in known:
                raise OptionError(name, f"parameter {k} was given before",
                                  given=f"a tensor of shape {p.shape}, twice",
                                  expected="each parameter once, in one group")  # fmt: skip
            known.add(id(p))
        self.param_groups.append(group)
        self._arrange(self._memory())

    def check(self, options: dict[str, Any]) -> None:
        """Raise OptionError if an option of a group is out of range."""
        for option, value in options.items():
            fine, expected = _RULES.get(option, (lambda _: True, ""))
            self.refuse_unless(fine(value), option, value, expected)

    def refuse_unless(self, fine: bool, option: str, value: Any, expected: str) -> None:
        """Raise the OptionError of an option that is out of range."""
        if not fine:
            raise OptionError(type(self).__name__, f"{option} is not usable",
                              given=f"{option}={value}", expected=expected)  # fmt: skip

    def _memory(self) -> dict[int, tuple[int, State]]:
        """Return each parameter's number of steps and state, by the parameter's id."""
        return {id(p): (t, state) for unit in self._units for p, t, state in unit.parts()}

    def _arrange(self, memory: dict[int, tuple[int, State]]) -> None:
        """Lay the parameters out in units, and give each what it remembers."""
        self._units = []
        for group in self.param_groups:
            together: dict[Any, list[Tensor]] = {}
            for p in group["params"]:
                data, base, (t, _) = p.data, p.data.base, memory.get(id(p), (0, {}))
                device = arrays.device_of(data)
                flat = base is None or getattr(base, "shape", None) == (base.size,)
                small = flat and data.size <= SMALL[device] and data.flags.c_contiguous
                key = (device, data.dtype, t, id(base)) if small else id(p)
                together.setdefault(key, []).append(p)
            for members in together.values():
                # Views that lie side by side are an earlier arrangement, which can stay.
                runs = [members] if members[0].data.base is None else _runs(members)
                self._units += [self._unit(run, group, memory) for run in runs]
        self._ordered = [p for unit in self._units for p in unit.parameters]
        self._datas = [p.data for p in self._ordered]

    def _unit(
        self, members: list[Tensor], group: dict[str, Any], memory: dict[int, tuple[int, State]]
    ) -> Unit:
        datas, known = [p.data for p in members], [memory.get(id(p), (0, {})) for p in members]
        values, base = _join(datas), datas[0].base
        if len(datas) > 1 and base is not None:
            start = (_address(datas[0]) - _address(base)) // base.itemsize
            values = base[start : start + values.size]
        elif len(datas) > 1:
            for p, part in zip(members, _cut(values, [d.shape for d in datas]), strict=True):
                p.data = part
        state = {
            name: _join([_like(each[name], d) for (_, each), d in zip(known, datas, strict=True)])
            for name in known[0][1]
        }
        return Unit(members, group, values, known[0][0], state)

    def zero_grad(self) -> None:
        """Forget every parameter's gradient: ``grad`` becomes None."""
        for p in self._ordered:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient, in place.

        Raises
        ------
        ShapeError
            If a gradient that somebody set has not the shape of its parameter.
        """
        parameters = self._ordered
        if not all(map(is_, [p.data for p in parameters], self._datas)):
            self._arrange(self._memory())
            parameters = self._ordered
        try:
            grads = [p.grad.data for p in parameters]  # type: ignore[union-attr]
        except AttributeError:  # Some are None.
            grads = self._separate()
        start = 0
        for unit in self._units:
            stop = start + len(unit.parameters)
            mine = grads[start:stop]
            start = stop
            if mine[0] is None:
                continue
            g = unit.gather(mine)
            decay = unit.options["weight_decay"]
            unit.t += 1
            self.update(unit, self.decay(unit, g, decay) if decay else g)
            versions.mark(unit.p)

    def _separate(self) -> list[Any]:
        """Part units in which some gradients are missing; return each gradient, or None."""
        units: list[Unit] = []
        for unit in self._units:
            wanted = [p.grad is not None for p in unit.parameters]
            units += [unit] if all(wanted) or not any(wanted) else unit.split(wanted)
        self._units = units
        return [None if p.grad is None else p.grad.data for p in self._ordered]

    def decay(self, unit: Unit, g: Array, weight_decay: float) -> Array:
        """Return the gradient with that of the penalty weight_decay |p|² / 2 added."""
        if unit.gathered is None:
            unit.gathered = np.empty_like(unit.p)
        np.multiply(unit.p, weight_decay, out=unit.scratch)
        return np.add(g, unit.scratch, out=unit.gathered)

    def update(self, unit: Unit, g: Array) -> None:
        """Update ``unit.p`` in place from its gradient; written by each optimiser.

        Parameters
        ----------
        unit : Unit
            What to update, with its options, its state and a scratch array.
        g : array
            Like ``unit.p``; not to be written into.
        """
        raise OptionError(type(self).__name__, "this optimiser has no update",
                          fix="write the method update(self, unit, g)")  # fmt: skip

    def state_dict(self) -> dict[str, Array]:
        """Return all that a resumed run needs, as copies under dotted names.

        Returns
        -------
        dict from str to array
            ``"3.mean"``: what is remembered of parameter 3, in its shape; ``"3.t"``: how
            many steps it took; ``"group.0.lr"``: an option of group 0.  Ready for
            ``dynamic.save``.
        """
        memory = self._memory()
        state = {
            f"group.{j}.{option}": np.array(value)
            for j, group in enumerate(self.param_groups)
            for option, value in group.items()
            if option != "params"
        }
        for k, p in enumerate(self.parameters):
            t, remembered = memory[id(p)]
            state[f"{k}.t"] = np.array(t)
            state |= {f"{k}.{name}": array.copy() for name, array in remembered.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what :meth:`state_dict` returned.

        Parameters
        ----------
        state : mapping from str to array or Tensor
            Of an optimiser of the same class over parameters of the same shapes.  Arrays
            move to the device and dtype of their parameter.

        Raises
        ------
        UnknownNameError, OptionError, ShapeError
            If it is another optimiser's; nothing has changed then.
        """
        name = type(self).__name__
        groups = [dict(group) for group in self.param_groups]
        memory: dict[int, tuple[int, State]] = {id(p): (0, {}) for p in self.parameters}
        expected = {f"group.{j}.{o}" for j, g in enumerate(groups) for o in g if o != "params"}
        expected |= {f"{k}.t" for k in range(len(self.parameters))}
        optional = {f"{k}.{slot}" for k in range(len(self.parameters)) for slot in self.slots}
        for key in state:
            if key not in expected and key not in optional:
                raise unknown_name(f"{name}.load_state_dict", "state", key,
                                   sorted(expected | optional))  # fmt: skip
        if missing := sorted(expected - set(state)):
            raise OptionError(f"{name}.load_state_dict", "the state is not complete",
                              given=f"no {', '.join(missing)}",
                              expected=f"what {name}.state_dict() of as many parameters "
                              "returns")  # fmt: skip
        for key, value in state.items():
            array = value.data if isinstance(value, Tensor) else value
            owner, rest = key.split(".", 1)
            if owner == "group":
                j, option = rest.split(".")
                number = arrays.to_host(array).tolist()
                groups[int(j)][option] = tuple(number) if isinstance(number, list) else number
                continue
            p = self.parameters[int(owner)]
            remembered = memory[id(p)][1]
            if rest == "t":
                memory[id(p)] = int(array), remembered
            elif array.shape == p.shape:
                remembered[rest] = array.copy()
            else:
                raise ShapeError(f"{name}.load_state_dict", f"{key} does not fit its parameter",
                                 given=f"{array.shape}", expected=f"{p.shape}")  # fmt: skip
        for loaded in groups:
            self.check(loaded)
        for mine, loaded in zip(self.param_groups, groups, strict=True):
            mine.update(loaded)
        self._arrange(memory)
