"""HIPS autograd's own tests, run on era 4 under autograd's names.

The suite comes with autograd's source distribution; ``AUTOGRAD_TESTS`` says where its ``tests``
folder lies.  Nothing of it is kept here.  Every failure must match a reason below.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.peers

SUITE = os.environ.get("AUTOGRAD_TESTS")

REASONS = {
    "a complex array is an argument of grad, or a matrix: derivatives here are of real numbers":
        r"IntegerInputError|linear algebra here is of real numbers|there is no such operation on this"
        r"|(has no|does without) (holomorphic_grad|eig|iscomplex|angle|real_if_close)\b",
    "autograd's own machinery: vector spaces, graphs made constant, deprecated wrappers, names":
        r"(has no|does without) (vspace|const_graph|quick_grad_check|_dot)\b|has no attribute 'def"
        r"|'<lambda>' == 'grad'|assert False == True|DID NOT RAISE NotImpl",
    "NumPy itself is given a traced value, which is refused with the construct to use":
        r"TracerArrayError",
    "a list with traced values stands for an array: array or stack makes one":
        r"this is not an array of numbers|this is not an index",
    "SciPy's distributions, special functions, signals, integrators and matrix functions":
        r"does without (?!vspace|const_graph|quick_grad_check|holomorphic_grad)",
    "a function that era 4 does not have":
        r"era 4 has no|JVPTracer' object has no attribute 'flatten'",
    "an option that era 4 does not have": r"unexpected keyword argument",
    "the gradient of a comparison: refused here, zero with a warning there":
        r"a cotangent must have the shape and dtype",
    "the slope of std where all values are equal: none here (nan, as in JAX), zero there":
        r"check of std failed: nan",
    "assignment to a traced array: each refuses with an error of its own": r"MutationError",
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return test -> message of its failure, or None, for those that ran."""
    if not SUITE:
        pytest.skip("AUTOGRAD_TESTS names no folder: unpack autograd's source distribution")
    report = tmp_path_factory.mktemp("suite") / "report.xml"
    here = str(Path(__file__).parent)
    subprocess.run(
        [sys.executable, "-m", "pytest", SUITE, "-p", "autograd_alias", "-p", "no:cacheprovider",
         "-c", os.devnull, "--rootdir", SUITE, "--continue-on-collection-errors", "-q",
         f"--junitxml={report}"],
        env={**os.environ, "PYTHONPATH": here}, check=False, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            bad = case.find("failure") if case.find("failure") is not None else case.find("error")
            message = None if bad is None else f"{bad.get('message')}\n{bad.text}"
            found[f"{case.get('classname')}.{case.get('name')}"] = message
    return found


def reason(message):
    """Return the first reason whose pattern is in the message, not in the code around it."""
    first = message.split("\n", 1)[0]
    return next((why for why, pattern in REASONS.items() if re.search(pattern, first)), None)


def test_every_failure_has_a_reason(results):
    unexplained = {k: v.split("\n")[0] for k, v in results.items() if v and not reason(v)}
    assert not unexplained


def test_most_pass(results, capsys):
    failures = Counter(reason(message) for message in results.values() if message)
    passed = len(results) - failures.total()
    own = [message for name, message in results.items() if not name.startswith("test_scipy.")]
    with capsys.disabled():
        print(f"\nautograd's suite on era 4: {passed} of {len(results)} pass; "
              f"{own.count(None)} of {len(own)} without SciPy's")  # fmt: skip
        for why, count in failures.most_common():
            print(f"{count:6} {why}")
    assert passed >= 440
    assert own.count(None) >= 0.83 * len(own) > 400
