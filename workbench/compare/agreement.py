"""When do eras agree, and who is it that does not?

The eras do the same mathematics in different orders, so they may differ by rounding
and by nothing else.  Who left the others is decided against the median of all: with
three eras or more, one that goes wrong cannot drag the median along.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Gradients = list[npt.NDArray[Any]]


def tolerance(dtype: npt.DTypeLike) -> float:
    """Return the largest relative difference that counts as agreement.

    float64 is given 1e-9 over a whole loss curve.  In units of its eps that would be
    useless for float32 (4.5 million eps is one half), so float32 is given 1e-4, some
    840 eps: about what a thousand steps of rounding amount to on these models.
    """
    return {"float64": 1e-9, "float32": 1e-4}[np.dtype(dtype).name]


def relative(a: npt.NDArray[Any], b: npt.NDArray[Any], scale: float) -> float:
    """Return the largest absolute difference, in units of ``scale``."""
    if a.shape != b.shape:
        return float("inf")
    difference = float(np.max(np.abs(a - b), initial=0.0))
    return difference / scale if scale else difference


def gradient_differences(
    gradients: dict[str, Gradients],
    numeric: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    names: list[str],
    limit: float,
) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """Compare each era's gradients with the numeric ones and with the other eras'.

    Parameters
    ----------
    gradients : dict
        Era to its gradients, one array a parameter.
    numeric : list of (indices, derivatives)
        For each parameter, flat indices and the numeric derivatives there.
    names : list of str
        The parameters.
    limit : float
        Largest relative difference allowed.

    Returns
    -------
    from_numeric, from_eras : dict
        Era to its largest difference, relative to the parameter's largest derivative.
    disagreements : list of str
        One line for each era and parameter beyond the limit.
    """
    from_numeric, from_eras = dict.fromkeys(gradients, 0.0), dict.fromkeys(gradients, 0.0)
    lines = []
    for position, name in enumerate(names):
        each = {era: np.asarray(all_[position]) for era, all_ in gradients.items()}
        indices, derivatives = numeric[position]
        scale = float(np.max(np.abs(derivatives), initial=0.0))
        for era, g in each.items():
            off = relative(g.reshape(-1)[indices], derivatives, scale)
            from_numeric[era] = max(from_numeric[era], off)
            others = [relative(g, h, scale) for other, h in each.items() if other != era]
            from_eras[era] = max([from_eras[era], *others])
            if not off <= limit:
                worst = int(indices[np.argmax(np.abs(g.reshape(-1)[indices] - derivatives))])
                at = tuple(int(i) for i in np.unravel_index(worst, g.shape))
                lines.append(
                    f"{era}: gradient of {name} differs from the numeric check by {off:.1e} "
                    f"(tolerance {limit:.0e}), most at {list(at)}"
                )
        if len({g.shape for g in each.values()}) > 1:
            shapes = ", ".join(f"{era} {g.shape}" for era, g in each.items())
            lines.append(f"gradient of {name}: the eras return different shapes: {shapes}")
            continue
        middle = np.median(np.stack(list(each.values())), axis=0)
        for era, g in each.items():
            off = relative(g, middle, scale)
            if not off <= limit:
                lines.append(f"{era}: gradient of {name} differs from the other eras by {off:.1e} "
                             f"(tolerance {limit:.0e})")  # fmt: skip
    return from_numeric, from_eras, lines


def loss_disagreements(losses: dict[str, list[float]], limit: float) -> list[str]:
    """Return one line for each era whose loss leaves the others', with the first step."""
    curves = np.array(list(losses.values()))
    middle = np.median(curves, axis=0)
    lines = []
    for era, curve in zip(losses, curves, strict=True):
        off = np.abs(curve - middle) / np.maximum(np.abs(middle), np.finfo(float).tiny)
        beyond = np.flatnonzero(~(off <= limit))
        if len(beyond):
            first = int(beyond[0])
            lines.append(
                f"{era}: loss {curve[first]:.12g} at step {first + 1}, where the eras' median is "
                f"{middle[first]:.12g}: {off[first]:.1e} apart (tolerance {limit:.0e})"
            )
    return lines
