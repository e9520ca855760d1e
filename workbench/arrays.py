"""Arrays on the host and on the device; the only file that names CuPy.

Ops elsewhere are written once, in NumPy's words.  CuPy arrays answer NumPy's
functions themselves, through ``__array_ufunc__`` (NEP 13) and
``__array_function__`` (NEP 18), so what is left for this file is placement,
transfers, and the few operations that the two libraries spell differently.

Nothing here copies between host and device unless its name says so.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from workbench.errors import (
    DeviceError,
    DtypeError,
    OptionError,
    ShapeError,
    install_line,
    unknown_name,
)

Array: TypeAlias = Any
"""A NumPy or CuPy array.  (CuPy may be absent, so no type can name both.)"""

DEVICES = ("cpu", "gpu")


@functools.cache
def gpu_problem() -> str | None:
    """Say why no GPU can be used, or return None when one can.

    Returns
    -------
    str or None
        One line, fit to show a user: what is missing and what installs it.
    """
    try:
        import cupy
    except ImportError:
        return f"CuPy is not installed: {install_line('gpu')}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy is installed but sees no GPU: {error}"
    return None if count else "CuPy is installed but sees no GPU"


def has_gpu() -> bool:
    """Return whether arrays can be placed on ``"gpu"``."""
    return gpu_problem() is None


def gpu_description() -> str:
    """Return what GPU there is, and the CuPy that reaches it."""
    check_device("gpu", "gpu_description")
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return f"{name}, CuPy {cupy.__version__}"


def namespace(*arrays: Array) -> ModuleType:
    """Return the module that made these arrays: NumPy, or CuPy if any is on the GPU.

    For constructors only (``zeros``, ``arange``); functions *of* an array dispatch
    by themselves when called from NumPy.
    """
    cupy = sys.modules.get("cupy")  # If nobody has imported CuPy, no array is CuPy's.
    if cupy is not None and any(isinstance(array, cupy.ndarray) for array in arrays):
        return cupy
    return np


def device_of(array: Array) -> str:
    """Return ``"gpu"`` for a CuPy array and ``"cpu"`` for everything else."""
    return "cpu" if namespace(array) is np else "gpu"


def check_device(device: str, where: str = "arrays") -> str:
    """Return ``device`` if arrays can be placed on it.

    Raises
    ------
    UnknownNameError
        For a name other than ``"cpu"`` or ``"gpu"``.
    DeviceError
        For ``"gpu"`` where there is none, with the reason.
    """
    if device not in DEVICES:
        raise unknown_name(where, "device", device, DEVICES)
    if device == "gpu" and (problem := gpu_problem()):
        raise DeviceError(where, "there is no GPU to use", given="device 'gpu'", fix=problem)
    return device


def to_device(array: Array, device: str, non_blocking: bool = False) -> Array:
    """Return the array on ``device``; the same object if it is there already.

    Parameters
    ----------
    array : array
    device : {"cpu", "gpu"}
    non_blocking : bool
        Return before a copy to the GPU is done.  What runs there waits for it by itself.
        CuPy first copies ordinary memory into pinned buffers of its own, but reads from a
        pinned array (see :func:`pin`) later: leave it as it is until :func:`synchronize`.
        A copy to the host is always waited for.

    Raises
    ------
    UnknownNameError, DeviceError
        As :func:`check_device`.
    """
    check_device(device, "to_device")
    if device == "cpu":
        return to_host(array)
    import cupy

    return cupy.asarray(array, blocking=not non_blocking)


def pin(array: Array) -> npt.NDArray[Any]:
    """Return a copy of a host array in pinned (page-locked) memory, in C order.

    The GPU reads such memory by itself, while the host goes on.

    Raises
    ------
    DeviceError
        Where there is no GPU.
    """
    check_device("gpu", "pin")
    import cupyx

    pinned = cupyx.empty_pinned(array.shape, array.dtype) if array.size else np.empty_like(array)
    pinned[...] = array
    return pinned


def ahead(batches: Iterable[Sequence[Array]], device: str) -> Iterator[list[Array]]:
    """Yield batches on ``device``, each copied there while the one before is computed with.

    Parameters
    ----------
    batches : iterable of sequences of host arrays
        On the way there are two batches at a time, through pinned memory.
    device : {"cpu", "gpu"}

    Yields
    ------
    list of array

    Raises
    ------
    UnknownNameError, DeviceError
        As :func:`check_device`.
    """
    if check_device(device, "ahead") == "cpu":
        yield from map(list, batches)
        return
    import cupy

    copies, waiting = cupy.cuda.Stream(non_blocking=True), None
    for batch in batches:
        # The memory belongs to the stream that computes: what is queued there now may still
        # use what it held before, so the copy waits for that, and for nothing later.
        arrived = [cupy.empty(each.shape, each.dtype) for each in batch]
        copies.wait_event(cupy.cuda.get_current_stream().record())
        pinned = [pin(each) for each in batch]
        for there, here in zip(arrived, pinned, strict=True):
            there.set(here, stream=copies)
        queued = arrived, pinned, copies.record()  # Pinned memory has to live until then.
        if waiting is not None:
            waiting[2].synchronize()
            yield waiting[0]
        waiting = queued
    if waiting is not None:
        waiting[2].synchronize()
        yield waiting[0]


def generator(seed: int | None, device: str = "cpu") -> Any:
    """Return a source of random numbers, seeded, that draws them on ``device``.

    NumPy's ``Generator``, or CuPy's, which has ``random``, ``standard_normal``, ``integers``
    and some more of its methods.  One seed gives other numbers on another device.

    Raises
    ------
    UnknownNameError, DeviceError
        As :func:`check_device`.
    """
    if check_device(device, "generator") == "cpu":
        return np.random.default_rng(seed)
    import cupy

    return cupy.random.default_rng(seed)


def to_host(array: Array) -> npt.NDArray[Any]:
    """Return the array as NumPy's, copying from the device if it is there."""
    return np.asarray(array.get() if device_of(array) == "gpu" else array)


