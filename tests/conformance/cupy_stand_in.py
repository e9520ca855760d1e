"""A stand-in for CuPy, so that what is written for a GPU runs, and is refused, without one.

Its arrays keep NumPy's numbers, but know only what CuPy's know.  :data:`FUNCTIONS` and
:data:`METHODS` were read off CuPy 13.3, the oldest version that the package allows, and
compared with 14.2.  As in CuPy, NumPy's functions are answered by the function of that name
in CuPy's own signature; host arrays do not mix with the device's; reductions give arrays
without axes; and nothing becomes a host array but through ``get``, ``item`` and their like,
each of which is noted in :data:`reads`.
"""

import inspect
import itertools
import math
import sys
import types
from contextlib import contextmanager

import numpy as np
import pytest

from workbench import arrays

FUNCTIONS = """
all(a, axis=None, out=None, keepdims=False)
any(a, axis=None, out=None, keepdims=False)
arange(start, stop=None, step=1, dtype=None)
argmax(a, axis=None, dtype=None, out=None, keepdims=False)
argmin(a, axis=None, dtype=None, out=None, keepdims=False)
argsort(a, axis=-1, kind=None)
argwhere(a)
array(obj, dtype=None, copy=True, order='K', subok=False, ndmin=0, *, blocking=False)
asarray(a, dtype=None, order=None, *, blocking=False)
bincount(x, weights=None, minlength=None)
broadcast_to(array, shape)
clip(a, a_min, a_max, out=None)
concatenate(tup, axis=0, out=None, *, dtype=None, casting='same_kind')
copyto(dst, src, casting='same_kind', where=None)
count_nonzero(a, axis=None)
cumprod(a, axis=None, dtype=None, out=None)
cumsum(a, axis=None, dtype=None, out=None)
diff(a, n=1, axis=-1, prepend=None, append=None)
dot(a, b, out=None)
einsum(*operands, optimize=False)
empty(shape, dtype=float, order='C')
empty_like(prototype, dtype=None, order='K', subok=None, shape=None)
expand_dims(a, axis)
eye(N, M=None, k=0, dtype=float, order='C')
flatnonzero(a)
flip(a, axis=None)
full(shape, fill_value, dtype=None, order='C')
full_like(a, fill_value, dtype=None, order='K', subok=None, shape=None)
max(a, axis=None, out=None, keepdims=False)
mean(a, axis=None, dtype=None, out=None, keepdims=False)
min(a, axis=None, out=None, keepdims=False)
moveaxis(a, source, destination)
nan_to_num(x, copy=True, nan=0.0, posinf=None, neginf=None)
ndim(a)
nonzero(a)
ones(shape, dtype=float, order='C')
ones_like(a, dtype=None, order='K', subok=None, shape=None)
pad(array, pad_width, mode='constant', **kwargs)
prod(a, axis=None, dtype=None, out=None, keepdims=False)
ravel(a, order='C')
repeat(a, repeats, axis=None)
reshape(a, newshape, order='C')
result_type(*arrays_and_dtypes)
roll(a, shift, axis=None)
round(a, decimals=0, out=None)
searchsorted(a, v, side='left', sorter=None)
shape(a)
split(ary, indices_or_sections, axis=0)
squeeze(a, axis=None)
stack(tup, axis=0, out=None, *, dtype=None, casting='same_kind')
sum(a, axis=None, dtype=None, out=None, keepdims=False)
swapaxes(a, axis1, axis2)
take(a, indices, axis=None, out=None)
take_along_axis(a, indices, axis)
tensordot(a, b, axes=2)
tile(A, reps)
transpose(a, axes=None)
tri(N, M=None, k=0, dtype=float)
tril(m, k=0)
triu(m, k=0)
where(condition, x=None, y=None)
zeros(shape, dtype=float, order='C')
zeros_like(a, dtype=None, order='K', subok=None, shape=None)
linalg.cholesky(a)
linalg.det(a)
linalg.eigh(a, UPLO='L')
linalg.eigvalsh(a, UPLO='L')
linalg.inv(a)
linalg.pinv(a, rcond=1e-15)
linalg.slogdet(a)
linalg.solve(a, b)
linalg.svd(a, full_matrices=True, compute_uv=True)
"""

