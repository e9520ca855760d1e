"""Placement, transfers, scatter-add and windows; the GPU's branches run on a stand-in.

The stand-in is as strict as CuPy where it matters; see ``conformance/cupy_stand_in.py``.
"""

import sys
from contextlib import ExitStack

import numpy as np
import pytest
from cupy_stand_in import DeviceArray, installed, stand_in
from hypothesis import given
from hypothesis import strategies as st

from workbench import arrays
from workbench.errors import (
    DeviceError,
    DtypeError,
    OptionError,
    ShapeError,
    UnknownNameError,
    install_line,
)


@pytest.fixture
def install():
    """Return a function that makes ``import cupy`` find the given module (None: nothing)."""
    with ExitStack() as stack:
        yield lambda *modules: stack.enter_context(installed(*modules))


@pytest.fixture
def gpu(install):
    return install(*stand_in())


# Devices


def test_without_cupy_the_reason_is_what_to_install(install):
    install(None)
    assert not arrays.has_gpu()
    with pytest.raises(DeviceError) as info:
        arrays.check_device("gpu", "tensor")
    assert str(info.value).splitlines() == [
        "tensor: there is no GPU to use",
        "  given:    device 'gpu'",
        f"  fix:      CuPy is not installed: {install_line('gpu')}",
    ]


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        (stand_in(count=0), "CuPy is installed but sees no GPU"),
        (stand_in(problem="no driver"), "CuPy is installed but sees no GPU: no driver"),
    ],
)
def test_cupy_without_a_gpu_says_so(install, modules, reason):
    install(*modules)
    assert arrays.gpu_problem() == reason
    with pytest.raises(DeviceError, match="there is no GPU to use"):
        arrays.to_device(np.ones(2), "gpu")


@pytest.mark.parametrize(
    "function",
    [
        arrays.synchronize,
        lambda device: arrays.gpu_peak_bytes(list),
        lambda device: arrays.pin(np.ones(2)),
        lambda device: list(arrays.ahead([], device)),
        lambda device: arrays.generator(0, device),
        lambda device: arrays.gpu_description(),
    ],
)
def test_every_use_of_the_gpu_is_refused_where_there_is_none(install, function):
    install(None)
    with pytest.raises(DeviceError, match="CuPy is not installed"):
        function("gpu")


def test_an_unknown_device_suggests_the_near_one():
    with pytest.raises(UnknownNameError) as info:
        arrays.check_device("gpuu", "tensor")
    assert str(info.value).splitlines() == [
        "tensor: there is no device called 'gpuu'",
        "  given:    'gpuu'",
        "  expected: one of cpu, gpu",
        "  fix:      did you mean 'gpu'?",
    ]


def test_on_the_host_nothing_is_copied():
    x = np.arange(3.0)
    assert arrays.to_device(x, "cpu") is x
    assert arrays.to_host(x) is x
    assert arrays.device_of(x) == "cpu"
    assert arrays.namespace(x) is np
    assert arrays.synchronize("cpu") is None


def test_there_and_back(gpu):
    x = np.arange(3.0)
    there = arrays.to_device(x, "gpu")
    assert isinstance(there, gpu.ndarray)
    assert arrays.to_device(there, "gpu") is there
    assert arrays.device_of(there) == "gpu"
    back = arrays.to_device(there, "cpu")
    assert type(back) is np.ndarray
    np.testing.assert_array_equal(back, x)


def test_any_array_on_the_gpu_decides_the_namespace(gpu):
    assert arrays.namespace(np.ones(1), gpu.zeros(1)) is gpu
    assert arrays.namespace(np.ones(1), 2.0) is np


def test_no_array_is_cupys_while_nobody_has_imported_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert arrays.namespace(np.ones(1)) is np
    assert "cupy" not in sys.modules


def test_synchronize_waits_for_the_stream(gpu):
    arrays.synchronize("gpu")
    assert gpu.log == ["synchronize"]


def test_gpu_peak_bytes_counts_what_the_work_takes_and_waits_for_it(gpu):
    assert arrays.gpu_peak_bytes(lambda: (gpu.malloc(300), gpu.malloc(40))) == 340
    assert gpu.log == ["synchronize"]


def test_a_copy_to_the_gpu_is_waited_for_unless_told_otherwise(gpu):
    arrays.to_device(np.ones(2), "gpu")
    arrays.to_device(np.ones(2), "gpu", non_blocking=True)
    assert gpu.log == ["blocking", "queued"]


def test_pinned_memory_holds_a_copy_in_c_order(gpu):
    x = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    pinned = arrays.pin(x)
    assert gpu.log == ["pinned"]
    assert pinned.flags.c_contiguous
    assert not np.shares_memory(pinned, x)
    np.testing.assert_array_equal(pinned, x)
    assert arrays.pin(np.ones((0, 3))).shape == (0, 3)