def synchronize(device: str) -> None:
    """Wait for all work queued on ``device``; returns at once for ``"cpu"``."""
    if device == "gpu":
        check_device(device, "synchronize")
        import cupy

        cupy.cuda.get_current_stream().synchronize()


def gpu_peak_bytes(work: Callable[[], object]) -> int:
    """Return the most device memory, in bytes, that ``work`` took from a fresh pool."""
    check_device("gpu", "gpu_peak_bytes")
    import cupy

    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        work()
        synchronize("gpu")
        return int(pool.total_bytes())  # A pool gives nothing back until asked to.


def linalg_errors(array: Array) -> AbstractContextManager[Any]:
    """Have linear algebra on the device of ``array`` raise LinAlgError, as NumPy's does.

    CuPy's returns NaN or nonsense for a singular matrix unless asked: to raise, it reads the
    solver's status back to the host.
    """
    if namespace(array) is np:
        return nullcontext()
    import cupyx

    return cupyx.errstate(linalg="raise")


def byte_bounds(array: Array) -> tuple[int, int]:
    """Return the addresses of the array's first byte and of the one after its last."""
    low = high = array.ctypes.data if namespace(array) is np else array.data.ptr
    for length, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0:
            low += (length - 1) * stride
        else:
            high += (length - 1) * stride
    return (low, high + array.itemsize) if array.size else (low, low)


def ones(length: int, like: Array) -> Array:
    """Return a vector of ones, not to be written to, of the dtype and on the device of ``like``.

    ``x.dot(ones)`` sums the rows of x: a product starts in half a microsecond, where
    NumPy's reductions need two.
    """
    if type(like) is np.ndarray:
        return _host_ones(length, like.dtype)
    return namespace(like).ones(length, like.dtype)


def row_starts(rows: int, length: int, like: Array) -> Array:
    """Return where each row of a (rows, length) array begins in its flat form, as integers.

    Not to be written to; on the device of ``like``.
    """
    if type(like) is np.ndarray:
        return _host_row_starts(rows, length)
    return namespace(like).arange(0, rows * length, length)


@functools.lru_cache(64)
def _host_row_starts(rows: int, length: int) -> npt.NDArray[Any]:
    array = np.arange(rows) * length
    array.flags.writeable = False
    return array


