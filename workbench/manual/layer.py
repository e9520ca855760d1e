"""Layers: the chain rule as a loop (Torch7's ``nn``, 2011; Caffe, 2013).

A layer owns parameters and remembers its last forward pass.  ``forward`` keeps the
cache of a function pair; ``backward`` hands it back, adds what it finds to the
gradients of its parameters, and returns the gradient of its input: which is all that
the layer before needs.  :class:`Sequential` runs the first down a list and the second
up again, and that is the whole of backpropagation.

Train or test is an argument of ``forward``, never a mode that someone left switched on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.errors import GraphError, OptionError, WorkbenchError
from workbench.manual._checks import check_g


class Parameter:
    """An array to be learned, and the gradient gathered for it so far.

    Parameters
    ----------
    value : array
        Optimisers change it in place.
    name : str
        For messages; :class:`Sequential` puts the layer's place before it: ``"0.w"``.
    """

    def __init__(self, value: Array, name: str) -> None:
        self.value, self.name = value, name
        self._gradient: Array | None = None

    @property
    def gradient(self) -> Array:
        """The sum of the gradients since the last :meth:`zero_gradient`, shaped as value."""
        if self._gradient is None:
            self._gradient = np.zeros_like(self.value)
        return self._gradient

    @gradient.setter
    def gradient(self, gradient: Array) -> None:
        self._gradient = gradient

    def accumulate(self, gradient: Array) -> None:
        """Add to the gradient (Torch7's ``accGradParameters``), an array shaped as value."""
        # Not in place: the first one is kept as it came and may have other owners.
        self._gradient = gradient if self._gradient is None else self._gradient + gradient

    def zero_gradient(self) -> None:
        """Forget the gradient; it reads as zeros."""
        self._gradient = None

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, {self.value.shape}, {self.value.dtype})"


class Layer:
    """What all layers share.  A new layer needs :meth:`compute` and :meth:`gradients`.

    Attributes
    ----------
    output : array
        What the last ``forward`` returned; None before the first.
    """

    output: Array = None
    _cache: Any = None

    def forward(self, x: Array, training: bool = True) -> Array:
        """Return the layer's output, and remember what ``backward`` will need.

        Parameters
        ----------
        x : array
            Shaped as the layer says, with a leading axis of N examples.
        training : bool
            False: dropout does nothing, and batch normalisation uses its averages.

        Raises
        ------
        ShapeError, DtypeError, DeviceError, OptionError
            From the function beneath, if ``x`` does not fit the layer.
        """
        self.output, self._cache = self.compute(x, training)
        return self.output

    def backward(self, g: Array, *, input_gradient: bool = True) -> Array:
        """Add to the parameters' gradients, and return the input's.

        Parameters
        ----------
        g : array
            Gradient with respect to what the last ``forward`` returned, of its shape.
        input_gradient : bool
            False lets a layer leave out the gradient of its input, and return None.

        Raises
        ------
        GraphError
            If there was no forward.
        ShapeError, DtypeError
            If ``g`` is not like the output.
        """
        self._require_forward()
        check_g(f"{type(self).__name__}.backward", g, self.output.shape, self.output)
        rule = self.gradients if input_gradient else self.parameter_gradients
        dx, *rest = rule(g, self._cache)
        for parameter, gradient in zip(self.parameters(), rest, strict=True):
            parameter.accumulate(gradient)
        return dx

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """Return ``(y, cache)``; ``cache`` is not None."""
        raise NotImplementedError(f"{type(self).__name__} defines no compute")

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """Return the gradients of the input and of :meth:`parameters`, in that order."""
        raise NotImplementedError(f"{type(self).__name__} defines no gradients")

    def parameter_gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """As :meth:`gradients`, where nobody asks for the first; it may be None."""
        return self.gradients(g, cache)

    def parameters(self) -> list[Parameter]:
        """Return the layer's parameters, in the order in which they were set."""
        return [value for value in vars(self).values() if isinstance(value, Parameter)]

    def zero_gradients(self) -> None:
        """Forget the gradients of all parameters; ``backward`` adds, and never forgets."""
        for parameter in self.parameters():
            parameter.zero_gradient()

    def _require_forward(self) -> None:
        if self._cache is None:
            raise GraphError(f"{type(self).__name__}.backward", "there was no forward to go back "
                             "through", fix="call forward(x) first")  # fmt: skip

    def __repr__(self) -> str:
        shapes = ", ".join(f"{p.name} {p.value.shape}" for p in self.parameters())
        return f"{type(self).__name__}({shapes})"


class Sequential(Layer):
    """Layers one after the other: forward down the list, backward up again.

    Parameters
    ----------
    *layers : Layer
        Each at most once: a layer remembers one forward pass.

    Raises
    ------
    OptionError
        If there is none, one is not a layer, or one stands twice.
    """

    def __init__(self, *layers: Layer) -> None:
        _check_layers(layers)
        self.layers = layers
        for place, layer in enumerate(layers):
            for parameter in layer.parameters():
                parameter.name = f"{place}.{parameter.name}"

    def forward(self, x: Array, training: bool = True) -> Array:
        """Return the last layer's output; as :meth:`Layer.forward`."""
        for place, layer in enumerate(self.layers):
            try:
                x = layer.forward(x, training)
            except WorkbenchError as error:  # The op knows what is wrong; we know where.
                error.where = f"layer {place} ({type(layer).__name__}), {error.where}"
                raise
        self.output = x
        return x

    def backward(self, g: Array, *, input_gradient: bool = True) -> Array:
        """Return the first layer's gradient of its input; as :meth:`Layer.backward`.

        With ``input_gradient=False`` the walk ends at the first layer that has
        parameters: below it there is nothing to learn.
        """
        self._require_forward()
        end = 0 if input_gradient else self._first_with_parameters()
        for place in range(len(self.layers) - 1, end, -1):
            g = self.layers[place].backward(g)
        return self.layers[end].backward(g, input_gradient=input_gradient)

    def parameters(self) -> list[Parameter]:
        """Return all layers' parameters in order; one that several share, once."""
        found = [parameter for layer in self.layers for parameter in layer.parameters()]
        return list(dict.fromkeys(found))

    def _first_with_parameters(self) -> int:
        owners = [place for place, layer in enumerate(self.layers) if layer.parameters()]
        return owners[0] if owners else 0

    def _require_forward(self) -> None:
        if self.output is None:
            raise GraphError("Sequential.backward", "there was no forward to go back through",
                             fix="call forward(x) first")  # fmt: skip

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"


def _check_layers(layers: tuple[Any, ...]) -> None:
    if not layers:
        raise OptionError("Sequential", "there are no layers", expected="at least one")
    for place, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            fix = "Sequential(*layers)" if isinstance(layer, list | tuple) else None
            fix = f"{layer.__name__}(...)" if isinstance(layer, type) else fix
            raise OptionError("Sequential", f"argument {place} is not a layer",
                              given=repr(layer), expected="a Layer", fix=fix)  # fmt: skip
        if any(layer is other for other in layers[:place]):
            raise OptionError("Sequential", f"argument {place} stands in the list twice",
                              given=repr(layer),
                              expected="every layer once, as each remembers one forward pass",
                              fix="two layers that share their Parameters")  # fmt: skip
