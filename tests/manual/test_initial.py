from __future__ import annotations

import numpy as np
import pytest

from workbench import manual as m
from workbench.errors import DtypeError, ShapeError

VARIANCES = {
    "glorot_uniform": lambda inputs, outputs: 2 / (inputs + outputs),
    "glorot_normal": lambda inputs, outputs: 2 / (inputs + outputs),
    "he_uniform": lambda inputs, outputs: 2 / inputs,
    "he_normal": lambda inputs, outputs: 2 / inputs,
}


@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize(
    ("shape", "fans"), [((300, 200), (300, 200)), ((40, 30, 5, 7), (30 * 35, 40 * 35))]
)
def test_mean_and_variance_are_the_papers(name, shape, fans):
    w = getattr(m, name)(shape, np.random.default_rng(0), np.float64)
    variance = VARIANCES[name](*fans)
    # The sample variance of n draws has relative deviation sqrt((kurtosis - 1) / n).
    kurtosis = 1.8 if name.endswith("uniform") else 3.0
    assert abs(w.var() / variance - 1) < 5 * np.sqrt((kurtosis - 1) / w.size)
    assert abs(w.mean()) < 5 * np.sqrt(variance / w.size)
    if name.endswith("uniform"):
        assert np.abs(w).max() <= np.sqrt(3 * variance)
    else:
        assert np.abs(w).max() > np.sqrt(3 * variance)


@pytest.mark.parametrize("name", VARIANCES)
def test_one_seed_gives_one_network_in_either_precision(name):
    draw = getattr(m, name)
    single = draw((3, 4), np.random.default_rng(5))
    double = draw((3, 4), np.random.default_rng(5), np.float64)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, double.astype(np.float32))


@pytest.mark.parametrize("name", VARIANCES)
def test_refusals(name):
    draw, rng = getattr(m, name), np.random.default_rng(0)
    with pytest.raises(ShapeError, match=f"{name}: no fans are known for this shape"):
        draw((3,), rng)
    with pytest.raises(ShapeError, match=f"{name}: no fans are known"):
        draw((3, 0), rng)
    with pytest.raises(DtypeError, match=f"{name}: a floating dtype is needed"):
        draw((3, 2), rng, np.int32)
    with pytest.raises(DtypeError, match=f"{name}: rng is not a random generator"):
        draw((3, 2), 0)
