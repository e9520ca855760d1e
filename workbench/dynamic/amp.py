"""Mixed precision: products in half precision, sums in single, and a loss that is scaled.

A product of halves takes half the memory and, on a GPU with tensor cores, a fraction of the
time.  Weights stay float32, and each is rounded where it is used (Micikevicius et al., 2018,
"Mixed precision training").  Without a GPU all of this computes the same, for study: NumPy
does arithmetic on halves one by one, many times slower than on float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic.function import Function
from workbench.dynamic.ops import astype
from workbench.dynamic.ops.elementwise import values
from workbench.dynamic.optim import Optimizer
from workbench.dynamic.tensor import Tensor, mode
from workbench.errors import DtypeError, GraphError, OptionError

HALF = dict.fromkeys(
    ("affine", "convolution", "convolution_input", "convolution_weight", "einsum", "matmul"),
    "a product: tensor cores multiply halves and add up in float32",
)
"""The operations whose arguments autocast rounds to half precision, each with the reason."""

SINGLE = {
    **dict.fromkeys(
        ("cosh", "exp", "exp2", "expm1", "logaddexp", "logsumexp", "power", "reciprocal", "sinh",
         "softplus", "square", "tan"),
        "its results leave the range of a half, 65,504, for arguments that are not large",
    ),
    **dict.fromkeys(
        ("log", "log10", "log1p", "log2"),
        "it tells small numbers apart, which halves do not",
    ),
    **dict.fromkeys(
        ("cumsum", "prod", "standardize", "sum"),
        "many terms add up: a sum of halves stops growing at 2,048 ones",
    ),
    **dict.fromkeys(
        ("log_softmax", "softmax", "softmax_cross_entropy"), "it sums exponentials",
    ),
    **dict.fromkeys(
        ("cholesky", "det", "eigh", "inv", "pinv", "slogdet", "solve", "svd"),
        "LAPACK and cuSOLVER have no half precision",
    ),
}  # fmt: skip
"""The operations whose arguments autocast widens to float32, each with the reason."""


@contextlib.contextmanager
def autocast(dtype: npt.DTypeLike = np.float16) -> Iterator[None]:
    """Choose each operation's precision, in a ``with`` block or as ``@autocast()``.

    Arguments are converted by a recorded :func:`~workbench.dynamic.ops.astype`: operations
    in :data:`HALF` get them in ``dtype``, those in :data:`SINGLE` in float32, and all others
    in the widest dtype among them, so that dtypes may mix.  Gradients come back in the dtype
    of whatever they are for, so in float32 for the weights.  What is float64 stays so, and
    an in-place edit keeps the dtype of what is edited.

    Parameters
    ----------
    dtype : dtype
        float16; on a GPU also bfloat16, see :func:`arrays.bfloat16_problem`.

    Raises
    ------
    DtypeError
        For another dtype.

    Notes
    -----
    Put the forward pass and the loss inside, and ``backward`` outside.  Of losses that are
    written in several operations, differences are taken in the widest dtype of their
    arguments, and squares and sums in float32.  In a ``batching`` block, put autocast inside.
    The two lists follow PyTorch's.

    Examples
    --------
    >>> with autocast():
    ...     loss = softmax_cross_entropy(model(x), labels)
    >>> scaler.scale(loss).backward()
    >>> scaler.step(optimizer)
    >>> scaler.update()
    """
    half = arrays.half_dtype(dtype, "autocast")
    before = mode.intercept
    outer = getattr(before, "outside", before)  # Of two autocasts the inner one decides.

    def cast(cls: type[Function], args: tuple[Any, ...]) -> Any:
        mode.intercept = outer
        try:
            if any(isinstance(each, Tensor) for each in args):  # Else in a backward pass.
                args = _cast(cls.name, args, half)
            return cls.apply(*args)
        finally:
            mode.intercept = cast

    cast.outside = outer  # type: ignore[attr-defined]
    mode.intercept = cast
    try:
        yield
    finally:
        mode.intercept = before


def _cast(name: str, args: tuple[Any, ...], half: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the arguments of an operation in the precision that is chosen for it."""
    floats = [k for k, each in enumerate(args) if _is_array(each) and arrays.is_float(each.dtype)]
    if not floats or name == "astype":
        return args
    wanted = np.result_type(*(args[k].dtype for k in floats))
    if name == "set_item":
        wanted = args[0].dtype
    elif wanted != np.float64:
        wanted = half if name in HALF else np.dtype(np.float32) if name in SINGLE else wanted
    return tuple(
        astype(each, wanted) if k in floats and each.dtype != wanted else each
        for k, each in enumerate(args)
    )


def _is_array(x: Any) -> bool:
    return isinstance(x, Tensor | np.ndarray) or arrays.namespace(x) is not np


