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
from collections import defaultdict
from collections.abc import Iterable, Mapping
from operator import attrgetter, is_
from typing import Any

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic import versions
from workbench.dynamic.tensor import Tensor
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError, unknown_name

_data = attrgetter("data")

SMALL = {"cpu": 1 << 14, "gpu": 1 << 20}
"""Up to how many elements a parameter shares an array with others, on each device.

Measured, microseconds a step (one thread, float32; each parameter alone / sharing): SGD
18 / 7 and Adam 60 / 14 for layers of 2-16-16-2, SGD 14 / 8 and Adam 46 / 21 for 64-64-10.
For layers of 784-256-128-10, whose 200,704 weights do not fit the first cache, sharing
everything makes SGD half again slower; sharing the small ones changes nothing.
"""

_RULES = (
    ("lr eps", "a positive number", lambda v, _: v > 0),
    ("weight_decay tolerance", "zero or a positive number", lambda v, _: v >= 0),
    ("momentum alpha rho", "from 0 up to 1, not including 1", lambda v, _: 0 <= v < 1),
    ("betas", "two numbers from 0 up to 1, not including 1",
     lambda v, _: len(v) == 2 and all(0 <= b < 1 for b in v)),
    ("iterations history", "a positive integer", lambda v, _: v == int(v) and v > 0),
    ("nesterov", "nesterov=True needs a momentum", lambda v, group: not v or group["momentum"] > 0),
)  # fmt: skip
"""What options may be; an option of one name means one thing in every optimiser."""


def check_option(where: str, name: str, value: Any, fine: bool,
                 expected: str = "a positive number") -> None:  # fmt: skip
    """Raise OptionError unless the value of an option is fine."""
    if not fine:
        raise OptionError(where, f"{name} is not usable", given=f"{name}={value}",
                          expected=expected)  # fmt: skip


def flat(pieces: Iterable[Array]) -> Array:
    """Return arrays one after another as one flat array."""
    return np.concatenate([each.ravel() for each in pieces])


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

    def __init__(self, parameters: list[Tensor], options: dict[str, Any], p: Array, t: int,
                 state: dict[str, Array]) -> None:  # fmt: skip
        self.parameters, self.options = parameters, options
        self.p, self.t, self.state = p, t, state
        self.shapes = [each.data.shape for each in parameters]
        self.alone = self.shapes == [p.shape]
        self.gathered = None if self.alone else np.empty_like(p)
        self.scratch = np.empty_like(p)

    def __getitem__(self, name: str) -> Array:
        """Return the named array of the state, which is zero at first."""
        if (found := self.state.get(name)) is None:
            found = self.state[name] = np.zeros_like(self.p)
        return found

    def gather(self) -> Array | None:
        """Return the gradients as one array like ``p``, not to be written into.

        None if one is missing.

        Raises
        ------
        ShapeError
            If one does not have the shape of its parameter.
        """
        grads = []
        for p, shape in zip(self.parameters, self.shapes, strict=True):
            if p.grad is None:
                return None
            g = p.grad.data
            if g.shape != shape:
                raise ShapeError("step", "a gradient does not have the shape of its parameter",
                                 given=f"grad {g.shape}", expected=f"{shape}")  # fmt: skip
            if self.alone:
                return g
            grads.append(g.ravel())
        return np.concatenate(grads, out=self.gathered)

    def cut(self, array: Array) -> list[Array]:
        """Return each parameter's part of an array like ``p``: of a flat one, a view."""
        ends = list(itertools.accumulate(map(math.prod, self.shapes)))
        parts = zip(np.split(array.ravel(), ends), self.shapes, strict=False)
        return [part.reshape(shape) for part, shape in parts]

    def split(self) -> list[Unit]:
        """Return the runs of neighbours that all have a gradient, or all none, as units.

        Those without come first.  Nothing is copied or moved, and parts do not merge again: a
        model that leaves out changing parameters ends with the finest cut that it needs.
        """
        groups = itertools.groupby(self.parameters, lambda p: p.grad is not None)
        if len(runs := [list(run) for _, run in groups]) == 1:
            return [self]
        ends = list(itertools.accumulate(sum(p.size for p in run) for run in runs))
        p, state = np.split(self.p, ends), {n: np.split(a, ends) for n, a in self.state.items()}
        parts = [Unit(run, self.options, p[k], self.t, {n: a[k] for n, a in state.items()})
                 for k, run in enumerate(runs)]  # fmt: skip
        return sorted(parts, key=lambda part: part.parameters[0].grad is not None)


