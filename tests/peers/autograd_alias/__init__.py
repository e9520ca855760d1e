"""HIPS autograd's names over era 4, so that autograd's own test suite can judge it.

Loaded as a plugin of pytest (``-p autograd_alias``) it stands in for the package ``autograd``.
Names are mapped and arguments rearranged; nothing is computed here that era 4 does not
compute, except the quotients that ``check_grads`` compares with.  Complex arguments enter as
their two real parts, since era 4 differentiates with respect to real numbers.
"""

import builtins
import functools
import itertools
import sys
import types

import numpy as onp
import scipy.stats

from workbench import functional
from workbench.functional import numpy as fnp

EPS = TOL = 1e-6  # The suite's own.
RNG = onp.random.default_rng(0)

PLAIN = {"__version__", "random", "ndarray", "ndim", "shape", "size", "isscalar", "iscomplexobj",
         "isrealobj", "r_", "c_", "s_", "index_exp", "float16", "longdouble", "clongdouble",
         "complex64", "complex128", "dtype", "lib"}  # fmt: skip
"""What is NumPy's own on both sides: kinds, questions about shapes, ways to write an index."""


class Absent:
    """A name of autograd's that era 4 has nothing for: it can be imported, not called."""

    def __init__(self, name):
        self.__name__ = name

    def __getattr__(self, name):
        return Absent(f"{self.__name__}.{name}")

    def __call__(self, *args, **kwargs):
        name, _, method = self.__name__.rpartition(".")
        if method == "rvs":  # A sample, to test with.
            return getattr(scipy.stats, name).rvs(*args, **kwargs)
        raise NotImplementedError(f"era 4 does without {self.__name__}")


def lookup(home, plain=frozenset(), absent=False):
    def find(name):
        if name in plain:
            return getattr(onp, name)
        if name.startswith("__") or not hasattr(home, name):
            if absent and not name.startswith("__"):
                return Absent(name)
            raise AttributeError(f"era 4 has no {name}")
        return getattr(home, name)

    return find


# --- real numbers in, real numbers out ---------------------------------------------------------


def is_complex(x):
    return getattr(x, "dtype", onp.asarray(0 if hasattr(x, "aval") else x).dtype).kind == "c"


def parts(tree):
    """Return the real leaves of a tree, two for a complex one, and how to go back."""
    leaves, treedef = functional.tree_flatten(tree)
    pairs = [is_complex(x) for x in leaves]
    real = [
        part if pair or hasattr(part, "aval") else onp.float64(part) if onp.ndim(part) == 0
        else onp.asarray(part)
        for x, pair in zip(leaves, pairs, strict=True)
        for part in ((fnp.real(x), fnp.imag(x)) if pair else (x,))
    ]  # fmt: skip

    def back(values):
        values = iter(values)
        return functional.tree_unflatten(treedef, [
            fnp.fft.as_complex(next(values)) + 1j * next(values) if pair else next(values)
            for pair in pairs
        ])  # fmt: skip

    return real, back


def in_one(f, argnum, args, kwargs):
    """Return f as a function of the arguments at ``argnum`` alone, and those."""
    several = isinstance(argnum, list | tuple)

    def one(x):
        full = builtins.list(args)
        for n, each in zip(argnum if several else [argnum], x if several else [x], strict=True):
            full[n] = each
        return f(*full, **kwargs)

    return one, builtins.tuple(args[n] for n in argnum) if several else args[argnum]


def nary(operator):
    """Let ``operator(f, x)`` be written ``operator(f, argnum)(*args)``, as all of autograd's."""

    @functools.wraps(operator)
    def with_argnum(f, argnum=0, *more, **options):
        def of_args(*args, **kwargs):
            return operator(*in_one(f, argnum, args, kwargs), *more, **options)

        return of_args

    return with_argnum


def number(f):
    """Return f, its result of one element made a number."""

    def scalar(*args):
        y = f(*args)
        return fnp.reshape(y, ()) if getattr(y, "size", 0) == 1 else y

    return scalar


grad = nary(lambda f, x: functional.grad(number(f))(x))
value_and_grad = nary(lambda f, x: functional.value_and_grad(number(f))(x))
grad_and_aux = nary(lambda f, x: functional.grad(f, has_aux=True)(x))
elementwise_grad = nary(lambda f, x: functional.grad(lambda x: fnp.sum(f(x)))(x))
deriv = nary(lambda f, x: functional.jvp(f, (x,), (fnp.ones_like(x),))[1])
jacobian = nary(lambda f, x: functional.jacrev(f)(x))
hessian = nary(lambda f, x: functional.jacrev(functional.jacrev(f))(x))
make_jvp = nary(lambda f, x: lambda v: functional.jvp(f, (x,), (v,)))


