"""Comparisons that run, comparisons that are refused, and runs that go wrong."""

import dataclasses
import importlib.util
import re

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, eigsh

from workbench import compare, datasets, functional
from workbench.compare import cases, runner
from workbench.compare.programs.trees import dynamic as trees_dynamic
from workbench.compare.programs.trees import functional as trees_functional
from workbench.compare.programs.trees import shapes
from workbench.compare.programs.trees import symbolic as trees_static
from workbench.errors import DeviceError, DtypeError, NotFiniteError, OptionError, UnknownNameError

PROMISED = (
    "case era dtype device max_gradient_difference final_loss accuracy "
    "first_result_seconds step_seconds_median peak_bytes user_lines graph_size"
).split()


TREES = "expression-trees"
PER_SAMPLE, HESSIAN = "per-sample-gradients", "hessian-vector"
STEPS = {"char-rnn": 8, TREES: 3, PER_SAMPLE: 10}  # Their steps are slow; of the others, 40.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", compare.CASES)
def test_the_eras_agree(name, dtype):
    steps = STEPS.get(name, 40)
    result = compare.run(name, steps=steps, dtype=dtype)
    assert result.agree, result.disagreements
    assert tuple(result.losses) == compare.case(name).eras
    for row in result.rows:
        assert set(PROMISED) <= row.keys()
        assert 0 <= row["max_gradient_difference"] <= result.tolerance
        assert row["dtype"] == dtype
        assert row["peak_bytes"] > 0
        assert row["user_lines"] > 0
        assert len(result.losses[row["era"]]) == steps
        assert (row["graph_size"] > 0) == (row["era"] != "manual")
        assert row["gradient_difference_eras"] <= result.tolerance
    assert min(row["step_ratio"] for row in result.rows) == 1


def test_all_cases_but_the_trees_run_in_every_era():
    assert [name for name, case in compare.CASES.items() if case.eras != compare.ERAS] == [TREES]


@pytest.mark.parametrize("case", compare.CASES.values(), ids=lambda case: case.name)
def test_an_era_has_a_program_or_a_reason(case):
    folder = f"workbench.compare.programs.{case.program}"
    written = [era for era in compare.ERAS if importlib.util.find_spec(f"{folder}.{era}")]
    assert tuple(written) == case.eras
    assert case.absent.keys() == set(compare.ERAS) - set(written)


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize(
    ("name", "least"),
    [("digits-mlp", 0.95), ("logistic", 0.93), ("mnist-mlp", 0.91), ("digits-cnn", 0.93),
     ("char-rnn", 0.37), ("expression-trees", 0.87), (PER_SAMPLE, 0.94), (HESSIAN, 0.93)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_whole_run_learns_and_still_agrees(name, least, dtype):
    result = compare.run(name, dtype=dtype)
    assert result.agree, result.disagreements
    assert all(row["accuracy"] > least for row in result.rows)
    if dtype == "float64":  # In float32 rounding may decide an example on the border.
        assert len({row["accuracy"] for row in result.rows}) == 1
    if name == "char-rnn":  # Frequencies alone take 4.7 bits a character.
        assert all(row["test_loss"] / np.log(2) < 3.2 for row in result.rows)


def test_eras_can_be_chosen_and_come_in_historical_order():
    result = compare.run("logistic", ["functional", "manual"], steps=2)
    assert [row["era"] for row in result.rows] == ["manual", "functional"]


def test_progress_is_told_after_each_block_and_reaches_the_total():
    calls = []
    compare.run("logistic", ["manual"], steps=45, progress=lambda *call: calls.append(call))
    assert calls == [("manual", 20, 45), ("manual", 40, 45), ("manual", 45, 45)]


def test_the_same_case_twice_gives_the_same_losses():
    first, second = (compare.run("digits-cnn", ["dynamic"], steps=5).losses for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "digit-mlp"}, UnknownNameError, "did you mean 'digits-mlp'?"),
        ({"eras": ["dinamic"]}, UnknownNameError, "did you mean 'dynamic'?"),
        ({"eras": []}, OptionError, "no era was chosen"),
        ({"name": TREES, "eras": ["manual"]}, OptionError, "manual: its layers go back in one"),
        ({"name": TREES, "eras": ["manual"]}, OptionError, "some of symbolic, dynamic"),
        ({"steps": 0}, OptionError, "steps=0"),
        ({"steps": 2.5}, OptionError, "steps=2.5"),
        ({"dtype": "float16"}, DtypeError, "expected: float32 or float64"),
        ({"dtype": "flout32"}, DtypeError, "given:    'flout32'"),
        ({"device": "tpu"}, UnknownNameError, "one of cpu, gpu"),
    ],
)
def test_bad_arguments_are_refused_in_words(arguments, error, message):
    with pytest.raises(error) as caught:
        compare.run(**({"name": "logistic"} | arguments))
    assert message in str(caught.value)


