"""Paired timings: ours / theirs, in one process, in turns.

Absolute times mean nothing on a shared machine, so every figure is a ratio of two
sides that took turns.  Each side first warms up; then come the repetitions of a
batch of steps, ours and theirs alternating, and who goes first alternating too.  A
peer that only queues its work (JAX, CUDA) is waited for once at the end of a batch,
so that its overlap counts in its favour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.compare import peers as theirs
from workbench.compare.runner import peak_bytes
from workbench.compare.table import seconds, size
from workbench.compare.workloads import PEERS, WORKLOADS, Pairing, Runner
from workbench.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from rich.table import Table

# One batch is long enough that the clock and one interruption do not matter.
BATCH_SECONDS = 0.05
LEAST_REPETITIONS = 7
THREADS = 1

Progress = Callable[[str, int, int], None]
Row = dict[str, Any]


def run_bench(
    workloads: Sequence[str] | None = None,
    peers: Sequence[str] | None = None,
    repetitions: int = 9,
    progress: Progress | None = None,
) -> list[Row]:
    """Run workloads against peers and return one row a pair.

    Parameters
    ----------
    workloads, peers : sequence of str, optional
        Names; default all.
    repetitions : int
        Timed batches a side, at least 7.
    progress : callable, optional
        Called as ``progress(label, done, total)`` before each pair.

    Returns
    -------
    list of dict
        With keys ``workload, engine, peer, ratio_median, ratio_min, ratio_max, bar,
        ours_seconds, peer_seconds, ours_bytes, peer_bytes, threads, device, missing``.
        ``missing`` is None, or says how to install an absent peer; then the figures are
        None.  A workload is either timed or weighed: the other two figures are None.

    Raises
    ------
    UnknownNameError, OptionError
        For a workload, peer or number of repetitions that cannot be used.
    """
    from threadpoolctl import threadpool_limits

    for name in workloads or ():
        if name not in WORKLOADS:
            raise unknown_name("bench", "workload", name, WORKLOADS)
    for name in peers or ():
        if name not in PEERS:
            raise unknown_name("bench", "peer", name, PEERS)
    if repetitions < LEAST_REPETITIONS:
        raise OptionError(
            "bench",
            "too few repetitions for a median to mean anything",
            given=f"{repetitions}",
            expected=f"at least {LEAST_REPETITIONS}",
        )
    pairs = [
        (name, pairing)
        for name in workloads or WORKLOADS
        for pairing in WORKLOADS[name].pairings
        if peers is None or pairing.peer in peers
    ]
    if any(PEERS[pairing.peer].missing() is None for _, pairing in pairs):
        for peer in {pairing.peer for _, pairing in pairs}:
            PEERS[peer].limit_threads(THREADS)
    rows = []
    with threadpool_limits(limits=THREADS):
        for done, (name, pairing) in enumerate(pairs):
            if progress:
                progress(f"{name}: {pairing.engine} / {pairing.peer}", done, len(pairs))
            rows.append(measure_pair(name, pairing, repetitions))
    if progress:
        progress("done", len(pairs), len(pairs))
    return rows


def measure_pair(name: str, pairing: Pairing, repetitions: int) -> Row:
    """Time one engine against one peer on one workload."""
    row: Row = {
        "workload": name,
        "engine": pairing.engine,
        "peer": pairing.peer,
        "ratio_median": None,
        "ratio_min": None,
        "ratio_max": None,
        "bar": pairing.bar,
        "ours_seconds": None,
        "peer_seconds": None,
        "ours_bytes": None,
        "peer_bytes": None,
        "threads": THREADS,
        "device": "cpu",
        "missing": PEERS[pairing.peer].missing(),
    }
    if row["missing"] is not None:
        return row
    sides = [WORKLOADS[name].build(pairing.engine), WORKLOADS[name].build(pairing.peer)]
    if WORKLOADS[name].memory:
        return row | weighed(pairing, sides)
    counts = [steps_in_a_batch(side) for side in sides]
    times = np.empty((repetitions, 2))
    for repetition in range(repetitions):
        order = (0, 1) if repetition % 2 == 0 else (1, 0)
        for side in order:
            times[repetition, side] = timed(sides[side], counts[side])
    ours, theirs = np.median(times, axis=0)
    ratios = times[:, 0] / times[:, 1]
    row |= {
        "ratio_median": float(ours / theirs),
        "ratio_min": float(ratios.min()),
        "ratio_max": float(ratios.max()),
        "ours_seconds": float(ours),
        "peer_seconds": float(theirs),
    }
    return row


def weighed(pairing: Pairing, sides: list[Runner]) -> Row:
    """Return the figures of two sides' most memory held, each by its own allocator's count.

    Ours is all that Python and NumPy hold, the objects of the graph included; of a peer
    it is its tensors.  What oneDNN and BLAS take for themselves nobody counts.  Counts do
    not vary, so the smallest and the largest ratio are the ratio.
    """
    peaks = []
    for side, who in zip(sides, (pairing.engine, pairing.peer), strict=True):
        side(1)  # Caches and imports are not what is weighed.

        def work(side: Runner = side) -> None:
            side(2)

        peaks.append(theirs.torch_peak_bytes(work) if who == "torch" else peak_bytes(work, "cpu"))
    ratio = peaks[0] / peaks[1]
    return {"ratio_median": ratio, "ratio_min": ratio, "ratio_max": ratio,
            "ours_bytes": peaks[0], "peer_bytes": peaks[1]}  # fmt: skip


def timed(run: Runner, steps: int) -> float:
    """Return the seconds a step of one batch of steps."""
    begin = time.perf_counter()
    run(steps)
    return (time.perf_counter() - begin) / steps


def steps_in_a_batch(run: Runner) -> int:
    """Warm a side up, and return how many of its steps fill ``BATCH_SECONDS``."""
    run(1)  # Compiles, fills caches.
    steps = 1
    while (spent := timed(run, steps) * steps) < BATCH_SECONDS / 2:
        steps *= 2
    return max(1, round(steps * BATCH_SECONDS / spent))


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table for a terminal."""
    from rich.table import Table

    made = Table(
        title="ours / theirs; below 1 is faster than the peer",
        caption=f"median, minimum and maximum; {THREADS} thread on both sides",
    )
    for heading, justify in (("workload", "left"), ("engine", "left"), ("peer", "left"),
                             ("ratio", "right"), ("min", "right"), ("max", "right"),
                             ("bar", "right"), ("ours", "right"), ("theirs", "right")):  # fmt: skip
        made.add_column(heading, justify=justify, no_wrap=heading != "ratio")  # type: ignore[arg-type]
    for row in rows:
        start = (row["workload"], row["engine"], row["peer"])
        if row["missing"] is not None:
            made.add_row(*start, row["missing"].replace("[", r"\["))
            continue
        bar = row["bar"]
        met = "" if bar is None else "green" if row["ratio_median"] < bar else "red"
        ratio = f"[{met}]{row['ratio_median']:.2f}[/]" if met else f"{row['ratio_median']:.2f}"
        made.add_row(*start, ratio, f"{row['ratio_min']:.2f}", f"{row['ratio_max']:.2f}",
                     "" if bar is None else f"{bar:.2f}",
                     figure(row, "ours"), figure(row, "peer"))  # fmt: skip
    return made


def figure(row: Row, side: str) -> str:
    """Return what a side took, in time or in memory."""
    weight: int | None = row[f"{side}_bytes"]
    return seconds(row[f"{side}_seconds"]) if weight is None else size(weight)