class GradScaler:
    """Keep small gradients from vanishing: scale the loss up, and the gradients down again.

    A half below 6e-8 is 0, and many gradients are smaller.  All of them grow with the loss.
    The scale itself is found by trial: a step whose gradients overflowed is left out and the
    scale shrinks; after many good steps it grows.

    Parameters
    ----------
    init_scale : float
        To begin with.
    growth_factor, backoff_factor : float
        What the scale is multiplied by after ``growth_interval`` good steps in a row, and
        after a bad one.
    growth_interval : int

    Attributes
    ----------
    current : float
        The scale.

    Raises
    ------
    OptionError
        If an argument is not usable.

    Notes
    -----
    Micikevicius et al. (2018), section 3.2.  bfloat16, which has the range of float32, needs
    no scaling.
    """

    def __init__(self, init_scale: float = 2.0**16, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000) -> None:  # fmt: skip
        for name, value, fine, expected in (
            ("init_scale", init_scale, init_scale > 0, "a positive number"),
            ("growth_factor", growth_factor, growth_factor > 1, "a number above 1"),
            ("backoff_factor", backoff_factor, 0 < backoff_factor < 1, "between 0 and 1"),
            ("growth_interval", growth_interval, growth_interval >= 1, "a positive integer"),
        ):
            if not fine:
                raise OptionError("GradScaler", f"{name} is not usable", given=f"{name}={value}",
                                  expected=expected)  # fmt: skip
        self.current, self.growth_interval = float(init_scale), growth_interval
        self.growth_factor, self.backoff_factor = growth_factor, backoff_factor
        self._good = 0  # Steps since the scale last changed.
        self._finite: dict[int, bool] = {}  # Of each optimiser unscaled since update().

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss, in float32 at least, times the scale; call ``backward`` of it."""
        return astype(loss, np.result_type(loss.dtype, np.float32)) * self.current

    def unscale_(self, optimizer: Optimizer) -> bool:
        """Divide the optimiser's gradients by the scale, as clipping them needs.

        Returns
        -------
        bool
            Whether all of them are finite: one number, read back from a GPU.

        Raises
        ------
        GraphError
            If they were divided already.
        DtypeError
            If a parameter is a half, whose gradient would vanish here.
        """
        if id(optimizer) in self._finite:
            raise GraphError("unscale_", "the gradients were unscaled since the last update()",
                             fix="call unscale_ once, after backward and before step")  # fmt: skip
        parameters = [p for p in optimizer.parameters if p.grad is not None]
        finite: dict[str, list[Array]] = {}
        for p in parameters:
            if p.dtype.itemsize < 4:
                raise DtypeError("unscale_", "a parameter has half precision itself",
                                 given=f"{p.dtype}, shape {p.shape}", expected="float32",
                                 fix="keep the weights in float32: autocast rounds them where "
                                 "they are used")  # fmt: skip
            finite.setdefault(p.device, []).append(np.isfinite(values(p.grad)).all())
        for p in parameters:
            p.grad = Tensor(values(p.grad) * (1 / self.current))
        fine = all(bool(np.stack(each).all()) for each in finite.values())
        self._finite[id(optimizer)] = fine
        return fine

    def step(self, optimizer: Optimizer) -> bool:
        """Unscale, unless that is done, and let the optimiser step if all gradients are finite.

        Returns
        -------
        bool
            Whether it stepped.

        Raises
        ------
        DtypeError
            As :meth:`unscale_`.
        """
        fine = self._finite.get(id(optimizer))
        fine = self.unscale_(optimizer) if fine is None else fine
        if fine:
            optimizer.step()
        return fine

    def update(self) -> None:
        """Adapt the scale to what the steps since the last update found.

        Raises
        ------
        GraphError
            If there was none.
        """
        if not self._finite:
            raise GraphError("update", "no optimiser was stepped since the last update()",
                             fix="call scaler.step(optimizer) first")  # fmt: skip
        self._good += 1
        if not all(self._finite.values()):
            self.current, self._good = self.current * self.backoff_factor, 0
        elif self._good == self.growth_interval:
            self.current, self._good = self.current * self.growth_factor, 0
        self._finite.clear()

    def state_dict(self) -> dict[str, Array]:
        """Return the scale and the number of good steps, ready for ``dynamic.save``."""
        return {"scale": np.array(self.current), "good_steps": np.array(self._good)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what :meth:`state_dict` returned.

        Raises
        ------
        OptionError
            If something is missing.
        """
        if missing := {"scale", "good_steps"} - set(state):
            raise OptionError("GradScaler.load_state_dict", "the state is not complete",
                              given="no " + ", ".join(sorted(missing)))  # fmt: skip
        self.current, self._good = float(state["scale"]), int(state["good_steps"])