def test_batches_are_copied_ahead_of_their_use(gpu):
    used = []
    for x, labels in arrays.ahead(((np.full(2, k), np.array(k)) for k in range(3)), "gpu"):
        assert isinstance(x, DeviceArray)
        assert isinstance(labels, DeviceArray)
        used.append((x.get().tolist(), labels.item()))
        gpu.log.append(f"use {len(used) - 1}")
    assert used == [([0, 0], 0), ([1, 1], 1), ([2, 2], 2)]

    def copied(k):
        wait = [f"record computing {k}", f"copies wait for computing {k}", "pinned", "pinned"]
        return [*wait, "copies copy", "copies copy", f"record copies {k}"]

    def used_in_turn(k):
        return [f"host waits for copies {k}", f"use {k}"]

    assert gpu.log == [*copied(0), *copied(1), *used_in_turn(0), *copied(2), *used_in_turn(1),
                       *used_in_turn(2)]  # fmt: skip


def test_on_the_host_batches_are_what_they_were():
    x = np.ones(2)
    ((same,),) = arrays.ahead([(x,)], "cpu")
    assert same is x
    assert list(arrays.ahead([], "cpu")) == []


def test_a_generator_draws_on_its_device(gpu):
    for device, kind in (("cpu", np.ndarray), ("gpu", DeviceArray)):
        a, b = (arrays.generator(3, device).random(4) for _ in range(2))
        assert type(a) is type(b) is kind
        np.testing.assert_array_equal(arrays.to_host(a), arrays.to_host(b))


def test_what_gpu_there_is_can_be_said(gpu):
    assert arrays.gpu_description() == "Stand-in 1, CuPy 13.3.0"


def test_bfloat16_needs_a_gpu_a_new_cupy_and_a_package(install, monkeypatch):
    install(None)
    assert arrays.bfloat16_problem().startswith("CuPy is not installed")
    cupy = install(*stand_in())
    assert arrays.bfloat16_problem() == "CuPy 13.3.0 has no bfloat16; version 14 has"
    cupy.__version__ = "14.2.0"
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert arrays.bfloat16_problem().endswith("not installed: pip install ml_dtypes")
    monkeypatch.setitem(sys.modules, "ml_dtypes", sys)
    assert arrays.bfloat16_problem() is None


# Scatter-add


def test_repeated_indices_accumulate():
    np_way, ours = np.zeros(3), np.zeros(3)
    index, values = np.array([0, 2, 2, 2]), np.array([1.0, 10.0, 100.0, 1000.0])
    np_way[index] += values
    arrays.scatter_add(ours, index, values)
    np.testing.assert_array_equal(np_way, [1, 0, 1000])  # What += keeps, in NumPy itself.
    np.testing.assert_array_equal(ours, [1, 0, 1110])


def test_scatter_add_is_the_transpose_of_indexing():
    rng = np.random.default_rng(0)
    x, index = rng.standard_normal((5, 3)), rng.integers(5, size=(4, 2))
    g, back = rng.standard_normal((4, 2, 3)), np.zeros((5, 3))
    arrays.scatter_add(back, index, g)
    np.testing.assert_allclose((x[index] * g).sum(), (x * back).sum(), rtol=1e-13)


def test_scatter_add_on_the_gpu(gpu):
    target = gpu.zeros(3)
    arrays.scatter_add(target, gpu.asarray([2, 2]), gpu.asarray([1.0, 10.0]))
    np.testing.assert_array_equal(arrays.to_host(target), [0, 0, 11])


# Dtypes and pairs


@pytest.mark.parametrize("dtype", ["float32", np.float64, np.dtype("f4"), float])
def test_float_dtype_takes_both_in_any_spelling(dtype):
    assert arrays.float_dtype(dtype, "tensor") in (np.float32, np.float64)


@pytest.mark.parametrize("dtype", ["int64", np.float16, "complex128", "flaot32", object()])
def test_float_dtype_refuses_the_rest(dtype):
    with pytest.raises(DtypeError) as info:
        arrays.float_dtype(dtype, "tensor")
    assert str(info.value).splitlines() == [
        "tensor: a floating dtype is needed here",
        f"  given:    {dtype!r}",
        "  expected: float32 or float64",
    ]


def test_pair_doubles_a_number_and_keeps_a_pair():
    assert arrays.pair(3, "conv2d", "stride", 1) == (3, 3)
    assert arrays.pair((np.int64(2), 0), "conv2d", "padding", 0) == (2, 0)


@pytest.mark.parametrize("value", [0, (1, 0), (1, 2, 3), (1.5, 2)])
def test_pair_names_the_argument_it_refuses(value):
    with pytest.raises(OptionError) as info:
        arrays.pair(value, "conv2d", "stride", 1)
    assert str(info.value).splitlines() == [
        "conv2d: stride is not usable",
        f"  given:    stride={value!r}",
        "  expected: an int of at least 1, or a pair of them",
    ]


