"""From numbers to places: linear and logarithmic axes, and the numbers that stand at them."""

import math

import numpy as np

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power(x, digits=2):
    """A number with its power of ten, as one writes it: ``2.6·10⁻⁵``; near one without."""
    rounded = float(f"{x:.{digits - 1}e}")
    exponent = math.floor(math.log10(abs(rounded))) if rounded and math.isfinite(rounded) else 0
    if -3 < exponent < 4:
        return f"{rounded:.{max(0, digits - 1 - exponent)}f}".replace("-", "−")
    factor = f"{rounded / 10.0**exponent:.{digits - 1}f}".replace("-", "−")
    return f"{factor}·10{str(exponent).translate(SUPERSCRIPTS)}"


class Scale:
    """Maps an interval of numbers to an interval of places.

    Parameters
    ----------
    limits : (float, float)
        The numbers at both ends.
    places : (float, float)
        Where they stand, in units of the drawing.
    log : bool
        Whether equal factors are equally far apart; then both limits are positive.

    Raises
    ------
    ValueError
        If the limits are equal, or not positive on a logarithmic axis.
    """

    def __init__(self, limits, places, log=False):
        low, high = map(float, limits)
        if low == high or (log and min(low, high) <= 0):
            kind = "two positive numbers" if log else "two numbers"
            raise ValueError(f"limits {limits} of an axis: give {kind} that differ")
        self.limits, self.places, self.log = (low, high), places, log

    def __call__(self, values):
        """The places of some numbers; far outside of the axis they stop at some distance."""
        values = np.asarray(values, dtype=float)
        low, high = self.limits
        if self.log:
            values = np.log(np.maximum(values, 1e-300))
            low, high = math.log(low), math.log(high)
        share = np.clip((values - low) / (high - low), -2, 3)
        first, last = self.places
        return first + share * (last - first)

    def ticks(self, most=5):
        """Round numbers on the axis, at most about ``most``, and what to write at them."""
        low, high = sorted(self.limits)
        if self.log:
            first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
            step = max(1, math.ceil((last - first) / most))
            powers = range(first, last + 1, step)
            return [(10.0**p, "1" if p == 0 else f"10{str(p).translate(SUPERSCRIPTS)}") for p in powers]
        rough = (high - low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * (1 - 1e-9))
        count = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        return [(n * step, f"{n * step:.6g}".replace("-", "−")) for n in count]