def plain_vjp(f, x):
    y, pull = functional.vjp(f, x)
    return lambda g: pull(g)[0], y


make_vjp = nary(plain_vjp)
make_hvp = nary(lambda f, x: plain_vjp(functional.grad(f), x))


def hessian_tensor_product(f, argnum=0):
    def product(*args):
        one, x = in_one(f, argnum, args[:-1], {})
        return functional.jvp(functional.grad(one), (x,), (args[-1],))[1]

    return product


def tensor_jacobian_product(f, argnum=0):
    def product(*args):
        one, x = in_one(f, argnum, args[:-1], {})
        v = args[-1]
        return functional.jacrev(lambda x: fnp.tensordot(v, one(x), onp.ndim(v)))(x)

    return product


def make_ggnvp(f, g=lambda y: 0.5 * fnp.dot(y, y)):
    def at(x):
        def product(v):
            y, t = functional.jvp(f, (x,), (v,))
            return functional.vjp(f, x)[1](functional.jvp(functional.grad(g), (y,), (t,))[1])[0]

        return product

    return at


# --- primitives of one's own -------------------------------------------------------------------


class Primitive:
    """A function with a derivative of its own: era 4's ``custom_vjp`` and ``custom_jvp``."""

    def __init__(self, f):
        self.f, self.__name__ = f, getattr(f, "__name__", "function")
        self.vjps = self.jvps = None

    def __call__(self, *args, **kwargs):
        if self.vjps is None and self.jvps is None:
            if any(hasattr(x, "aval") for x in args):
                raise NotImplementedError(f"{self.__name__} has no derivative")
            return self.f(*args, **kwargs)
        if self.jvps is not None:
            f = functional.custom_jvp(lambda *args: self.f(*args, **kwargs))
            f.defjvp(lambda xs, ts: (f(*xs), sum(
                rule(t, f(*xs), *xs, **kwargs)
                for rule, t in zip(self.jvps, ts, strict=True) if rule is not None)))  # fmt: skip
            return f(*args)

        def forward(*args):
            y = self.f(*args, **kwargs)
            return y, (y, args)

        def backward(saved, g):
            return builtins.tuple(
                rule and rule(saved[0], *saved[1], **kwargs)(g) for rule in self.vjps
            )

        f = functional.custom_vjp(lambda *args: self.f(*args, **kwargs))
        f.defvjp(forward, backward)
        return f(*args)


def defvjp(primitive, *rules):
    primitive.vjps = rules


def defjvp(primitive, *rules):
    primitive.jvps = rules


def flatten(tree):
    """Return all numbers of a tree as one vector, and how to go back."""
    leaves, treedef = functional.tree_flatten(tree)
    shapes = [onp.shape(x) for x in leaves]
    cuts = onp.cumsum([0] + [int(onp.prod(shape)) for shape in shapes])

    def unflatten(vector):
        return functional.tree_unflatten(treedef, [
            fnp.reshape(vector[start:stop], shape)
            for start, stop, shape in zip(cuts, cuts[1:], shapes, strict=False)
        ])  # fmt: skip

    empty = onp.zeros(0)
    return fnp.concatenate([empty, *[fnp.ravel(x) for x in leaves]]), unflatten


# --- the suite's checks ------------------------------------------------------------------------


def close(a, b):
    return abs(a - b) < TOL or abs(a - b) / abs(a + b) < TOL


def inner(xs, ys):
    return sum(float(onp.sum(onp.asarray(x) * onp.asarray(y)))
               for x, y in zip(xs, ys, strict=True))  # fmt: skip


def like(xs):
    return [onp.asarray(RNG.standard_normal(onp.shape(x)), onp.asarray(x).dtype)[()] for x in xs]


def check_real(f, xs, modes, order, name):
    """Hold jvp and vjp of a function of real arrays to a quotient along a random direction."""
    v = like(xs)

    def shifted(by):
        return f(*[x + by * t for x, t in zip(xs, v, strict=True)])

    ahead, behind = shifted(EPS / 2), shifted(-EPS / 2)
    g = like(ahead)
    slope = (inner(g, ahead) - inner(g, behind)) / EPS
    for mode in modes:
        if mode == "fwd":
            found = inner(g, functional.jvp(f, xs, v)[1])
        else:
            found = inner(v, functional.vjp(f, *xs)[1](g))
        kind = {"fwd": "JVP", "rev": "VJP"}[mode]
        assert close(found, slope), f"Derivative ({kind}) check of {name} failed: {found}, {slope}"
        if order > 1:
            n = len(xs)

            def derivative(*values, mode=mode, n=n):
                if mode == "fwd":
                    return functional.jvp(f, values[:n], values[n:])[1]
                return list(functional.vjp(f, *values[:n])[1](list(values[n:])))

            more = [*xs, *(v if mode == "fwd" else g)]
            check_real(derivative, more, modes, order - 1, f"{kind.lower()}_{name}")