def test_a_gpu_that_is_not_there_is_refused_with_what_would_bring_it(monkeypatch):
    monkeypatch.setattr("workbench.arrays.gpu_problem", lambda: "CuPy is not installed: pip ...")
    with pytest.raises(DeviceError, match="CuPy is not installed"):
        compare.run("logistic", device="gpu")


@pytest.mark.parametrize("era", compare.ERAS)
def test_nan_in_the_data_stops_the_run_and_names_era_step_and_layer(era, monkeypatch):
    load = datasets.load
    case = compare.case("digits-mlp")
    data = load("digits", dtype="float64", images=False)
    # Spoil one example of the third batch, wherever the seeded order puts it.
    marked = np.arange(len(data.x_train))
    third = list(datasets.batches(data.x_train, marked, case.batch_size, seed=case.seed, steps=3))[
        2
    ]
    x = np.array(data.x_train)
    x[third[1][0], 5] = np.nan
    spoilt = dataclasses.replace(data, x_train=x)
    monkeypatch.setattr(datasets, "load", lambda *_, **__: spoilt)
    with pytest.raises(NotFiniteError) as caught:
        compare.run("digits-mlp", [era], steps=10)
    assert f"the loss of era {era!r} is not finite at step 3" in str(caught.value)
    assert "the input batch holds nan at [0, 5], the first of 1" in str(caught.value)


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn", "char-rnn", "expression-trees"])
def test_a_run_that_diverges_names_the_first_layer_that_is_not_finite(name, monkeypatch):
    wild = dataclasses.replace(compare.case(name), learning_rate=1e308)
    monkeypatch.setitem(compare.CASES, name, wild)
    with pytest.raises(NotFiniteError) as caught:
        compare.run(name, ["dynamic"], steps=50)
    message = str(caught.value)
    assert "the loss of era 'dynamic' is not finite at step" in message
    assert any(layer in message for layer in ("parameter", "affine", "convolution", "logits"))


def test_a_wrong_era_is_found_out(monkeypatch):
    program = runner.program(compare.case("digits-mlp"), "dynamic")
    step = program.Network.step

    def slower(network, x, y):
        network.optimizer.lr = 0.5 * (1 + 1e-6)
        return step(network, x, y)

    monkeypatch.setattr(program.Network, "step", slower)
    result = compare.run("digits-mlp", steps=5)
    assert not result.agree
    assert [line.split(":")[0] for line in result.disagreements] == ["dynamic"]
    assert "at step 2" in result.disagreements[0]


def test_an_era_that_runs_alone_is_held_to_the_numeric_check(monkeypatch):
    program = runner.program(compare.case(TREES), "dynamic")
    right = program.gradients

    def wrong(*arguments):
        *others, last = right(*arguments)
        return [*others, last * (1 + 1e-6)]

    monkeypatch.setattr(program, "gradients", wrong)
    result = compare.run(TREES, ["dynamic"], steps=1)
    assert [row["gradient_difference_eras"] for row in result.rows] == [None]
    assert result.verdict == "Era dynamic does not agree with the numeric check"
    assert [line[:50] for line in result.disagreements] == [
        "dynamic: gradient of b_out differs from the numeri"
    ]


def numbers(note):
    """Return the whole numbers that stand in a note as words of their own."""
    words = (word.strip("(),;:.").replace(",", "") for word in note.split())
    return [int(word) for word in words if word.isdecimal()]


def test_notes_name_absent_eras_and_what_guessing_does():
    notes = compare.run(TREES, ["dynamic"], steps=1).notes
    assert [note.split()[0] for note in notes] == ["manual", "Guessing", "dynamic:"]
    assert "manual is not available for this case: its layers go back in one order" in notes[0]
    assert "51.20% right" in notes[1]
    after, before = numbers(notes[2])[:2]  # What batching saves.
    assert 10 * after < before
    assert compare.run("logistic", ["manual"], steps=1).notes == []