METHODS = """
all(axis=None, out=None, keepdims=False)
any(axis=None, out=None, keepdims=False)
argmax(axis=None, out=None, dtype=None, keepdims=False)
astype(dtype, order='K', casting=None, subok=None, copy=True)
copy(order='C')
cumsum(axis=None, dtype=None, out=None)
dot(b, out=None)
fill(value)
max(axis=None, out=None, keepdims=False)
mean(axis=None, dtype=None, out=None, keepdims=False)
min(axis=None, out=None, keepdims=False)
prod(axis=None, dtype=None, out=None, keepdims=None)
ravel(order='C')
reshape(*shape, order='C')
squeeze(axis=None)
sum(axis=None, dtype=None, out=None, keepdims=False)
swapaxes(axis1, axis2)
take(indices, axis=None, out=None)
transpose(*axes)
view(dtype=None, array_class=None)
"""

UFUNCS = set(
    "absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or "
    "bitwise_xor cbrt ceil copysign cos cosh divide equal exp exp2 expm1 floor floor_divide fmod "
    "greater greater_equal heaviside hypot invert isfinite isinf isnan less less_equal log log10 "
    "log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul maximum minimum "
    "multiply negative not_equal positive power reciprocal remainder rint sign sin sinh sqrt "
    "square subtract tan tanh true_divide trunc".split()
)

reads = []
"""What was read back to the host, in order: the name of the method or function."""

raising = [False]
"""Whether linear algebra looks at the solver's status: the last is what counts."""


def _signatures(text):
    made = {}
    for line in text.strip().splitlines():
        name, arguments = line[:-1].split("(", 1)
        made[name] = inspect.signature(eval(f"lambda {arguments}: None"))
    return made


FUNCTIONS, METHODS = _signatures(FUNCTIONS), _signatures(METHODS)


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Memory that NumPy cannot see."""

    def __init__(self, memory, base=None):
        self.memory, self.base = memory, base

    # --- what NumPy asks -------------------------------------------------------------------

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if ufunc.__name__ not in UFUNCS or method != "__call__" or set(options) - {"dtype"}:
            return NotImplemented
        for each in (*inputs, *(out or ())):
            if not isinstance(each, DeviceArray | bool | int | float | np.generic):
                raise TypeError(f"Unsupported type {type(each)}")
        if out:
            ufunc(*unwrap(inputs), out=unwrap(out), **options)
            return out[0]
        return wrap(ufunc(*unwrap(inputs), **options))

    def __array_function__(self, function, types, args, kwargs):
        name = f"{function.__module__}.{function.__name__}".removeprefix("numpy.")
        if name not in FUNCTIONS:
            return NotImplemented
        return call(name, function, args, kwargs)

    # --- what it knows ---------------------------------------------------------------------

    shape = property(lambda self: self.memory.shape)
    ndim = property(lambda self: self.memory.ndim)
    size = property(lambda self: self.memory.size)
    dtype = property(lambda self: self.memory.dtype)
    itemsize = property(lambda self: self.memory.itemsize)
    nbytes = property(lambda self: self.memory.nbytes)
    strides = property(lambda self: self.memory.strides)
    T = property(lambda self: self.transpose())

    @property
    def flags(self):
        flags = self.memory.flags
        return types.SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata
        )

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.memory.ctypes.data)

    def __getattr__(self, name):
        if name not in METHODS:
            raise AttributeError(f"'ndarray' object has no attribute {name!r}")

        def method(*args, **kwargs):
            METHODS[name].bind(*args, **kwargs)
            no_host_arrays((args, kwargs))
            result = getattr(self.memory, name)(*unwrap(args), **unwrap(kwargs))
            return self if result is self.memory else wrap(result, self)

        return method

    def __len__(self):
        return len(self.memory)

    def __iter__(self):
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index):
        no_host_arrays(index)
        if has_mask(index):
            reads.append("mask")
        return wrap(self.memory[unwrap(index)], self)

    def __setitem__(self, index, value):
        no_host_arrays((index, value))
        self.memory[unwrap(index)] = unwrap(value)

    # --- what comes back to the host ---------------------------------------------------------

    def get(self, stream=None, order="C", out=None, blocking=True):
        return self._read("get", self.memory.copy())

    def set(self, array, stream=None):
        assert (array.shape, array.dtype) == (self.shape, self.dtype)
        stream.log.append(f"{stream.name} copy")
        self.memory[...] = array

    def item(self):
        return self._read("item", self.memory.item())

    def tolist(self):
        return self._read("tolist", self.memory.tolist())

    def __bool__(self):
        return self._read("bool", bool(self.memory))

    def __int__(self):
        return self._read("int", int(self.memory))

    def __index__(self):
        return self._read("index", self.memory.__index__())

    def __float__(self):
        return self._read("float", float(self.memory))

    def __repr__(self):
        return self._read("repr", repr(self.memory))

    def __format__(self, text):
        return self._read("format", format(self.memory, text))

    @staticmethod
    def _read(how, result):
        reads.append(how)
        return result


def wrap(result, *sources):
    """Return what NumPy answered as CuPy would: also a scalar is an array on the device."""
    if isinstance(result, np.generic):
        return DeviceArray(np.asarray(result))
    if isinstance(result, np.ndarray):
        for each in sources:
            if np.may_share_memory(result, each.memory):
                return DeviceArray(result, each if each.base is None else each.base)
        return DeviceArray(result)
    if isinstance(result, tuple):
        return tuple(wrap(each, *sources) for each in result)
    return result


def unwrap(thing):
    if isinstance(thing, DeviceArray):
        return thing.memory
    if type(thing) in (tuple, list):
        return type(thing)(map(unwrap, thing))
    if isinstance(thing, dict):
        return {key: unwrap(value) for key, value in thing.items()}
    return thing


def arrays_in(thing, kind=DeviceArray):
    if isinstance(thing, kind):
        yield thing
    elif isinstance(thing, tuple | list | dict):
        for each in thing.values() if isinstance(thing, dict) else thing:
            yield from arrays_in(each, kind)


def has_mask(index):
    return any(each.dtype == bool for each in arrays_in(index))


def no_host_arrays(thing):
    """Refuse NumPy's arrays; where CuPy would copy them to the device, it would be silent."""
    for each in arrays_in(thing, np.ndarray):
        raise TypeError(f"Unsupported type {type(each)}")