# Windows


def windows_by_loops(x, size, stride, padding, fill=0.0):
    """What im2col means, one pixel at a time."""
    (kh, kw), (sh, sw), (ph, pw) = size, stride, padding
    n, c, h, w = x.shape
    oh, ow = (h + 2 * ph - kh) // sh + 1, (w + 2 * pw - kw) // sw + 1
    out = np.full((n, c, oh, ow, kh, kw), fill, x.dtype)
    for i, j, y, z, a, b in np.ndindex(out.shape):
        row, column = y * sh + a - ph, z * sw + b - pw
        if 0 <= row < h and 0 <= column < w:
            out[i, j, y, z, a, b] = x[i, j, row, column]
    return out


@st.composite
def window_cases(draw):
    def two(low, high):
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    padding, size = two(0, 2), two(1, 3)
    image = tuple(max(1, k - 2 * p) + draw(st.integers(0, 4))
                  for k, p in zip(size, padding, strict=True))  # fmt: skip
    shape = (*two(1, 2), *image)
    return shape, size, two(1, 3), padding


@given(window_cases(), st.sampled_from([np.float32, np.float64]))
def test_im2col_is_the_loops(case, dtype):
    shape, size, stride, padding = case
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    windows = arrays.im2col(x, size, stride, padding, fill=-np.inf)
    assert windows.dtype == dtype
    np.testing.assert_array_equal(windows, windows_by_loops(x, size, stride, padding, -np.inf))


@given(window_cases())
def test_col2im_is_the_adjoint_of_im2col(case):
    shape, size, stride, padding = case
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape)
    windows = arrays.im2col(x, size, stride, padding)
    g = rng.standard_normal(windows.shape)
    back = arrays.col2im(g, shape, stride, padding)
    assert back.shape == shape
    largest = np.abs(windows * g).sum()
    limit = 10 * np.finfo(float).eps * largest
    assert abs((windows * g).sum() - (x * back).sum()) <= limit


def test_windows_of_an_unpadded_image_are_a_view_that_cannot_be_written():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    windows = arrays.im2col(x, 2)
    assert np.shares_memory(windows, x)
    with pytest.raises(ValueError, match="read-only"):
        windows[...] = 0


@pytest.mark.parametrize("padding", [0, 1])
def test_windows_on_the_gpu_stay_there(gpu, padding):
    x = np.random.default_rng(2).standard_normal((2, 1, 5, 4))
    windows = arrays.im2col(gpu.asarray(x), 3, 2, padding)
    assert isinstance(windows, gpu.ndarray)
    on_host = arrays.im2col(x, 3, 2, padding)
    np.testing.assert_array_equal(arrays.to_host(windows), on_host)
    back = arrays.col2im(windows, x.shape, 2, padding)
    assert isinstance(back, gpu.ndarray)
    np.testing.assert_array_equal(arrays.to_host(back), arrays.col2im(on_host, x.shape, 2, padding))


def test_im2col_speaks_for_the_op_it_works_for():
    with pytest.raises(ShapeError) as info:
        arrays.im2col(np.ones((4, 4)), 2, where="conv2d")
    assert str(info.value).splitlines() == [
        "conv2d: images come as a batch",
        "  given:    x (4, 4)",
        "  expected: x (N, C, H, W)",
    ]
    with pytest.raises(ShapeError) as info:
        arrays.im2col(np.ones((1, 1, 2, 3)), (5, 3), padding=1, where="max_pool2d")
    assert str(info.value).splitlines() == [
        "max_pool2d: the window is larger than the padded image",
        "  given:    window (5, 3), padded image (4, 5)",
        "  fix:      use a smaller window or more padding",
    ]


@pytest.mark.parametrize(
    ("arguments", "name"), [((0,), "size"), ((1, 0), "stride"), ((1, 1, -1), "padding")]
)
def test_im2col_blames_the_right_argument(arguments, name):
    with pytest.raises(OptionError, match=f"im2col: {name} is not usable"):
        arrays.im2col(np.ones((1, 1, 2, 2)), *arguments)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 3, 8, 8), {}, "expected: windows (2, 3, 7, 7, 2, 2)"),
        ((2, 3, 6, 6), {"padding": 1}, "give the shape, stride and padding that im2col was given"),
        ((2, 3, 36), {}, "shape (N, C, H, W)"),
    ],
)
def test_col2im_refuses_windows_of_other_images(shape, options, message):
    windows = arrays.im2col(np.zeros((2, 3, 6, 6)), 2)
    with pytest.raises(ShapeError) as caught:
        arrays.col2im(windows, shape, **options)
    assert message in str(caught.value)