@functools.lru_cache(64)
def _host_ones(length: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    array = np.ones(length, dtype)
    array.flags.writeable = False
    return array


def scatter_add(target: Array, index: Any, values: Array) -> None:
    """Add ``values`` into ``target[index]`` in place; repeated indices accumulate.

    This is the gradient of indexing.  ``target[index] += values`` would be wrong:
    it keeps one addition per distinct index.
    """
    if namespace(target) is np:
        if _are_rows(index) and target.ndim > 1 and target.flags.c_contiguous:
            # NumPy adds to one axis several times as fast as it adds rows.
            size = int(np.prod(target.shape[1:]))
            values = np.broadcast_to(values, (*index.shape, *target.shape[1:])).reshape(-1)
            index = index.reshape(-1, 1).astype(np.intp) * size + np.arange(size)
            target, index = target.reshape(-1), index.reshape(-1)
        np.add.at(target, index, values)
    else:
        import cupyx

        cupyx.scatter_add(target, index, values)


def _are_rows(index: Any) -> bool:
    return isinstance(index, np.ndarray) and index.dtype.kind in "iu"


def erf(x: Array) -> Array:
    """Return the error function, 2 / sqrt(pi) times the integral of exp(-t * t) from 0 to x.

    Relative errors are a few roundings; on the host by the method of :func:`erfc`.
    """
    return _error_function(x, "erf")


def erfc(x: Array) -> Array:
    """Return 1 - erf(x), with a relative error of a few roundings also where it is tiny.

    Notes
    -----
    On the host by the rational approximations of W. J. Cody, "Rational Chebyshev
    approximations for the error function", Mathematics of Computation 23 (1969).
    """
    return _error_function(x, "erfc")


def _error_function(x: Array, name: str) -> Array:
    if namespace(x) is not np:
        from cupyx.scipy import special

        return getattr(special, name)(x)
    x = np.asarray(x)
    work = np.result_type(x, np.float32)
    y = np.empty(x.shape, work if x.dtype.kind != "f" else x.dtype)
    flat, out, step = x.reshape(-1), y.reshape(-1), 1 << 14  # Blocks that stay in cache.
    for k in range(0, x.size, step):
        out[k : k + step] = _cody(flat[k : k + step].astype(work, copy=False), name == "erfc")
    return y


# Numerator and denominator, highest power first: erf(x) / x in x**2 up to 0.46875;
# erfc(x) exp(x**2) in x up to 4; the rest of it beyond 1 / (x sqrt(pi)), in 1 / x**2.
_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
     3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)  # fmt: skip
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
     6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
     1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
     3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_FAR = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346047e0, 5.27905102951428412e-1,
     6.05183413124413191e-2, 2.33520497626869185e-3),
)  # fmt: skip


def _cody(x: Array, complement: bool) -> Array:
    a = np.minimum(np.abs(x), 30)  # Beyond 27, erfc underflows in float64.
    tail, far = _ratio(a, _MIDDLE), np.flatnonzero(a > 4)
    if far.size:
        t = a[far]
        s = 1 / (t * t)
        tail[far] = (1 / math.sqrt(math.pi) - s * _ratio(s, _FAR)) / t
    # a * a rounds, and exp would magnify that: part it into an exact square and the rest.
    exact = np.trunc(a * 16) / 16
    tail *= np.exp(-exact * exact)
    tail *= np.exp((exact - a) * (exact + a))
    near = x * _ratio(np.minimum(a, 0.5) ** 2, _NEAR)
    if complement:
        return np.where(a <= 0.46875, 1 - near, np.where(x < 0, 2 - tail, tail))
    return np.where(a <= 0.46875, near, np.copysign(1 - tail, x))