def _join(units: list[Unit]) -> Unit:
    """Return units of one parameter each as a single unit, with their arrays side by side."""
    first = units[0]
    if len(units) == 1:
        return first
    state = {name: flat(unit.state[name] for unit in units) for name in first.state}
    joined = Unit([unit.parameters[0] for unit in units], first.options,
                  flat(unit.p for unit in units), first.t, state)  # fmt: skip
    for p, part in zip(joined.parameters, joined.cut(joined.p), strict=True):
        p.data = part
    return joined


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
    the parameter; take it afterwards.  Parameters that are views already, also those that
    another optimiser has laid out, stay in place and are updated one by one.

    A parameter whose ``grad`` is None is left alone, with its state.  If somebody replaces
    ``p.data``, on another device or in another dtype even, the next step notices and moves
    the state after it.
    """

    slots: tuple[str, ...] = ()
    whole = False  # Whether a group shares one array whatever its parameters are like.

    def __init__(self, parameters: Iterable[Any], **options: Any) -> None:
        self.param_groups: list[dict[str, Any]] = []
        self._defaults, self._units, self._ours = options, list[Unit](), set[int]()
        given: list[Any] = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        for group in given if given and isinstance(given[0], dict) else [{"params": given}]:
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
            As the constructor takes, which says what is refused.
        """
        name = type(self).__name__
        for key in group.keys() - self._defaults.keys() - {"params"}:
            raise unknown_name(name, "option", key, ["params", *self._defaults])
        given = group.get("params", ())
        group = {**self._defaults, **group,
                 "params": [given] if isinstance(given, Tensor) else list(given)}  # fmt: skip
        self._check(group)
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
                                 given=f"shape {p.shape}", fix="use requires_grad=True")  # fmt: skip
            if id(p) in known:
                raise OptionError(name, f"parameter {k} was given before",
                                  given=f"shape {p.shape}", expected="each once, in one group")  # fmt: skip
            known.add(id(p))
        parts = self._parts()
        self.param_groups.append(group)
        self._arrange([*parts, *(Unit([p], group, p.data, 0, {}) for p in group["params"])])

    def _check(self, group: dict[str, Any]) -> None:
        for names, expected, fine in _RULES:
            for option in group.keys() & names.split():
                value = group[option]
                check_option(type(self).__name__, option, value, fine(value, group), expected)

    def _parts(self) -> list[Unit]:
        """Return each parameter as a unit of its own, as it is now, with its part of the state."""
        found = {}
        for unit in self._units:
            cuts = {name: unit.cut(array) for name, array in unit.state.items()}
            for k, p in enumerate(unit.parameters):
                state = {name: _like(cut[k], p.data) for name, cut in cuts.items()}
                found[id(p)] = Unit([p], unit.options, p.data, unit.t, state)
        return [found[id(p)] for p in self.parameters]

    def _arrange(self, parts: list[Unit]) -> None:
        """Lay the parameters out in units."""
        together: dict[Any, list[Unit]] = {}
        for part in parts:
            data, base, device = part.p, part.p.base, arrays.device_of(part.p)
            small = data.size <= SMALL[device] and data.flags.c_contiguous
            shares = self.whole or (small and (base is None or id(base) in self._ours))
            alike = (id(part.options), device, data.dtype, part.t, *part.state)
            together.setdefault(alike if shares else id(part), []).append(part)
        self._units = [_join(each) for each in together.values()]
        self._ours = {id(unit.p) for unit in self._units if len(unit.parameters) > 1}
        self._ordered = [p for unit in self._units for p in unit.parameters]
        self._datas = [p.data for p in self._ordered]

    def _follow(self) -> None:
        """Arrange anew if somebody has replaced the data of a parameter."""
        if not all(map(is_, map(_data, self._ordered), self._datas)):
            self._arrange(self._parts())

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
        self._follow()
        for k, unit in enumerate(self._units):
            g = unit.gather()
            if g is None:  # A part without gradients takes the place, the others come next.
                self._units[k : k + 1] = unit.split()
                continue
            decay = unit.options["weight_decay"]
            unit.t += 1
            self.update(unit, self.decay(unit, g, decay) if decay else g)
            versions.mark(unit.p)

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
        owners = {f"group.{j}": group for j, group in enumerate(self.param_groups)}
        owners |= {str(k): {"t": part.t, **part.state} for k, part in enumerate(self._parts())}
        return {f"{owner}.{name}": value.copy() if hasattr(value, "dtype") else np.array(value)
                for owner, values in owners.items() for name, value in values.items()
                if name != "params"}  # fmt: skip

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
        where, parts = f"{type(self).__name__}.load_state_dict", self._parts()
        slots = {f"{k}.{slot}": part.p for k, part in enumerate(parts) for slot in self.slots}
        known = self.state_dict() | slots
        if missing := sorted(known.keys() - slots.keys() - state.keys()):
            raise OptionError(where, "the state is not complete", given=f"no {', '.join(missing)}",
                              expected="what state_dict() of as many parameters returns")  # fmt: skip
        loaded: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        for key, value in state.items():
            if key not in known:
                raise unknown_name(where, "state", key, sorted(known))
            array = value.data if isinstance(value, Tensor) else value
            if array.shape != known[key].shape:
                raise ShapeError(where, f"{key} does not fit its parameter or option",
                                 given=f"{array.shape}", expected=f"{known[key].shape}")  # fmt: skip
            owner, _, name = key.rpartition(".")
            found = array if key in slots else arrays.to_host(array).tolist()
            loaded[owner][name] = tuple(found) if isinstance(found, list) else found
        for j in range(len(self.param_groups)):
            self._check(loaded[f"group.{j}"])
        for j, group in enumerate(self.param_groups):
            group.update(loaded[f"group.{j}"])
        for k, part in enumerate(parts):
            part.t = loaded[str(k)].pop("t")
            part.state = {n: _like(a, part.p).copy() for n, a in loaded[str(k)].items()}
        self._arrange(parts)
