"""Colours that readers with any kind of colour vision can tell apart.

The eight colours are those of Okabe and Ito, *Color Universal Design* (2008).  No
picture here relies on colour alone: names, dashes or places say the same.
"""

from __future__ import annotations

BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"

INK, FAINT, PAPER = "#1F2328", "#C9CED6", "#FFFFFF"
"""Text and lines; what is there but not meant; what it is drawn on."""

ERAS = {"manual": ORANGE, "symbolic": BLUE, "dynamic": GREEN, "functional": PURPLE}
"""One colour an era, the same in every picture."""


def mix(colour: str, other: str, share: float) -> str:
    """Return a colour between two, both written ``"#RRGGBB"``.

    Parameters
    ----------
    colour, other : str
    share : float
        How much of ``other``, from 0 to 1.
    """
    pairs = ((int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)