def call(name, function, args, kwargs):
    """Answer a function as CuPy would, in the signature of its own."""
    bound = FUNCTIONS[name].bind(*args, **kwargs)
    if name not in ("array", "asarray"):
        no_host_arrays((args, kwargs))
    given = bound.arguments
    if name == "argsort" and given.get("kind") not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")
    if name == "where":
        assert isinstance(args[0], DeviceArray), "the condition is asked for astype"
    if name == "repeat":
        assert not isinstance(given["repeats"], DeviceArray)
    if name == "clip":
        assert not given["a_min"] is given["a_max"] is None, "must set either max or min"
    if name == "linalg.solve":
        a, b = given["a"], given["b"]
        assert a.shape[:-1] == b.shape[: a.ndim - 1], "it does not broadcast"
        assert a.ndim == b.ndim, "what one axis less means depends on the version"
    if name in ("flatnonzero", "nonzero", "argwhere"):
        reads.append(name)
    if name.startswith("linalg.") and raising[-1]:
        reads.append("linalg")
    out = kwargs.get("out")
    kwargs = {key: value for key, value in kwargs.items() if key != "blocking"}
    try:
        result = function(*unwrap(args), **unwrap(kwargs))
    except np.linalg.LinAlgError:
        if raising[-1]:
            raise
        result = np.full_like(unwrap(args[-1]), np.nan)
    if out is not None:
        return out
    if isinstance(result, list):
        return [wrap(each, *arrays_in(args)) for each in result]
    if isinstance(result, tuple):  # Also one with names.
        return wrap(tuple(result))
    return wrap(result, *arrays_in((args, kwargs)))


class CUDARuntimeError(RuntimeError):
    """As ``cupy.cuda.runtime`` names it."""


class Stream:
    """Notes what it is asked to do; everything is done at once."""

    def __init__(self, name, log):
        self.name, self.log, self.number = name, log, itertools.count()

    def synchronize(self):
        self.log.append("synchronize")

    def record(self):
        event = f"{self.name} {next(self.number)}"
        self.log.append(f"record {event}")
        return Event(event, self.log)

    def wait_event(self, event):
        self.log.append(f"{self.name} wait for {event.name}")


