"""What pure functions may not do: one error for each mistake, as an exhibit.

Each derives from the error of the package that describes it, so that ``except
GraphError`` and ``except TypeError`` go on working.  What happened, and which
construct to use instead, stands in the message.
"""

from __future__ import annotations

from workbench.errors import DtypeError, GraphError, OptionError, ShapeError


class TracedBranchError(GraphError):
    """Python's ``if`` or ``while`` asked a value that is being traced.  Use cond, where, switch."""


class TracedNumberError(GraphError):
    """Python asked for a number (int, float, an index) where there is only a tracer."""


class TracerArrayError(DtypeError):
    """NumPy was asked to compute with a tracer.  Use ``functional.numpy``."""


class LeakedTracerError(GraphError):
    """A tracer outlived its trace.  Return values instead of keeping them."""


class MutationError(GraphError):
    """A value was to be changed in place.  Use ``x.at[index].set(value)``."""


class ImpureFunctionError(GraphError):
    """A function does not depend on its arguments alone.  Pass what it reads; return the rest."""


class AxesError(ShapeError, OptionError):
    """``in_axes`` or ``out_axes`` of vmap do not fit the values."""


class NonScalarGradientError(ShapeError):
    """A gradient was asked of more than one number.  Use jacrev, jacfwd, vjp, or a sum."""


class IntegerInputError(DtypeError):
    """A derivative was asked with respect to integers, or of them.  Convert with astype."""
