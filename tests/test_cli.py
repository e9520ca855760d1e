"""The command line as its users meet it: help, output, errors, exit status."""

import json
import os
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from workbench import __version__, cli, compare
from workbench.cli import app

PROMISED = (
    "case era dtype device max_gradient_difference final_loss accuracy "
    "first_result_seconds step_seconds_median peak_bytes user_lines graph_size"
).split()


def workbench(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_help_names_every_command_with_what_it_does():
    shown = workbench("--help")
    assert shown.exit_code == 0
    for word in ("compare", "bench", "doctor", "Train the same network in each era"):
        assert word in shown.output


def test_no_arguments_show_the_help():
    assert "Usage:" in workbench().output


def test_version():
    assert workbench("--version").output == f"workbench {__version__}\n"


def test_compare_prints_the_table_and_that_the_eras_agree():
    done = workbench("compare", "logistic", "--steps", 5)
    assert done.exit_code == 0, done.output
    for era in compare.ERAS:
        assert era in done.stdout
    assert "The eras agree within 1e-09." in done.stderr


def test_compare_json_has_the_header_and_the_promised_keys(tmp_path):
    target = tmp_path / "rows.json"
    done = workbench(
        "compare",
        "logistic",
        "--steps",
        3,
        "--eras",
        "manual,dynamic",
        "--dtype",
        "float32",
        "--json",
        target,
    )
    assert done.exit_code == 0, done.output
    written = json.loads(target.read_text())
    assert {"python", "numpy", "processor", "threads"} <= written["header"].keys()
    assert [row["era"] for row in written["rows"]] == ["manual", "dynamic"]
    assert all(set(PROMISED) <= row.keys() for row in written["rows"])


def test_json_to_the_standard_output_is_json_alone():
    done = workbench("compare", "logistic", "--steps", 2, "--eras", "manual", "--json", "-")
    assert json.loads(done.stdout)["agree"] is True


def test_an_era_alone_has_nobody_to_differ_from(tmp_path):
    target, page = tmp_path / "rows.json", tmp_path / "page"
    done = workbench(
        "compare",
        "expression-trees",
        "--eras",
        "dynamic",
        "--steps",
        2,
        "--json",
        target,
        "--report",
        page,
    )
    assert done.exit_code == 0, done.output
    assert "n/a" in done.stdout
    assert "Era dynamic agrees with the numeric check within 1e-09." in done.stderr
    written = json.loads(target.read_text())
    assert written["rows"][0]["gradient_difference_eras"] is None
    assert len(written["notes"]) == 3
    html = (page / "index.html").read_text()
    assert all(f"<p>{note}</p>" in html for note in written["notes"])
    assert "agrees with the numeric check: no gradient of the first step differs by" in html


def test_text_is_scored_in_bits_too():
    done = workbench("compare", "char-rnn", "--steps", 1, "--dtype", "float32")
    assert done.exit_code == 0, done.output
    assert "test bits per" in done.stdout
    assert "The eras agree within 1e-04." in done.stderr


def test_a_report_opens_with_no_network(tmp_path):
    done = workbench("compare", "digits-cnn", "--steps", 3, "--report", tmp_path / "page")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page" / "index.html").read_text()
    for era in compare.ERAS:
        assert f"<h3>Era {compare.ERAS.index(era) + 1}" in page
    assert page.count("<svg") == 3
    without_names = page.replace("http://www.w3.org/", "").replace("https://matplotlib.org/", "")
    without_names = without_names.replace("http://purl.org/", "")
    without_names = without_names.replace("http://creativecommons.org/", "")
    assert "http" not in without_names
    assert "src=" not in page
    assert "Read off by the comparison" not in page


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["compare", "digit-mlp"], 2, "did you mean 'digits-mlp'?"),
        (["compare", "--eras", "manual,simbolic"], 2, "did you mean 'symbolic'?"),
        (["compare", "expression-trees", "--eras", "manual"], 2, "this era cannot run this case"),
        (["compare", "--steps", "0"], 2, "a whole number of at least 1"),
        (["compare", "--dtype", "float16"], 1, "float32 or float64"),
        (["bench", "mlp-tyni"], 2, "did you mean 'mlp-tiny'?"),
        (["bench", "--peers", "tourch"], 2, "did you mean 'torch'?"),
        (["bench", "--repetitions", "3"], 2, "at least 7"),
    ],
)
def test_a_mistake_is_one_message_and_no_traceback(arguments, status, message):
    done = workbench(*arguments)
    assert done.exit_code == status
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_an_unwritable_target_is_a_message_and_leaves_nothing(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    done = workbench("compare", "logistic", "--steps", 1, "--json", blocked / "rows.json")
    assert done.exit_code == 1
    assert "rows.json" in done.stderr
    assert list(tmp_path.iterdir()) == [blocked]


def test_disagreement_is_exit_status_1_and_is_named(monkeypatch):
    monkeypatch.setattr("workbench.compare.runner.tolerance", lambda dtype: 0.0)
    done = workbench("compare", "digits-mlp", "--steps", 30)
    assert done.exit_code == 1
    assert "The eras do not agree within 0e+00" in done.stderr
    assert "differs from the numeric check" in done.stderr


# The command, which also says on the standard output when it has trained a few steps.
TELLING = """
import workbench.compare as room
from workbench.cli import main

run = room.run


def told(*arguments, progress, **options):
    def tell(*state):
        print("training", flush=True)
        progress(*state)

    return run(*arguments, progress=tell, **options)


room.run = told
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_is_a_line_an_exit_status_and_no_file(tmp_path):
    target = tmp_path / "rows.json"
    command = [sys.executable, "-c", TELLING, "compare", "--steps", "1000000", "--json", target]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "training\n"
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted: compare stopped; nothing was written" in stderr
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_waits_for_a_safe_place_and_a_second_one_does_not():
    before = signal.getsignal(signal.SIGINT)
    passed = []
    with pytest.raises(KeyboardInterrupt), cli.between_blocks() as safe_place:
        safe_place()
        signal.raise_signal(signal.SIGINT)
        passed.append("after the first")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        safe_place()
        passed.append("never")
    assert passed == ["after the first"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_ctrl_c_after_the_last_safe_place_is_not_lost():
    with pytest.raises(KeyboardInterrupt), cli.between_blocks():
        signal.raise_signal(signal.SIGINT)


def test_doctor_names_python_gpu_kernel_and_data():
    done = workbench("doctor")
    assert done.exit_code == 0, done.output
    for word in ("Python", "NumPy", "GPU", "Jupyter kernel", "digits", "mnist"):
        assert word in done.stdout


def test_shell_completion_offers_cases_eras_and_workloads():
    assert cli.starting_with(cli.case_names)("digits-") == ["digits-mlp", "digits-cnn"]
    assert cli.starting_with(cli.era_names)("") == list(compare.ERAS)
    assert cli.starting_with(cli.workload_names)("mlp-t") == ["mlp-tiny"]
    environment = os.environ | {
        "_WORKBENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "workbench compare digits-",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "workbench"], env=environment, capture_output=True, text=True
    )
    assert "digits-cnn" in done.stdout
