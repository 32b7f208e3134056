"""One or two distributions as an SVG picture, and each as a sentence.

``closed_form.js`` makes the same paths and the same sentences in the page, letter by letter. Numbers are rounded, so
that the text is the same on every machine.
"""

import math
from dataclasses import dataclass
from html import escape

import numpy as np

from course_lib.distributions import FAMILIES, Family

WIDTH, HEIGHT = 420, 260
"""Size of the picture in its own units, in which its text is 13 high."""

PLOT = LEFT, RIGHT, TOP, BOTTOM = 56, 410, 30, 215
"""Edges of the plot within the picture."""

POINTS, SHARES, COLORS = 180, (0, 0.5, 1), ("#0173b2", "#d55e00")
"""Points of a curve, the places of ticks as shares of the y axis, the colours of the first and second distribution."""

PENS = {
    "bars": 'fill="{0}" fill-opacity=".45" stroke="{0}" stroke-width=".8"',
    "curve": 'fill="none" stroke="{0}" stroke-width="2.5"',
    "dots": 'fill="none" stroke="{0}" stroke-width="5" stroke-linecap="round"',
    "dashed curve": 'fill="none" stroke="{0}" stroke-width="2.5" stroke-dasharray="7 4"',
}
"""How each shape is drawn, in a colour."""


@dataclass
class Drawn:
    """A distribution as it is drawn.

    Attributes
    ----------
    name, values
        Which distribution, and all its parameters.
    told
        The parameters that its sentence gives; the others are those of the distribution it stands beside.
    shape
        One of `PENS`.
    """

    name: str
    values: dict[str, float]
    told: list[str]
    shape: str

    @property
    def family(self) -> Family:
        """The family of its name."""
        return FAMILIES[self.name]

    def points(self, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """Return where it is drawn, at each count or at the middles of equal steps, and its values there."""
        if self.family.counts:
            x = np.arange(max(0, math.ceil(low)), math.floor(high) + 1)
        else:
            x = low + (np.arange(POINTS) + 0.5) * (high - low) / POINTS
        return x, self.family.law(**self.values).density(x)

    def same(self) -> str:
        """Return words for the parameters that it shares."""
        symbols = [parameter.symbol for key, parameter in self.family.parameters.items() if key not in self.told]
        return f" {'and' if self.told else 'with'} the same {' and '.join(symbols)}" if symbols else ""

    def sentence(self, low: float, high: float) -> str:
        """Say what the distribution is, and its facts."""
        law, counts = self.family.law(**self.values), self.family.counts
        told = ", ".join(f"{self.family.parameters[key].symbol} = {digits(self.values[key])}" for key in self.told)
        peaks = " and ".join(str(peak) if counts else digits(peak) for peak in law.peaks)
        facts = [f"mean {digits(law.mean)}", f"variance {digits(law.variance)}"]
        facts.append(f"{'most probable' if counts else 'highest at'} {peaks}")
        if law.facts:
            facts = [f"{words} {digits(value)}" for words, value in law.facts.items()]
        outside = ""
        if counts:
            zero, beyond = law.density(0), 1 - self.points(low, high)[1].sum()
            facts.append("P(0) below 0.0001" if zero < 1e-4 else f"P(0) = {digits(zero)}")
            outside = f" {digits(100 * beyond)} % lie beyond the picture." if beyond >= 0.005 else ""
        return f"{self.name}{told and ' with ' + told}{self.same()}: {', '.join(facts)}.{outside}"

    def path(self, low: float, high: float, height: float) -> str:
        """Return the path's data, for a y axis from 0 to `height`."""
        parts, base = [], _coordinate(BOTTOM)

        def across(x):
            return _coordinate(LEFT + ((RIGHT - LEFT) * (x - low)) / (high - low))

        for x, value in zip(*self.points(low, high), strict=True):
            y = _coordinate(BOTTOM - ((BOTTOM - TOP) * value) / height)
            if self.shape == "dots":
                parts.append(f"M{across(x)},{y}h0")
            elif self.shape != "bars":
                parts.append(f"{'L' if parts else 'M'}{across(x)},{y}")
            elif y != base:
                parts.append(f"M{across(x - 0.4)},{base}V{y}H{across(x + 0.4)}V{base}")
        return "".join(parts)


def axis(drawn: list[Drawn], low: float, high: float, least: float = 0) -> float:
    """Return the height of the y axis: `least`, or the next 1, 2, 5, 10, … where a distribution needs more."""
    peak = max(float(one.points(low, high)[1].max()) for one in drawn)
    return least if peak <= least else step(peak)


def svg(drawn: list[Drawn], low: float, high: float, height: float, xlabel: str) -> str:
    """Return the picture: grid and ticks, the axes' labels, and one path for each distribution."""
    parts = []
    for share in SHARES:
        y = BOTTOM - share * (BOTTOM - TOP)
        parts.append(f'<path data-grid="" d="M{LEFT},{y:g}H{RIGHT}" stroke="currentColor" stroke-opacity=".25"/>')
        parts.append(
            f'<text data-share="{share}" x="{LEFT - 6}" y="{y + 4:g}" text-anchor="end">{height * share:.6g}</text>'
        )
    between = step((high - low) / 6)
    for i in range(math.ceil(low / between - 1e-9), math.floor(high / between + 1e-9) + 1):
        x = _coordinate(LEFT + (RIGHT - LEFT) * (i * between - low) / (high - low))
        parts.append(f'<path data-grid="" d="M{x},{BOTTOM}v4" stroke="currentColor"/>')
        label = f"{i * between:.6g}".replace("-", "−")
        parts.append(f'<text x="{x}" y="{BOTTOM + 17}" text-anchor="middle">{label}</text>')
    ylabel = "probability" if drawn[0].family.counts else "density"
    parts.append(f'<text x="{(LEFT + RIGHT) // 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(xlabel)}</text>')
    parts.append(f'<text x="4" y="14">{ylabel}</text>')
    for one, color in zip(drawn, COLORS, strict=False):
        parts.append(f'<path data-law="" d="{one.path(low, high, height)}" {PENS[one.shape].format(color)}/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="13" fill="currentColor">{"".join(parts)}</svg>'
    )


def digits(value: float) -> str:
    """Write a number with three significant digits; a tie goes up on every machine."""
    mantissa, power = f"{value * (1 + 1e-12):.2e}".split("e")
    if -5 < int(power) < 6:
        text = f"{float(f'{mantissa}e{power}'):.{max(0, 2 - int(power))}f}"
    else:
        text = f"{mantissa} × 10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return text.replace("-", "−")


def step(value: float) -> float:
    """Return the least of 1, 2, 5, 10, 20, 50, … times a power of ten that is not below `value`."""
    ladder = (float(f"{mantissa}e{power}") for power in range(-12, 300) for mantissa in (1, 2, 5))
    return next(found for found in ladder if found >= value * (1 - 1e-9))


def _coordinate(value: float) -> str:
    return f"{value + 1e-7:.1f}".removesuffix(".0")