def test_notes_of_the_static_graph_count_padding_and_shapes():
    case = compare.case(TREES)
    trees, y = next(iter(case.batches(case.data("float32"), 1)))
    trees, y = trees[:5], y[:5]
    program = runner.program(case, "symbolic")
    network = program.Network(case.weights("float32"), case.learning_rate)
    padding, a_graph_a_shape = program.notes(network, trees, y)
    longest, needed = max(tree.leaves for tree in trees) - 1, sum(tree.leaves - 1 for tree in trees)
    assert numbers(padding) == [5 * longest, 5 * longest - needed]
    assert numbers(a_graph_a_shape)[:3] == [5, len({bare(tree) for tree in trees}), 3]


def notes_of(name, era, dtype="float64"):
    case = compare.case(name)
    program = runner.program(case, era)
    x, y = next(iter(case.batches(case.data(dtype), 1)))
    return list(program.notes(program.Network(case.weights(dtype), case.learning_rate), x, y))


def test_functional_trees_say_what_one_more_size_takes():
    (note,) = notes_of(TREES, "functional", "float32")
    assert note.startswith("jit compiles the loop once for each size of the largest tree")


COST = r": a step takes [\d.]+ (us|ms|s), [\d.e+]+ times one of SGD \([\d.]+ (us|ms|s)\)"


@pytest.mark.parametrize(
    ("name", "era", "words"),
    [(PER_SAMPLE, "manual", "by a rule that holds for affine layers alone"),
     (PER_SAMPLE, "symbolic", "in a compiled loop that differentiates each"),
     (PER_SAMPLE, "dynamic", "a Python loop of 32 backward passes, one an example"),
     (PER_SAMPLE, "functional", "vmap of the gradient of one example makes all 32 at once"),
     (HESSIAN, "manual", "the program a second time, differentiated line by line"),
     (HESSIAN, "symbolic", "H u is the gradient of g . u, one graph"),
     (HESSIAN, "dynamic", "backward through backward, which has to be recorded (create_graph)"),
     (HESSIAN, "functional", "H u is jvp of grad")],
)  # fmt: skip
def test_every_era_says_how_it_does_it_and_at_what_cost(name, era, words):
    note = notes_of(name, era)[-1]
    assert words + ":" in note
    assert re.search(COST, note)


def per_sample_gradients(case, dtype="float64"):
    """Return the gradients of the first batch, one example a row (N, P), by era 4."""
    x, y = next(iter(case.batches(case.data(dtype), 1)))
    one = runner.program(case, "functional").loss
    each = functional.vmap(functional.grad(one), in_axes=(None, 0, 0))(case.weights(dtype), x, y)
    return np.concatenate([np.asarray(g).reshape(len(x), -1) for g in each], axis=1)


def test_clipping_cuts_long_gradients_only():
    case = compare.case(PER_SAMPLE)
    rows = per_sample_gradients(case)
    norms = np.sqrt((rows * rows).sum(axis=1))
    x, y = next(iter(case.batches(case.data("float64"), 1)))
    np.testing.assert_allclose(case.norms(case.weights("float64"), x, y), norms, rtol=1e-12)
    long = norms > case.CLIP
    assert 0 < long.sum() < len(long)
    cut = np.where(long[:, None], case.CLIP * rows / norms[:, None], rows).mean(axis=0)
    for era in compare.ERAS:
        program = runner.program(case, era)
        assert program.CLIP == case.CLIP
        network = program.Network(case.weights("float64"), case.learning_rate)
        made = np.concatenate([np.ravel(g) for g in program.gradients(network, x, y)])
        np.testing.assert_allclose(made, cut, rtol=1e-9, atol=1e-12)
    counted = notes_of(PER_SAMPLE, "manual")[0]
    assert f"norms from {norms.min():.2f} to {norms.max():.2f}, and {long.sum()} are" in counted


