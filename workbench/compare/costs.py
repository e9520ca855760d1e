"""What a step of one program costs beside plain training, for the notes under a table."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from workbench import arrays
from workbench.compare.table import seconds

REPETITIONS = 5


def quickest(*runs: Callable[[], object]) -> list[float]:
    """Return the least seconds that each took, in turns, after one untimed call of each."""
    for run in runs:
        run()
    spent: list[list[float]] = [[] for _ in runs]
    for _ in range(REPETITIONS):
        for run, times in zip(runs, spent, strict=True):
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
    return [min(times) for times in spent]


def beside_sgd(era: str, network: Any, x: Any, y: Any) -> str:
    """Say how long a step of ``network`` takes beside one of SGD on the same model and era.

    Both go on training; the network is spent afterwards.
    """
    source = importlib.import_module(type(network).__module__)
    plain = importlib.import_module(f"workbench.compare.programs.mlp.{era}")
    other = plain.Network(source.weights(network), 0.1)
    ours, sgd = quickest(*(lambda net=net: float(arrays.to_host(net.step(x, y)))
                           for net in (network, other)))  # fmt: skip
    return f"a step takes {seconds(ours)}, {ours / sgd:.3g} times one of SGD ({seconds(sgd)})"