def _ratio(t: Array, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Array:
    """Return the quotient of two polynomials in t, by Horner's rule."""
    p, q = (c * t for c, *_ in coefficients)
    pairs = list(zip(*coefficients, strict=True))
    for c, d in pairs[1:-1]:
        for total, each in ((p, c), (q, d)):
            total += each
            total *= t
    return (p + pairs[-1][0]) / (q + pairs[-1][1])


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return whether numbers of this dtype have gradients: NumPy does not count bfloat16."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def bfloat16_problem() -> str | None:
    """Say why there is no bfloat16 to compute with, or return None where there is.

    CuPy has it from version 14 on, as the dtype ``ml_dtypes.bfloat16``.  On the host that
    dtype can be stored and converted, but NumPy's products and Python's numbers widen it.
    """
    if problem := gpu_problem():
        return problem
    import cupy

    if int(cupy.__version__.split(".")[0]) < 14:
        return f"CuPy {cupy.__version__} has no bfloat16; version 14 has"
    try:
        importlib.import_module("ml_dtypes")
    except ImportError:
        return "CuPy takes bfloat16 from a package that is not installed: pip install ml_dtypes"
    return None


def half_dtype(dtype: npt.DTypeLike, where: str) -> np.dtype[Any]:
    """Return float16, or where CuPy has it bfloat16, as a dtype.

    Raises
    ------
    DtypeError
        For any other, or where there is no bfloat16, with the reason.
    """
    brain = "bfloat16" in str(dtype)  # Google Brain's: float32 without its last 16 bits.
    reason = bfloat16_problem() if brain else None
    if reason or not (brain or np.dtype(dtype) == np.float16):
        raise DtypeError(where, "there is no such half precision", given=str(dtype),
                         expected="float16, or bfloat16 on a GPU", fix=reason)  # fmt: skip
    return np.dtype(dtype)


def float_dtype(dtype: npt.DTypeLike, where: str) -> np.dtype[Any]:
    """Return ``dtype`` as a NumPy dtype, refusing everything but float32 and float64.

    Raises
    ------
    DtypeError
        For any other dtype, or something that names none.
    """
    refusal = DtypeError(where, "a floating dtype is needed here", given=repr(dtype),
                         expected="float32 or float64")  # fmt: skip
    try:
        result = np.dtype(dtype)
    except TypeError:
        raise refusal from None
    if result not in (np.float32, np.float64):
        raise refusal
    return result


def pair(value: int | Sequence[int], where: str, name: str, least: int) -> tuple[int, int]:
    """Return ``value`` as a (height, width) pair of ints, each at least ``least``.

    Raises
    ------
    OptionError
        If it is neither an int nor two ints, or one is too small.
    """
    both = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(both) != 2 or not all(isinstance(n, int | np.integer) and n >= least for n in both):
        raise OptionError(where, f"{name} is not usable", given=f"{name}={value!r}",
                          expected=f"an int of at least {least}, or a pair of them")  # fmt: skip
    return int(both[0]), int(both[1])


def im2col(
    x: Array,
    size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    *,
    fill: float = 0.0,
    where: str = "im2col",
) -> Array:
    """Lay out every window of a batch of images, without copying them.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    size : int or (int, int)
        Window height and width, KH and KW, in pixels.
    stride, padding : int or (int, int)
        Steps between windows, and pixels of ``fill`` added on each border.
    fill : float
        What the border is made of: 0 for convolution, -inf for a maximum.
    where : str
        The op on whose behalf errors speak.

    Returns
    -------
    array, shape (N, C, OH, OW, KH, KW)
        A read-only strided view (of ``x``, or of its padded copy), where
        ``OH = (H + 2 * padding - KH) // stride + 1``, and OW likewise.

    Raises
    ------
    ShapeError
        If ``x`` is not four-dimensional or a window is larger than the padded image.
    OptionError
        If size, stride or padding is not usable.

    Notes
    -----
    The name is Caffe's.  Chellapilla, Puri and Simard (2006) first turned
    convolution into one matrix product this way.
    """
    kh, kw = pair(size, where, "size", 1)
    sh, sw = pair(stride, where, "stride", 1)
    ph, pw = pair(padding, where, "padding", 0)
    if x.ndim != 4:
        raise ShapeError(where, "images come as a batch", given=f"x {x.shape}",
                         expected="x (N, C, H, W)")  # fmt: skip
    if ph or pw:
        x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    n, c, h, w = x.shape
    if kh > h or kw > w:
        raise ShapeError(where, "the window is larger than the padded image",
                         given=f"window ({kh}, {kw}), padded image ({h}, {w})",
                         fix="use a smaller window or more padding")  # fmt: skip
    oh, ow = (h - kh) // sh + 1, (w - kw) // sw + 1
    sn, sc, sy, sx = x.strides
    view = namespace(x).lib.stride_tricks.as_strided(
        x, (n, c, oh, ow, kh, kw), (sn, sc, sy * sh, sx * sw, sy, sx)
    )
    if isinstance(view, np.ndarray):
        view.flags.writeable = False  # Windows overlap: a write would land in several.
    return view


def col2im(
    windows: Array,
    shape: Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
) -> Array:
    """Add every window back to where :func:`im2col` took it from (its transpose).

    Parameters
    ----------
    windows : array, shape (N, C, OH, OW, KH, KW)
    shape : (N, C, H, W)
        Shape of the images, without padding.
    stride, padding : int or (int, int)
        As given to :func:`im2col`.

    Returns
    -------
    array, shape (N, C, H, W)
        Each pixel holds the sum over the windows that contain it.

    Raises
    ------
    ShapeError
        If im2col would not make windows of this shape from such images.
    OptionError
        If stride or padding is not usable.
    """
    sh, sw = pair(stride, "col2im", "stride", 1)
    ph, pw = pair(padding, "col2im", "padding", 0)
    if windows.ndim != 6 or len(shape) != 4:
        raise ShapeError("col2im", "the number of axes is wrong",
                         given=f"windows {windows.shape}, shape {tuple(shape)}",
                         expected="windows (N, C, OH, OW, KH, KW), shape (N, C, H, W)")  # fmt: skip
    n, c, h, w = shape
    oh, ow, kh, kw = windows.shape[2:]
    made = (n, c, (h + 2 * ph - kh) // sh + 1, (w + 2 * pw - kw) // sw + 1, kh, kw)
    if windows.shape != made:
        raise ShapeError("col2im", "the windows are not those of such images",
                         given=f"windows {windows.shape}, shape {tuple(shape)}, "
                         f"stride {(sh, sw)}, padding {(ph, pw)}",
                         expected=f"windows {made}",
                         fix="give the shape, stride and padding that im2col was given")  # fmt: skip
    padded = namespace(windows).zeros((n, c, h + 2 * ph, w + 2 * pw), windows.dtype)
    for y in range(kh):  # One strided addition a window *position*, not a window.
        for x in range(kw):
            padded[:, :, y : y + sh * oh : sh, x : x + sw * ow : sw] += windows[..., y, x]
    return padded[:, :, ph : ph + h, pw : pw + w]


class Gpu:
    """What compiled code asks of the GPU: memory, modules, products, recordings.

    Raises
    ------
    DeviceError
        Where there is no GPU.
    """

    def __init__(self) -> None:
        check_device("gpu", "compile")

    def put(self, array: npt.ArrayLike) -> Array:
        """Return a copy of a host array on the device, in C order."""
        import cupy

        return cupy.array(np.asarray(array), order="C")

    def holds(self, array: Array) -> bool:
        """Return whether an array is on the device."""
        return device_of(array) == "gpu"

    def wait(self) -> None:
        """Return when all work queued on the device is done."""
        synchronize("gpu")

    def module(self, source: str) -> Callable[[str], Callable[..., None]]:
        """Compile CUDA C++; return what finds a function by its name.

        Products and sums are rounded one by one, as on the host, not fused.
        """
        import cupy

        options = ("--std=c++17", "--fmad=false")
        return functools.cache(cupy.RawModule(code=source, options=options).get_function)

    def gemm(
        self, a: Array, b: Array, out: Array, trans_a: bool, trans_b: bool, alpha: float,
        beta: float,
    ) -> None:  # fmt: skip
        """Set ``out`` to ``alpha * a b + beta * out``; all C-contiguous, batch axes first.

        Notes
        -----
        CuPy refuses to call cuBLAS while a CUDA graph is recorded, which cuBLAS itself
        allows; so float products go to the library directly.

        Raises
        ------
        DeviceError
            If cuBLAS refuses.
        """
        blas = _cublas() if out.dtype.kind == "f" else None
        k = a.shape[-2] if trans_a else a.shape[-1]
        if blas is None or not out.size * k:
            a, b = (a.swapaxes(-1, -2) if trans_a else a), (b.swapaxes(-1, -2) if trans_b else b)
            product = np.matmul(a, b) if alpha == 1 else np.matmul(a, b) * out.dtype.type(alpha)
            out[...] = product + out if beta else product
            return
        import cupy

        # Its matrices lie column by column: ours are their transposes, and so is the product.
        real = ctypes.c_float if out.dtype == np.float32 else ctypes.c_double
        name = f"cublas{'S' if out.dtype == np.float32 else 'D'}gemmStridedBatched"
        handle = ctypes.c_void_p(cupy.cuda.get_cublas_handle())
        blas.cublasSetStream_v2(handle, ctypes.c_void_p(cupy.cuda.get_current_stream().ptr))
        arguments: list[Any] = [handle, int(trans_b), int(trans_a), out.shape[-1], out.shape[-2], k,
                                ctypes.byref(real(alpha))]  # fmt: skip
        for x in (b, a, out):
            if x is out:
                arguments.append(ctypes.byref(real(beta)))
            arguments += [ctypes.c_void_p(x.data.ptr), x.shape[-1],
                          ctypes.c_longlong(x.shape[-1] * x.shape[-2])]  # fmt: skip
        status = getattr(blas, name)(*arguments, math.prod(out.shape[:-2]))
        if status:
            raise DeviceError(name, "cuBLAS refused the product", given=f"status {status}")

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return what starts, as one CUDA graph, all that ``work`` queues on the device.

        ``work`` is called once, and nothing of it runs until then.  It must allocate nothing,
        and what it reads and writes has to be kept where it is.
        """
        import cupy

        stream = cupy.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                work()
            except BaseException:
                with suppress(cupy.cuda.runtime.CUDARuntimeError):
                    stream.end_capture()
                raise
            graph = stream.end_capture()

        def start() -> None:
            graph.launch(cupy.cuda.get_current_stream())

        return start


@functools.cache
def _cublas() -> Any:
    """Return the cuBLAS that CuPy has loaded, or None where it is not found by name."""
    import cupy

    cupy.cuda.get_cublas_handle()  # From here on it is loaded.
    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    name = f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}"
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
