"""Numeric derivatives: the check that runs through all four eras.

A gradient is a claim about a function, and the function itself can be asked.  This
package is one question, how far a difference quotient may be trusted, in these words:

    h       step; distances are measured between points that floats can hold
    slope   derivative of ``f`` along one element, or along a random direction
    noise   how far rounding makes ``f`` jitter: measured (Moré and Wild, 2011)
    wobble  how far the quotients at ``h`` and ``2h`` disagree: bounds the truncation
    kink    a point where the wobble does not shrink with ``h``: no derivative there

A claim passes if it is within wobble + noise / h of the quotient, and within what
rounding may have done to the claim itself.  No tolerance is set by hand.
"""

from workbench.gradcheck.check import GradientReport, Kink, check_gradient
from workbench.gradcheck.diagnosis import diagnose
from workbench.gradcheck.numeric import ErrorCurve, error_curve, numeric_gradient

__all__ = [
    "ErrorCurve",
    "GradientReport",
    "Kink",
    "check_gradient",
    "diagnose",
    "error_curve",
    "numeric_gradient",
]