def check_grads(f, argnum=0, modes=("fwd", "rev"), order=2):
    def check(*args, **kwargs):
        one, x = in_one(f, argnum, args, kwargs)
        xs, back = parts(x)
        name = getattr(f, "__name__", "function")
        check_real(lambda *leaves: parts(one(back(leaves)))[0], xs, modes, order, name)

    return check


def combo_check(f, *how, **options):
    def check(*args, **kwargs):
        chosen = [[(name, value) for value in values] for name, values in kwargs.items()]
        for some in itertools.product(*args):
            for given in itertools.product(*chosen):
                check_grads(f, *how, **options)(*some, **builtins.dict(given))

    return check


def check_equivalent(x, y):
    (xs, _), (ys, _) = parts(x), parts(y)
    for a, b in zip(xs, ys, strict=True):
        onp.testing.assert_allclose(a, b, rtol=TOL, atol=TOL)
        assert onp.shape(a) == onp.shape(b)


# --- the package -------------------------------------------------------------------------------


def make_dict(*args, **kwargs):
    return builtins.dict(*args, **kwargs)


def package():
    """Return name -> module for everything that autograd's suite imports."""
    special = lookup(
        types.SimpleNamespace(
            erf=fnp.erf, erfc=fnp.erfc, expit=fnp.sigmoid, logit=fnp.logit, logsumexp=fnp.logsumexp
        ),
        absent=True,
    )
    spla = lookup(types.SimpleNamespace(solve_triangular=fnp.linalg.solve_triangular), absent=True)
    gone = lookup(types.SimpleNamespace(), absent=True)
    transforms = {
        name: globals()[name]
        for name in (
            "grad value_and_grad grad_and_aux elementwise_grad deriv jacobian hessian make_jvp "
            "make_vjp make_hvp hessian_tensor_product tensor_jacobian_product make_ggnvp"
        ).split()
    }
    containers = {"dict": builtins.dict, "list": builtins.list, "tuple": builtins.tuple,
                  "isinstance": builtins.isinstance}  # fmt: skip
    contents = {
        "": {**transforms, **containers, "checkpoint": functional.checkpoint,
             "holomorphic_grad": Absent("holomorphic_grad")},
        ".numpy": {"__getattr__": lookup(fnp, PLAIN)}, ".numpy.random": vars(onp.random),
        ".numpy.linalg": {"__getattr__": lookup(fnp.linalg)},
        ".numpy.fft": {"__getattr__": lookup(fnp.fft)},
        ".builtins": containers, ".core": {
            "make_vjp": plain_vjp, "primitive": Primitive, "vspace": Absent("vspace"), "primitive_vjps": {}},
        ".extend": {"primitive": Primitive, "defvjp": defvjp, "defjvp": defjvp},
        ".tracer": {"primitive": Primitive, "isbox": lambda x: hasattr(x, "aval")},
        ".wrap_util": {"unary_to_nary": nary}, ".util": {"quick_grad_check": Absent("quick_grad_check")},
        ".misc": {"const_graph": Absent("const_graph"), "flatten": flatten},
        ".test_util": {"check_grads": check_grads, "combo_check": combo_check,
                       "check_equivalent": check_equivalent, "scalar_close": close},
        ".scipy": {}, ".scipy.special": {"__getattr__": special},
        ".scipy.linalg": {"__getattr__": spla}, ".scipy.stats": {"__getattr__": gone},
        ".scipy.stats.multivariate_normal": {"__getattr__": gone},
        ".scipy.signal": {"__getattr__": gone}, ".scipy.integrate": {"__getattr__": gone},
    }  # fmt: skip
    modules = {}
    for name, names in contents.items():
        module = modules[f"autograd{name}"] = types.ModuleType(f"autograd{name}")
        module.__path__ = []
        vars(module).update({k: v for k, v in names.items() if not k.startswith("__n")
                             and k not in {"__name__", "__spec__", "__path__"}})  # fmt: skip
        parent, _, last = f"autograd{name}".rpartition(".")
        if parent:
            setattr(modules[parent], last, module)
    return modules


sys.modules.update(package())
