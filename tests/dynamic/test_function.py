"""Functions that users write, and what recording refuses."""

import numpy as np
import pytest

from workbench import dynamic, gradcheck
from workbench.dynamic import Function, ops
from workbench.errors import DeviceError, DtypeError, GraphError, OptionError, ShapeError


def leaf(data, dtype=np.float64):
    return dynamic.tensor(data, requires_grad=True, dtype=dtype)


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.args = (x,)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.args
        return g * (3 * x * x)


class Root(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.output = np.sqrt(x)
        return ctx.output

    @staticmethod
    def backward(ctx, g):
        return g / (2 * ctx.output)


class Scale(Function):
    @staticmethod
    def forward(ctx, x, factor, shift):
        ctx.factor = factor
        return x * factor + shift

    @staticmethod
    def backward(ctx, g):
        return g * ctx.factor  # The options want no gradient, and can be left off.


@pytest.mark.parametrize("apply", [Cube.apply, Root.apply, lambda x: Scale.apply(x, 3.0, 1.0)])
@pytest.mark.parametrize("shape", [(), (3,), (0, 2)])
def test_a_users_function_to_second_order(apply, shape):
    point = np.random.default_rng(1).uniform(0.5, 2, shape)
    x = leaf(point)
    (d,) = dynamic.grad((apply(x) * apply(x)).sum(), x, create_graph=True)
    (dd,) = dynamic.grad(d.sum(), x)
    assert dd.shape == shape
    if not point.size:
        return
    gradcheck.check_gradient(lambda v: (apply(v) * apply(v)).sum(), d.data, point)

    def first(v):
        v = leaf(v)
        return dynamic.grad((apply(v) * apply(v)).sum(), v)[0].numpy().sum()

    gradcheck.check_gradient(first, dd.data, point)


def test_a_function_of_arrays_alone_answers_with_an_array():
    assert type(Cube.apply(np.ones(2))) is np.ndarray
    assert type(ops.tanh(np.ones(2))) is np.ndarray


def test_a_function_that_returns_its_argument_is_a_tensor_of_its_own():
    class Reverse(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return -g

    x = leaf([1.0, 2.0])
    y = Reverse.apply(x)
    assert not np.shares_memory(y.data, x.data)
    (y * x).sum().backward()
    assert x.grad.data.tolist() == [0.0, 0.0]


def test_none_is_a_gradient_of_nothing():
    class Stop(Function):
        @staticmethod
        def forward(ctx, x):
            return x + 0

        @staticmethod
        def backward(ctx, g):
            return None

    x = leaf(3.0)
    (Stop.apply(x) * x).backward()
    assert x.grad.item() == 3.0


def returning(result, save=None):
    class Odd(Function):
        @staticmethod
        def forward(ctx, x, y):
            if save:
                ctx.args = save(x, y)
            return x * y

        @staticmethod
        def backward(ctx, g):
            return result(g)

    return lambda x, y: Odd.apply(x, y).sum().backward()


@pytest.mark.parametrize(
    ("use", "error", "words"),
    [
        (returning(lambda g: g), GraphError,
         "odd: backward returned the wrong number of gradients\n  given:    1\n  expected: 2,"),
        (returning(lambda g: (g, g, g)), GraphError, "given:    3"),
        (returning(lambda g: (g[0], g)), ShapeError,
         "given:    a gradient ()\n  expected: (2,), the shape of the argument"),
        (returning(lambda g: (g.astype(np.float32), g)), DtypeError,
         "given:    a gradient of float32\n  expected: float64, the dtype of the argument"),
        (returning(lambda g: (1.0, g)), GraphError, "something that is no array"),
        (returning(None, lambda x, y: (y, x)), GraphError, "not its arguments"),
        (returning(None, lambda x, y: (x,)), GraphError, "1 saved, 2 arguments"),
        (returning(None, lambda x, y: (x.copy(), y)), GraphError,
         "keep other things under other names"),
    ],
)  # fmt: skip
def test_broken_rules_are_refused(use, error, words):
    with pytest.raises(error) as caught:
        use(leaf([1.0, 2.0]), leaf([3.0, 4.0]))
    assert words in str(caught.value)


def test_forward_must_return_one_array():
    class Two(Function):
        @staticmethod
        def forward(ctx, x):
            return x, x

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(GraphError, match="two: forward did not return an array"):
        Two.apply(leaf(1.0))


def test_forward_without_backward_is_refused_when_the_class_is_made():
    with pytest.raises(GraphError, match="half_done: a Function with forward needs backward"):

        class HalfDone(Function):
            @staticmethod
            def forward(ctx, x):
                return x

    with pytest.raises(GraphError, match="no forward"):
        Function.apply(leaf(1.0))


def test_a_mixture_of_dtypes_is_refused_with_the_way_out():
    x, y = dynamic.tensor([1.0], dtype=np.float32), leaf([2.0])
    for call in (lambda: x * y, lambda: y + x, lambda: x - np.ones(1), lambda: np.ones(1) / x,
                 lambda: ops.concatenate([x, y]), lambda: ops.where(True, x, y)):  # fmt: skip
        with pytest.raises(DtypeError) as caught:
            call()
        assert "x.astype(np.float32)" in str(caught.value)
    with pytest.raises(DtypeError, match="float32 with int64, which gives float64"):
        x * np.array([2])
    assert (x.astype(np.float64) * y).dtype == np.float64


def test_python_numbers_and_numpys_float64_scalars_are_weak():
    x = leaf([1.0, 4.0], np.float32)
    for y in (x * 2, 2.5 * x, x / np.sqrt(2.0), np.float64(2) - x, x ** np.float64(2), x * True):
        assert y.dtype == np.float32
    y = x / np.sqrt(2.0)
    y.sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_allclose(x.grad.data, 0.5**0.5, rtol=1e-7)


def test_a_gradient_in_another_dtype_comes_back_through_astype():
    x = leaf([1.5], np.float32)
    (x.astype(np.float64) * np.array([2.0])).sum().backward()
    assert (x.grad.dtype, x.grad.item()) == (np.float32, 2.0)
    assert not x.astype(int).requires_grad


class Elsewhere:
    """Stands for an array on the GPU: refuses to meet NumPy's, as CuPy's do."""

    shape, ndim, dtype, base = (2,), 1, np.dtype(np.float64), None

    def __add__(self, other):
        raise TypeError("Unsupported type")

    __radd__ = __add__
    __array_ufunc__ = None


def test_a_mixture_of_devices_is_refused(monkeypatch):
    monkeypatch.setattr(
        "workbench.arrays.device_of", lambda a: "gpu" if isinstance(a, Elsewhere) else "cpu"
    )
    with pytest.raises(DeviceError) as caught:
        ops.add(leaf([1.0, 2.0]), dynamic.Tensor(Elsewhere()))
    assert str(caught.value) == (
        "add: the arguments are on different devices\n"
        "  given:    cpu, gpu\n"
        '  fix:      move one of them: x.to("gpu")'
    )


@pytest.mark.gpu
def test_the_same_lines_on_a_gpu():
    x = dynamic.tensor(np.ones((2, 3)), requires_grad=True)
    y = ops.tanh(x.to("gpu") * 2).sum()
    assert y.device == "gpu"
    y.backward()
    assert x.grad.device == "cpu"
    with pytest.raises(DeviceError):
        x * x.to("gpu")


def test_an_unknown_device_is_refused():
    with pytest.raises(LookupError, match="did you mean 'cpu'"):
        leaf(1.0).to("cpuu")
    x = leaf(1.0)
    assert x.to("cpu") is x


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: x + np.ones(4), ShapeError,
         "add: the shapes do not fit\n  given:    x (2, 3), y (4,)\n  expected: shapes that broad"),
        (lambda x: np.ones(4) * x, ShapeError, "multiply: the shapes do not fit\n"
         "  given:    x (4,), y (2, 3)"),
        (lambda x: x @ np.ones((2, 3)), ShapeError,
         "matmul: the shapes do not fit\n  given:    x (2, 3), y (2, 3)\n"
         "  expected: x (..., N, D) and y (..., D, K) with one D"),
        (lambda x: ops.affine(x, np.ones((4, 5)), np.ones(5)), ShapeError,
         "affine: the shapes do not fit\n  given:    x (2, 3), w (4, 5), b (5,)\n"
         "  expected: x (N, D), w (D, K) and b (K,) with one D and one K"),
        (lambda x: ops.affine(x, np.ones((3, 5)), np.ones(4)), ShapeError,
         "affine: b does not fit w\n  given:    w (3, 5), b (4,)"),
        (lambda x: ops.affine(x[0], np.ones((3, 5))), ShapeError, "x (3,), w (3, 5)"),
        (lambda x: x.reshape(4), ShapeError, "reshape: the shapes do not fit\n"
         "  given:    x (2, 3), shape=4"),
        (lambda x: x.transpose((0, 0)), ShapeError, "axes=(0, 0)"),
        (lambda x: ops.broadcast_to(x, (3, 3)), ShapeError, "x (2, 3), shape=(3, 3)"),
        (lambda x: x.sum(2), OptionError, "sum: axis 2 is out of bounds for array of dimension 2"),
        (lambda x: x.mean(axis=-3), OptionError, "axis -3 is out of bounds"),
        (lambda x: ops.expand_dims(x, 5), OptionError, "expand_dims: axis 5 is out of bounds"),
        (lambda x: ops.squeeze(x, 0), ShapeError, "squeeze: only an axis of length 1 can go"),
        (lambda x: ops.concatenate([x, np.ones((3, 2))]), ShapeError,
         "concatenate: the shapes do not fit\n  given:    axis=0, xs[0] (2, 3), xs[1] (3, 2)"),
        (lambda x: x[5], ShapeError, "getitem: index 5 is out of bounds for axis 0 with size 2"),
        (lambda x: x[np.array([0.5])], DtypeError, "an array of float64"),
        (lambda x: ops.max(x[:0], axis=0), ShapeError,
         "max: the shapes do not fit\n  given:    x (0, 3), axis=0, keepdims=False\n"
         "  expected: at least one element along each axis"),
        (lambda x: ops.softmax_cross_entropy(x, np.array([0])), ShapeError,
         "given:    logits (2, 3), labels (1,)"),
        (lambda x: ops.softmax_cross_entropy(x, np.array([0.0, 1.0])), DtypeError,
         "labels of float64"),
        (lambda x: ops.softmax_cross_entropy(x, np.array([0, 3])), OptionError,
         "labels from 0 to 3\n  expected: 0 to 2"),
        (lambda x: ops.softmax_cross_entropy(x, np.array([-1, 2])), OptionError, "from -1 to 2"),
        (lambda x: ops.mean_squared_error(x, np.ones((2, 1))), ShapeError,
         "prediction (2, 3), target (2, 1)"),
        (lambda x: ops.conv2d(x, np.ones((1, 1, 2, 2))), ShapeError, "conv2d: the shapes do not"),
        (lambda x: ops.max_pool2d(x.reshape(1, 1, 2, 3), 2, padding=2), OptionError,
         "a window could lie in the padding alone"),
        (lambda x: ops.embedding(np.array([2]), x), OptionError, "0 to 1, for w (2, 3)"),
        (lambda x: ops.embedding(x, x), DtypeError, "x of float64"),
        (lambda x: ops.dropout(x, 1.0, None), OptionError, "rate=1.0"),
    ],
)  # fmt: skip
def test_shapes_and_options_are_refused_in_terms_of_the_arguments(call, error, words):
    with pytest.raises(error) as caught:
        call(leaf(np.ones((2, 3))))
    assert words in str(caught.value)
