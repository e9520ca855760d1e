"""A matplotlib figure that shows itself anywhere, and says in words what it shows.

It is drawn on a :class:`matplotlib.figure.Figure` of its own: no pyplot state, no
magic command, nothing to close.  Imported only when something is drawn, so that
``import workbench.views`` needs no matplotlib.
"""

from __future__ import annotations

import base64
import html
import io
from typing import Any

from workbench.errors import require

require("matplotlib", room="workbench.views", extra="lab")

from matplotlib.figure import Figure  # noqa: E402

from workbench.views import palette  # noqa: E402

SHARPNESS = 2  # Pixels of the image for each pixel of the page.
PAGE_DPI = 80


class Picture(Figure):
    """A figure with a description for those who cannot see it.

    Parameters
    ----------
    width, height : float
        Inches.
    alt : str
        What the picture shows, in a sentence; may be set later.
    """

    def __init__(self, width: float, height: float, alt: str = "") -> None:
        super().__init__(figsize=(width, height), dpi=PAGE_DPI * SHARPNESS,
                         facecolor=palette.PAPER, layout="constrained")  # fmt: skip
        self.alt = alt

    def png(self) -> bytes:
        """Return the picture as a PNG file."""
        file = io.BytesIO()
        self.savefig(file, format="png", metadata={"Description": self.alt},
                     pil_kwargs={"compress_level": 3})  # fmt: skip
        return file.getvalue()

    def html(self) -> str:
        """Return the picture as an HTML image that holds its own data."""
        data = base64.b64encode(self.png()).decode()
        width = round(self.get_figwidth() * PAGE_DPI)
        return (f'<img alt="{html.escape(self.alt)}" style="width:{width}px;max-width:100%" '
                f'src="data:image/png;base64,{data}">')  # fmt: skip

    def _repr_html_(self) -> str:
        return self.html()


def tidy(axes: Any) -> None:
    """Leave of a pair of axes what carries information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=palette.INK, labelsize=9)
    axes.grid(True, color="#E8EBEF", linewidth=0.8)
    axes.set_axisbelow(True)
