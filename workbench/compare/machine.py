"""What a figure was measured on: versions, machine, threads."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import numpy as np

import workbench


def version_of(package: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """Return the processor's name as its maker prints it, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # Only Linux has this file; the next line serves everyone.
    return platform.processor() or platform.machine()


def header(threads: int, device: str = "cpu") -> dict[str, Any]:
    """Return what must stand above any figure: versions, machine, threads, device."""
    return {
        "workbench": workbench.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.platform(terse=True),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": device,
    }
