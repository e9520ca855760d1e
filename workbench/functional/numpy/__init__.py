"""NumPy's functions, for arrays and for tracers.

The names, arguments and broadcasting are NumPy's.  Every function is built from
the primitives, so it goes through every transform.  Given plain arrays it
returns plain arrays; given Python scalars alone, a Python scalar.

Each module lists in its ``__all__`` what it adds; ``linalg`` and ``fft`` are namespaces
of their own, as in NumPy.
"""

from numpy import (
    bool_,
    e,
    euler_gamma,
    float32,
    float64,
    inf,
    int8,
    int16,
    int32,
    int64,
    nan,
    newaxis,
    pi,
    uint8,
    uint16,
    uint32,
    uint64,
)

from workbench.functional.numpy import (
    bits,
    contraction,
    creation,
    elementwise,
    fft,
    indexing,
    linalg,
    lookup,
    neural,
    ordering,
    parts,
    products,
    reductions,
    shaping,
    updates,
)
from workbench.functional.numpy import operators as _operators  # Attaches them.
from workbench.functional.numpy.bits import *  # noqa: F403
from workbench.functional.numpy.contraction import *  # noqa: F403
from workbench.functional.numpy.creation import *  # noqa: F403
from workbench.functional.numpy.elementwise import *  # noqa: F403
from workbench.functional.numpy.fft import imag, real
from workbench.functional.numpy.indexing import *  # noqa: F403
from workbench.functional.numpy.lookup import *  # noqa: F403
from workbench.functional.numpy.neural import *  # noqa: F403
from workbench.functional.numpy.ordering import *  # noqa: F403
from workbench.functional.numpy.parts import *  # noqa: F403
from workbench.functional.numpy.products import *  # noqa: F403
from workbench.functional.numpy.reductions import *  # noqa: F403
from workbench.functional.numpy.shaping import *  # noqa: F403
from workbench.functional.numpy.updates import *  # noqa: F403

del _operators

__all__ = [
    *bits.__all__, *contraction.__all__, *creation.__all__, *elementwise.__all__,
    *indexing.__all__, *lookup.__all__, *neural.__all__, *ordering.__all__, *parts.__all__,
    *products.__all__, *reductions.__all__, *shaping.__all__, *updates.__all__,
    "bool_", "e", "euler_gamma", "fft", "float32", "float64", "imag", "inf", "int8", "int16", "int32",
    "int64", "linalg", "nan", "newaxis", "pi", "real", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip
