"""Train one case in several eras, side by side, and measure each.

The eras take turns, a block of steps each, so that whatever else the machine is
doing falls on all of them alike.  Every era sees the same first weights and the
same batches in the same order.
"""

from __future__ import annotations

import importlib
import itertools
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench import arrays, gradcheck
from workbench.compare.agreement import gradient_differences, loss_disagreements, tolerance
from workbench.compare.cases import CASES, ERAS, Arrays, Case, case, cross_entropy
from workbench.compare.machine import header
from workbench.compare.source import user_lines
from workbench.errors import NotFiniteError, OptionError, unknown_name

# The steps one era takes before the next has its turn.
BLOCK = 20

Progress = Callable[[str, int, int], None]
"""Called with an era, the steps it has done, and the steps of the whole run."""


@dataclass
class EraRun:
    """One era's run: what it computed and what that cost.

    ``losses`` has one entry a step; times are in seconds, memory in bytes.
    """

    era: str
    losses: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    first_result_seconds: float = 0.0
    gradients: Arrays = field(default_factory=list)
    accuracy: float = 0.0
    test_loss: float = 0.0
    peak_bytes: int = 0
    user_lines: int = 0
    graph_size: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class Result:
    """A finished comparison.

    Attributes
    ----------
    rows : list of dict
        One an era, with the keys that ``--json`` promises.
    losses : dict
        Era to its loss at every step.
    disagreements : list of str
        One line for each era that left the others, saying where; empty if all agree.
    notes : list of str
        What else a reader should know: eras that cannot run the case, and why; how well
        one guesses; what an era has to say about its run.
    header : dict
        Versions and machine.
    """

    case: str
    dtype: str
    device: str
    steps: int
    tolerance: float
    rows: list[dict[str, Any]]
    losses: dict[str, list[float]]
    disagreements: list[str]
    notes: list[str]
    header: dict[str, Any]

    @property
    def agree(self) -> bool:
        """Whether every era stayed within the tolerance of the others."""
        return not self.disagreements

    @property
    def verdict(self) -> str:
        """Who agrees, in words; an era that runs alone has only the numeric check to meet."""
        if len(self.rows) > 1:
            return "The eras agree" if self.agree else "The eras do not agree"
        (row,) = self.rows
        does = "agrees" if self.agree else "does not agree"
        return f"Era {row['era']} {does} with the numeric check"


def run(
    name: str = "digits-mlp",
    eras: Sequence[str] | None = None,
    *,
    steps: int | None = None,
    dtype: str = "float64",
    device: str = "cpu",
    progress: Progress | None = None,
) -> Result:
    """Train one case in each era and compare what came out.

    Parameters
    ----------
    name : str
        One of ``CASES``.
    eras : sequence of str, optional
        Some of ``"manual"``, ``"symbolic"``, ``"dynamic"``, ``"functional"``; default all
        that can run the case.
    steps : int, optional
        Training steps; default as the case says.
    dtype : str
        ``"float64"`` or ``"float32"``.
    device : str
        ``"cpu"`` or ``"gpu"``.
    progress : callable, optional
        Called as ``progress(era, done, total)`` after each block of steps.

    Returns
    -------
    Result

    Raises
    ------
    UnknownNameError, OptionError, DtypeError, DeviceError
        For a case, era, number of steps, dtype or device that cannot be run.
    NotFiniteError
        If a loss is NaN or infinite; names the era, the step and the layer.
    """
    from threadpoolctl import threadpool_limits

    chosen = case(name)
    names = check_eras(chosen, eras)
    total = check_steps(chosen.steps if steps is None else steps)
    float_type = arrays.float_dtype(dtype, "compare")
    arrays.check_device(device, "compare")
    with threadpool_limits(limits=1), np.errstate(over="ignore", invalid="ignore"):
        comparison = Comparison(chosen, names, total, float_type, device)
        comparison.train(progress)
        return comparison.result()


def check_eras(chosen: Case, eras: Sequence[str] | None) -> list[str]:
    """Return the eras to run, in historical order."""
    if eras is None:
        return list(chosen.eras)
    for era in eras:
        if era not in ERAS:
            raise unknown_name("compare", "era", era, ERAS)
        if era in chosen.absent:
            raise OptionError(f"compare {chosen.name}", "this era cannot run this case",
                              given=f"{era}: {chosen.absent[era]}",
                              expected="some of " + ", ".join(chosen.eras))  # fmt: skip
    if not eras:
        raise OptionError("compare", "no era was chosen",
                          expected="some of " + ", ".join(chosen.eras))  # fmt: skip
    return [era for era in ERAS if era in eras]


def check_steps(steps: int) -> int:
    """Return the number of steps if it is a positive whole number."""
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 1:
        raise OptionError(
            "compare",
            "the number of steps is not usable",
            given=f"steps={steps!r}",
            expected="a whole number of at least 1",
        )
    return int(steps)


def program(chosen: Case, era: str) -> ModuleType:
    """Return the module that holds one era's program for a case."""
    return importlib.import_module(f"workbench.compare.programs.{chosen.program}.{era}")


class Comparison:
    """One comparison while it runs."""

    def __init__(
        self, chosen: Case, eras: list[str], steps: int, dtype: np.dtype[Any], device: str
    ) -> None:
        self.case, self.steps, self.dtype, self.device = chosen, steps, dtype, device
        self.data = chosen.data(dtype)
        self.programs = {era: program(chosen, era) for era in eras}
        self.runs = {era: EraRun(era) for era in eras}

    def place(self, batch: Any) -> Any:
        """Put an array on the device; trees have no place."""
        return arrays.to_device(batch, self.device) if hasattr(batch, "shape") else batch

    def build(self, era: str) -> Any:
        weights = [self.place(w) for w in self.case.weights(self.dtype)]
        return self.programs[era].Network(weights, self.case.learning_rate)

    def first_batch(self) -> tuple[Any, npt.NDArray[Any]]:
        return next(iter(self.case.batches(self.data, 1)))

    def train(self, progress: Progress | None) -> None:
        for era in self.runs:
            self.inspect(era)
        networks = {era: self.start(era) for era in self.runs}
        batches = self.case.batches(self.data, self.steps)
        done = 0
        while block := list(itertools.islice(batches, BLOCK)):
            for era, network in networks.items():
                self.advance(era, network, block, done)
                if progress:
                    progress(era, done + len(block), self.steps)
            done += len(block)
        x, y = self.case.held_out(self.data)
        for era, network in networks.items():
            logits = arrays.to_host(network.predict(self.place(x)))
            self.runs[era].accuracy = float(np.mean(logits.argmax(axis=1) == y.reshape(-1)))
            self.runs[era].test_loss = float(cross_entropy(logits, y))

    def inspect(self, era: str) -> None:
        """Record what does not need training: gradients, graph, source, memory."""
        run, source = self.runs[era], self.programs[era]
        x, y = map(self.place, self.first_batch())
        network = self.build(era)
        run.gradients = [arrays.to_host(g) for g in source.gradients(network, x, y)]
        run.graph_size = source.graph_size(network, x, y)
        run.user_lines = user_lines(source)
        run.peak_bytes = peak_bytes(lambda: self.build(era).step(x, y), self.device)
        if hasattr(source, "notes"):
            run.notes = [f"{era}: {note}" for note in source.notes(network, x, y)]

    def start(self, era: str) -> Any:
        """Build the network that will be trained; time it to its first loss."""
        x, y = map(self.place, self.first_batch())
        arrays.synchronize(self.device)
        begin = time.perf_counter()
        float(arrays.to_host(self.build(era).step(x, y)))
        self.runs[era].first_result_seconds = time.perf_counter() - begin
        return self.build(era)

    def advance(self, era: str, network: Any, block: list[tuple[Any, Any]], done: int) -> None:
        """Train on one block of batches, timing each step and watching each loss."""
        run = self.runs[era]
        for number, (x_host, y_host) in enumerate(block, start=done + 1):
            x, y = self.place(x_host), self.place(y_host)
            begin = time.perf_counter()
            loss = float(arrays.to_host(network.step(x, y)))
            run.step_seconds.append(time.perf_counter() - begin)
            if not np.isfinite(loss):
                raise self.not_finite(era, number, x_host)
            run.losses.append(loss)

    def not_finite(self, era: str, step: int, x: Any) -> NotFiniteError:
        """Say in which layer NaN or infinity first appears.

        By now the bad loss has spoilt every weight, so the same batches are trained
        again up to the step before, and the reference pass goes on from there.
        """
        network = self.build(era)
        for x_before, y_before in self.case.batches(self.data, step - 1):
            network.step(self.place(x_before), self.place(y_before))
        weights = [arrays.to_host(w) for w in self.programs[era].weights(network)]
        return NotFiniteError(
            f"compare {self.case.name}",
            f"the loss of era {era!r} is not finite at step {step}",
            given=first_not_finite(self.case, weights, x),
            fix="NaN in the data has to go; NaN out of the training wants smaller steps",
        )

    def result(self) -> Result:
        runs = list(self.runs.values())
        limit = tolerance(self.dtype)
        numeric = numeric_gradients(self.case)
        from_numeric, from_eras, disagreements = gradient_differences(
            {run.era: run.gradients for run in runs}, numeric, list(self.case.shapes), limit
        )
        losses = {run.era: run.losses for run in runs}
        disagreements += loss_disagreements(losses, limit)
        medians = {run.era: float(np.median(run.step_seconds)) for run in runs}
        fastest = min(medians.values())
        alone = len(runs) == 1
        rows = [
            {
                "case": self.case.name,
                "era": run.era,
                "dtype": self.dtype.name,
                "device": self.device,
                "max_gradient_difference": max(from_numeric[run.era], from_eras[run.era]),
                "gradient_difference_numeric": from_numeric[run.era],
                "gradient_difference_eras": None if alone else from_eras[run.era],
                "final_loss": run.losses[-1],
                "test_loss": run.test_loss,
                "accuracy": run.accuracy,
                "first_result_seconds": run.first_result_seconds,
                "step_seconds_median": medians[run.era],
                "step_ratio": medians[run.era] / fastest,
                "peak_bytes": run.peak_bytes,
                "user_lines": run.user_lines,
                "graph_size": run.graph_size,
            }
            for run in runs
        ]
        notes = [f"{era} is not available for this case: {why}."
                 for era, why in self.case.absent.items()]  # fmt: skip
        notes += self.case.notes(self.data) + [note for run in runs for note in run.notes]
        return Result(self.case.name, self.dtype.name, self.device, self.steps, limit, rows,
                      losses, disagreements, notes, header(1, self.device))  # fmt: skip


def peak_bytes(work: Callable[[], object], device: str) -> int:
    """Return the most memory that ``work`` held at once, in bytes, arrays included."""
    if device == "gpu":
        return arrays.gpu_peak_bytes(work)
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    work()
    _, peak = tracemalloc.get_traced_memory()
    if not was_tracing:
        tracemalloc.stop()
    return peak - before


def numeric_gradients(chosen: Case) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Differentiate the first step's objective numerically, in float64, by complex steps.

    The complex step has no truncation error and crosses no kink of relu or of max
    pooling, so the comparison is limited by the eras' own rounding.

    Returns
    -------
    list of (indices, derivatives), one a parameter
        Flat indices of a seeded sample of elements (all, where there are few), and
        the derivative of the loss with respect to each.
    """
    weights = chosen.weights(np.float64)
    x, y = next(iter(chosen.batches(chosen.data(np.float64), 1)))
    objective = chosen.objective(weights, x, y)
    rng = np.random.default_rng(chosen.seed)
    samples = [
        np.sort(rng.choice(weight.size, min(weight.size, chosen.samples), replace=False))
        for weight in weights
    ]

    def loss(*values: Any) -> Any:
        changed = []
        for weight, sample, value in zip(weights, samples, values, strict=True):
            value = value if np.imag(value).any() else np.real(value)  # Real products are faster.
            changed.append(weight.astype(value.dtype))
            changed[-1].reshape(-1)[sample] = value
        return objective(changed)

    taken = [weight.reshape(-1)[sample] for weight, sample in zip(weights, samples, strict=True)]
    derivatives = gradcheck.numeric_gradient(loss, taken, "complex")
    return list(zip(samples, derivatives, strict=True))


def first_not_finite(chosen: Case, weights: Arrays, x: Any) -> str:
    """Name the first of input, parameters and layers that holds NaN or infinity."""
    named = [("the input batch", x)] if hasattr(x, "shape") else []
    named += [(f"parameter {name}", w) for name, w in zip(chosen.shapes, weights, strict=True)]
    for name, value in itertools.chain(named, chosen.layers(weights, x)):
        bad = ~np.isfinite(value)
        if bad.any():
            where = ", ".join(str(int(i)) for i in np.argwhere(bad)[0])
            return f"{name} holds {value[bad][0]} at [{where}], the first of {bad.sum()}"
    return "all layers are finite up to the logits; the loss itself is not"


__all__ = ["CASES", "ERAS", "Result", "run"]
