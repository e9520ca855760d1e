"""What every test shares: GPU tests say why they are skipped."""

import pytest

from workbench import arrays


def pytest_collection_modifyitems(items):
    problem = arrays.gpu_problem()
    if problem is None:
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=f"needs a GPU: {problem}"))
