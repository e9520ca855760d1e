"""The module: what owns parameters, buffers and other modules, and is called like a function."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeVar

import numpy.typing as npt

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic import versions
from workbench.dynamic.tensor import Tensor, tensor
from workbench.errors import DtypeError, OptionError, ShapeError, UnknownNameError


class Parameter(Tensor):
    """A leaf that requires a gradient and that a :class:`Module` finds among its attributes.

    Parameters
    ----------
    data : array_like
        Copied; of a floating dtype.
    """

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(tensor(data, requires_grad=True).data, True)


class Buffer(Tensor):
    """A constant that belongs to a module's state: saved and moved with it, never trained.

    Parameters
    ----------
    data : array_like
        Copied.
    """

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(tensor(data).data)


_Kind = TypeVar("_Kind", bound=Tensor)


class Module:
    """Base class of layers and models.

    A subclass sets parameters, buffers and modules as attributes, or lists, tuples and
    dictionaries of them, and writes ``forward``.

    Attributes
    ----------
    training : bool
        What layers that behave differently when training look at.

    Examples
    --------
    >>> class Scaled(Module):
    ...     def __init__(self):
    ...         self.scale = Parameter([2.0])
    ...
    ...     def forward(self, x):
    ...         return x * self.scale
    >>> Scaled()
    Scaled  scale (1,)  [1 parameter]
    """

    training = True

    def forward(self, *args: Any, **options: Any) -> Any:
        """Compute the result; written by each module."""
        raise OptionError(type(self).__name__, "this module has no forward",
                          fix="write the method forward(self, x)")  # fmt: skip

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Return ``self.forward(*args, **options)``."""
        return self.forward(*args, **options)

    # --- what is where ------------------------------------------------------------------

    def children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules among the attributes, and in lists and dictionaries, by name."""
        return ((name, value) for name, value in _flat(vars(self)) if isinstance(value, Module))

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it once each, with its path of attribute names."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module
                below = [(f"{path}.{name}" if path else name, m) for name, m in module.children()]
                stack += reversed(below)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it, once each."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield each parameter once, with its path of attribute names, in order of definition."""
        return self._named(Parameter)

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Yield each buffer once, with its path of attribute names, in order of definition."""
        return self._named(Buffer)

    def _named(self, kind: type[_Kind]) -> Iterator[tuple[str, _Kind]]:
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in _flat(vars(module)):
                if isinstance(value, kind) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def parameters(self) -> list[Parameter]:
        """Return each parameter once, in order of definition."""
        return [parameter for _, parameter in self.named_parameters()]

    def buffers(self) -> list[Buffer]:
        """Return each buffer once, in order of definition."""
        return [buffer for _, buffer in self.named_buffers()]

    # --- changes to the whole -----------------------------------------------------------

    def apply(self, function: Callable[[Module], object]) -> Self:
        """Call ``function`` with this module and all below it, once each; return self."""
        for module in self.modules():
            function(module)
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all below it to training, and return it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch this module and all below it to evaluation, and return it."""
        return self.train(False)

    def requires_grad_(self, flag: bool = True) -> Self:
        """Say of every parameter whether it requires a gradient (not: it is frozen); return self."""
        for parameter in self.parameters():
            parameter.requires_grad = flag
        return self

    def zero_grad(self) -> None:
        """Forget every parameter's gradient."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, device: str | None = None, dtype: npt.DTypeLike | None = None) -> Self:
        """Move every parameter, with its gradient, and every buffer; return self.

        The tensors stay the same objects, so that an optimiser keeps its hold on them.

        Parameters
        ----------
        device : {"cpu", "gpu"}, optional
        dtype : dtype, optional
            For what is floating-point; a buffer of integers stays one.

        Raises
        ------
        UnknownNameError, DeviceError, DtypeError
            If there is no such device, or the dtype is not a floating one.
        """
        if device is not None:
            arrays.check_device(device, "Module.to")
        if dtype is not None:
            dtype = arrays.float_dtype(dtype, "Module.to")

        def moved(array: Array) -> Array:
            if dtype is not None and array.dtype.kind == "f":
                array = array.astype(dtype, copy=False)
            return array if device is None else arrays.to_device(array, device)

        for each in [*self.parameters(), *self.buffers()]:
            each.data = moved(each.data)
            if each.grad is not None:
                each.grad = Tensor(moved(each.grad.data))
        return self

    # --- the state ----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of the values of every parameter and buffer, by path."""
        return {name: each.data.copy() for name, each in self._state().items()}

    def _state(self) -> dict[str, Tensor]:
        return dict([*self.named_parameters(), *self.named_buffers()])

    def load_state_dict(
        self, state: Mapping[str, Any], strict: bool = True
    ) -> tuple[list[str], list[str]]:
        """Copy values into the parameters and buffers, all or none of them.

        Parameters
        ----------
        state : mapping of str to array or Tensor
            What :meth:`state_dict` returns, on any device.
        strict : bool
            Whether names have to match; else those that do not are left alone.

        Returns
        -------
        missing, unexpected : list of str
            Names that are only in this module, and only in ``state``.

        Raises
        ------
        UnknownNameError
            If names do not match, with what was probably meant.
        ShapeError, DtypeError
            If a value does not fit; nothing is changed then.
        """
        where, own = f"{type(self).__name__}.load_state_dict", self._state()
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        if strict and (missing or unexpected):
            near = ((name, difflib.get_close_matches(name, missing, n=1)) for name in unexpected)
            meant = [f"{found[0]!r} for {name!r}" for name, found in near if found]
            raise UnknownNameError(
                where,
                "the names are not those of this module",
                given="; ".join(
                    f"{kind}: {', '.join(names)}"
                    for kind, names in (("missing", missing), ("unexpected", unexpected))
                    if names
                ),
                expected=", ".join(own) or "no names: this module has no parameters",
                fix=(f"did you mean {', '.join(meant)}? Or " if meant else "")
                + "pass strict=False to load what matches",
            )
        loaded = {}
        for name, each in own.items():
            if name in state:
                value = state[name]
                value = value.data if isinstance(value, Tensor) else value
                value = arrays.namespace(value).asarray(value)
                if value.shape != each.shape:
                    raise ShapeError(where, f"{name} has another shape", given=f"{value.shape}",
                                     expected=f"{each.shape}")  # fmt: skip
                if value.dtype != each.dtype:
                    raise DtypeError(where, f"{name} has another dtype", given=f"{value.dtype}",
                                     expected=f"{each.dtype}", fix="convert the module: "
                                     f"module.to(dtype=np.{value.dtype})")  # fmt: skip
                loaded[name] = arrays.to_device(value, each.device)
        for name, value in loaded.items():
            own[name].data[...] = value
            versions.mark(own[name].data)
        return missing, unexpected

    # --- for people ---------------------------------------------------------------------

    def __repr__(self) -> str:
        return "\n".join(self._tree("", "", set()))

    def _tree(self, indent: str, name: str, seen: set[int]) -> Iterator[str]:
        size = sum(parameter.size for parameter in self.parameters())
        line = f"{indent}{name}{type(self).__name__}"
        if id(self) in seen:
            yield f"{line}  (as above)"
            return
        seen.add(id(self))
        for key, value in _flat(vars(self)):
            if isinstance(value, Parameter | Buffer):
                line += f"  {key} {value.shape}"
        options = [
            f"{key}={value}"
            for key, value in {**vars(self), **vars(self).get("options", {})}.items()
            if key != "training" and isinstance(value, str | int | float | tuple)
            and not any(isinstance(each, Module | Tensor) or callable(each)
                        for each in (value if isinstance(value, tuple) else ()))
        ]  # fmt: skip
        line += "  " * bool(options) + ", ".join(options)
        yield line + (f"  [{size:,} parameter{'s' * (size != 1)}]" if size else "")
        for key, child in self.children():
            yield from child._tree(f"{indent}  ", f"{key}: ", seen)


def _flat(entries: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each entry that is no container, and those of containers as ``name.key``."""
    for name, value in entries.items():
        if isinstance(value, list | tuple):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", each) for key, each in _flat(value))
        else:
            yield str(name), value