class Event:
    def __init__(self, name, log):
        self.name, self.log = name, log

    def synchronize(self):
        self.log.append(f"host waits for {self.name}")


class Generator:
    """Random numbers on the device."""

    def __init__(self, seed=None):
        self.source = np.random.default_rng(seed)

    def random(self, size=None, dtype=np.float64, out=None):
        return wrap(self.source.random(size, dtype))

    def standard_normal(self, size=None, dtype=np.float64, out=None):
        return wrap(self.source.standard_normal(size, dtype))


def stand_in(count=1, problem=None):
    """Build modules ``cupy`` and ``cupyx`` that see ``count`` GPUs.

    ``cupy.log`` keeps what streams are asked to do.
    """
    log: list[str] = []
    computing = Stream("computing", log)

    def get_device_count():
        if problem:
            raise CUDARuntimeError(problem)
        return count

    class MemoryPool:
        taken = 0

        def malloc(self, size):
            self.taken += size

        def total_bytes(self):
            return self.taken

    @contextmanager
    def using_allocator(malloc):
        cupy.malloc = malloc
        yield
        del cupy.malloc

    cupy = types.ModuleType("cupy")
    cupy.__version__, cupy.ndarray, cupy.log = "13.3.0", DeviceArray, log
    for name in FUNCTIONS:
        if "." not in name:
            function = getattr(np, name)
            setattr(cupy, name, lambda *a, name=name, function=function, **k:
                    call(name, function, a, k))  # fmt: skip

    def placed(name):
        def place(a, *args, **kwargs):
            log.append("blocking" if kwargs.get("blocking") else "queued")
            if name == "asarray" and isinstance(a, DeviceArray) and not args:
                return a
            return call(name, np.array, (a, *args), kwargs)

        return place

    cupy.array, cupy.asarray = placed("array"), placed("asarray")
    cupy.lib = types.SimpleNamespace(
        stride_tricks=types.SimpleNamespace(
            as_strided=lambda x, shape=None, strides=None: wrap(
                np.lib.stride_tricks.as_strided(x.memory, shape, strides), x
            )
        )
    )
    cupy.random = types.SimpleNamespace(Generator=Generator, default_rng=Generator)
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(
            getDeviceCount=get_device_count,
            CUDARuntimeError=CUDARuntimeError,
            getDeviceProperties=lambda number: {"name": b"Stand-in 1"},
        ),
        get_current_stream=lambda: computing,
        Stream=lambda non_blocking: Stream("copies", log),
        MemoryPool=MemoryPool,
        using_allocator=using_allocator,
    )
    cupyx = types.ModuleType("cupyx")
    cupyx.scatter_add = scatter_add

    @contextmanager
    def errstate(*, linalg):
        raising.append(linalg == "raise")
        try:
            yield
        finally:
            raising.pop()

    def empty_pinned(shape, dtype=float, order="C"):
        log.append("pinned")
        return np.empty(shape, dtype, order)

    cupyx.errstate, cupyx.empty_pinned = errstate, empty_pinned
    special = types.ModuleType("cupyx.scipy.special")
    special.erf, special.erfc = (
        (lambda x, f=f: wrap(np.vectorize(f, [x.dtype.char])(x.memory)))
        for f in (math.erf, math.erfc)
    )
    cupyx.scipy = types.ModuleType("cupyx.scipy")
    cupyx.scipy.special = special
    return cupy, cupyx


def scatter_add(target, index, values):
    assert not isinstance(values, np.ndarray)
    if target.dtype.kind != "f":
        raise TypeError("cupy.add.at only supports int32, float16, float32, float64, ...")
    np.add.at(target.memory, unwrap(index), unwrap(values))


@contextmanager
def installed(cupy, cupyx=None):
    """Have ``import cupy`` find the given module; None stands for nothing."""
    with pytest.MonkeyPatch.context() as patch:
        scipy = getattr(cupyx, "scipy", None)
        for name, module in {
            "cupy": cupy, "cupyx": cupyx, "cupyx.scipy": scipy,
            "cupyx.scipy.special": getattr(scipy, "special", None),
        }.items():  # fmt: skip
            patch.setitem(sys.modules, name, module)
        arrays.gpu_problem.cache_clear()
        reads.clear()
        yield cupy
    arrays.gpu_problem.cache_clear()