def test_the_largest_eigenvalue_is_that_of_the_whole_hessian():
    case = compare.case(HESSIAN)
    x, y = next(iter(case.batches(case.data("float64"), 1)))
    weights, program = case.weights("float64"), runner.program(case, "functional")
    sizes = np.cumsum([w.size for w in weights])[:-1]

    def gradient(flat):
        parts = np.split(flat, sizes)
        changed = [part.reshape(w.shape) for part, w in zip(parts, weights, strict=True)]
        g = functional.grad(program.loss)(changed, x, y)
        return np.concatenate([np.ravel(a) for a in g])

    # Lanczos on differences of gradients: no second derivative of ours has a part in it.
    start = np.concatenate([w.ravel() for w in weights])
    product = LinearOperator((start.size, start.size), dtype="float64", matvec=lambda v: (
        gradient(start + 1e-5 * v.ravel()) - gradient(start - 1e-5 * v.ravel())) / 2e-5)  # fmt: skip
    (largest,) = eigsh(product, k=1, return_eigenvectors=False, tol=1e-8)
    noted = notes_of(HESSIAN, "functional")[0]
    assert noted.startswith("the largest eigenvalue of the first batch, at the first weights, is ")
    assert float(noted.split(" is ")[1].split()[0]) == pytest.approx(largest, rel=5e-3)


def test_a_wrong_second_derivative_is_found_out(monkeypatch):
    program = runner.program(compare.case(HESSIAN), "manual")
    right = program.Network.curvature

    def without_the_bend_of_tanh(network, x, saved, u):
        h, logits, g, gh = saved
        return right(network, x, (h, logits, g, 0 * gh), u)

    monkeypatch.setattr(program.Network, "curvature", without_the_bend_of_tanh)
    result = compare.run(HESSIAN, ["manual"], steps=1)
    assert "manual: gradient of w1 differs from the numeric check" in result.disagreements[0]


def bare(tree):
    """Return the shape of a tree, as parentheses."""
    return "." if tree.op == "leaf" else f"({bare(tree.left)}{bare(tree.right)})"


def train(network, batches):
    return [float(network.step(*batch)) for batch in batches]


def test_trees_train_alike_with_batching_and_without():
    case = compare.case(TREES)
    program = runner.program(case, "dynamic")
    batches = list(case.batches(case.data("float64"), 6))

    def losses(strategy):
        network = program.Network(case.weights("float64"), case.learning_rate, strategy)
        return train(network, batches)

    one_by_one = losses(None)
    assert len(set(one_by_one)) == 6
    for strategy in ("agenda", "depth"):
        np.testing.assert_allclose(losses(strategy), one_by_one, rtol=1e-13)


def test_trees_train_alike_with_padding_and_with_a_graph_for_each_shape():
    case = compare.case(TREES)
    batches = [(trees[:3], y[:3]) for trees, y in case.batches(case.data("float64"), 1)] * 3
    leaf = datasets.Tree.leaf(0.5)
    held_out = [*batches[0][0], leaf]  # One has no operation at all.
    made = []
    programs = (shapes, trees_static, trees_dynamic, trees_functional)
    for network in (program.Network for program in programs):
        network = network(case.weights("float64"), case.learning_rate)
        made.append((train(network, batches), network.predict(held_out), network.predict([leaf])))
    assert len(set(made[0][0])) == 3
    for each in made[1:]:
        for ours, expected in zip(each, made[0], strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_text_comes_time_first_and_targets_are_what_follows():
    case = compare.case("char-rnn")
    data = case.data("float32")
    for x, y in [*case.batches(data, 2), case.held_out(data)]:
        assert len(x) == len(y) == case.LENGTH
        np.testing.assert_array_equal(x[1:], y[:-1])
    assert x.size == pytest.approx(len(datasets.shakespeare().test), abs=2 * case.LENGTH)
    assert case.shapes["table"][0] == len(data.classes)


def test_guessing_by_frequency():
    nats, accuracy = cases.by_frequency(
        datasets.Dataset("made", np.zeros(6), np.array([0, 0, 0, 0, 1, 1]), np.zeros(4),
                         np.array([0, 0, 0, 1]), ("a", "b"))
    )  # fmt: skip
    assert accuracy == 0.75
    assert nats == pytest.approx(-(3 * np.log(5 / 8) + np.log(3 / 8)) / 4)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "era"),
    [*(("digits-mlp", era) for era in compare.ERAS), ("char-rnn", "manual"), ("char-rnn", "dynamic")],
)  # fmt: skip
def test_the_gpu_agrees_with_the_cpu(name, era):
    on_cpu = compare.run(name, [era], steps=20)
    on_gpu = compare.run(name, [era], steps=20, device="gpu")
    np.testing.assert_allclose(on_gpu.losses[era], on_cpu.losses[era], rtol=1e-9)
