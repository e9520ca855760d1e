"""These tests hold us against PyTorch, JAX and HIPS autograd; `make test-peers` runs them.

Elsewhere they skip, with that reason, before anything is imported: PyTorch's operator
database alone takes seconds to load.
"""

from collections import Counter

import pytest


class NotNow(pytest.Module):
    def collect(self):
        pytest.skip("held against PyTorch, JAX and autograd by `make test-peers`",
                    allow_module_level=True)  # fmt: skip


def pytest_pycollect_makemodule(module_path, parent):
    asked = parent.config.getoption("markexpr").replace("not peers", "")
    if "peers" not in asked:
        return NotNow.from_parent(parent, path=module_path)
    return None


def pytest_terminal_summary(terminalreporter):
    """Say how much was compared, and how many samples each rule left out."""
    counts = [dict(report.user_properties) for report in terminalreporter.getreports("passed")]
    counts = [count for count in counts if "samples" in count]
    if not counts:
        return
    total = sum(map(Counter, counts), Counter())
    terminalreporter.section("PyTorch's operator database")
    terminalreporter.line(
        f"{len(counts)} operators, {total.pop('samples')} samples: {total.pop('gradients')} with "
        f"gradient, {total.pop('second')} to second order; {total.pop('float32')} in float32"
    )
    for rule, count in total.most_common():
        terminalreporter.line(f"{count:6} samples left out: {rule}")
