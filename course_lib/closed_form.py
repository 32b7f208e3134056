"""Distributions behind up to three sliders, computed in the page itself.

The output of a cell is HTML that carries its own small script (``closed_form.js``), so that one and the same output
moves on the site, from a file without a network, in Colab and in a live kernel. Where scripts do not run (as on GitHub)
it is a picture of the start values, drawn here. The script draws the same picture and moves it.
"""

import json
import math
import re
from dataclasses import dataclass
from html import escape
from numbers import Real
from pathlib import Path
from urllib.parse import quote

import numpy as np

from course_lib import arguments, controls, density_plot
from course_lib.density_plot import Drawn, digits, step
from course_lib.distributions import FAMILIES, Family, Parameter

SCRIPT = re.sub(r"^\s*(//.*)?\n|^\s+", "", Path(__file__).with_suffix(".js").read_text("utf-8"), flags=re.M)
"""The script, without comments and indents."""

MOST_COUNTS = 500
"""The most counts that the x axis may show."""

KEYS = {
    "bars": "height:.8em;background:{0}",
    "curve": "height:3px;vertical-align:.25em;background:{0}",
    "dots": "width:.6em;height:.6em;margin:0 .3em;border-radius:50%;background:{0}",
    "dashed curve": "border-top:3px dashed {0};vertical-align:.25em",
}
"""Each shape of the picture as a small sign before its sentence."""


def explore(distribution: str, /, *, compare=None, x=None, y=None, xlabel=None, name=None, **parameters) -> "Figure":
    """Draw a distribution behind one slider for each of its parameters; make this the last expression of a cell.

    Each further keyword argument is a parameter: a triple (least, greatest, start) for a slider, or a number that
    stays fixed. A slider goes in equal ratios where its greatest value is more than 20 times its least, else in equal
    steps. The distributions and their parameters, in the book's notation: "normal" (mu, sigma); "gamma" (mu, and theta,
    its shape: variance μ²/θ); "Poisson" (mu); "negative binomial" (mu, theta: variance μ + μ²/θ); "zero-inflated
    negative binomial" (mu, theta, and pi, the probability of an *extra* zero). And for one observed number x that is
    z ~ N(0, 1) plus noise: "posterior" (noise, observed), of z; "approximate posterior" (mu, sigma_z, noise, observed),
    a normal q(z) with its evidence lower bound.

    Parameters
    ----------
    distribution
        One of these names.
    compare
        The name of a distribution to draw beside it, with the values of the parameters that the two share; or
        (name, {parameter: number, …}), where it has some of its own.
    x
        (low, high) of the x axis, which never moves (None: to four standard deviations from the mean at the start).
        A curve is drawn through 180 points of it.
    y
        Height of the y axis (None: what the start needs). It grows in steps of 1, 2, 5 where a bar needs more.
    xlabel
        Label of the x axis (None: ``"count"`` or ``"x"``).
    name
        Part of the HTML id, different for each figure on a page (None: the name of the distribution).

    Returns
    -------
    Figure
        What Jupyter shows: HTML with a script, the same with a kernel and without, whatever ``COURSE_LIB_STATIC`` says.

    Raises
    ------
    ValueError
        For an unknown name, a parameter that is missing, unknown, out of its domain or of its order, no slider at all,
        a second distribution with a parameter that has no value, or an axis that cannot be drawn.
    """
    family = _family("distribution", distribution)
    _complete(f"The {distribution} distribution", family.parameters, parameters)
    sliders, values = [], {}
    for key, parameter in family.parameters.items():
        positions, values[key] = _positions(key, parameters[key], parameter)
        if positions:
            sliders.append(Slider(key, parameter.label, positions, positions.index(values[key])))
    if not sliders:
        raise ValueError(f"{parameters} leaves nothing to move; give a parameter as (least, greatest, start).")
    drawn = [Drawn(distribution, values, list(values), "bars" if family.counts else "curve")]
    if compare is not None:
        drawn.append(_second(compare, values))
    low, high = _range(drawn, x)
    if y is not None:
        arguments.require_positive("y", y)
    least = density_plot.axis(drawn, low, high) if y is None else y
    xlabel = xlabel or ("count" if family.counts else "x")
    return Figure(controls.html_id(name or distribution), sliders, drawn, low, high, least, xlabel)


@dataclass
class Slider:
    """A parameter that moves: its name, its label, its values in order, and where it starts among them."""

    key: str
    label: str
    values: list[float]
    start: int


@dataclass(repr=False)
class Figure:
    """A picture with sliders, as `explore` makes it.

    Attributes
    ----------
    html_id
        The figure's id, unique on a page.
    sliders, drawn
        What can be moved, and one or two distributions at the start values.
    low, high, least, xlabel
        Range of the x axis, the height that the y axis has at least, and the label of the x axis.
    """

    html_id: str
    sliders: list[Slider]
    drawn: list[Drawn]
    low: float
    high: float
    least: float
    xlabel: str

    def __repr__(self) -> str:
        return "\n".join(one.sentence(self.low, self.high) for one in self.drawn)

    def _repr_html_(self) -> str:
        height = density_plot.axis(self.drawn, self.low, self.high, self.least)
        picture = density_plot.svg(self.drawn, self.low, self.high, height, self.xlabel)
        lines, alts = [], []
        for one, color in zip(self.drawn, density_plot.COLORS, strict=False):
            said, sign = one.sentence(self.low, self.high), KEYS[one.shape].format(color)
            alts.append(f"{one.shape.capitalize()}: {said}")
            sign = f'<span style="display:inline-block;width:1.2em;{sign}"></span>'
            lines.append(f"<div>{sign} <span data-line>{escape(said)}</span></div>")
        shown = [[digits(value) for value in slider.values] for slider in self.sliders]
        width = max(len(text) for texts in shown for text in texts)
        moved = [
            controls.slider(slider.label, len(texts) - 1, slider.start, texts[slider.start], texts[slider.start], width)
            for slider, texts in zip(self.sliders, shown, strict=True)
        ]
        return f"""<figure id="{self.html_id}" style="position:relative;margin:0;max-width:560px">
<div hidden>{"".join(moved)}</div>
<img src="data:image/svg+xml,{quote(picture, safe="/:=,;'()")}" alt="{escape(" ".join(alts))}" \
width="{density_plot.WIDTH}" height="{density_plot.HEIGHT}" \
style="display:block;width:100%;height:auto;background:#fff">
<div aria-hidden="true" style="padding:4px">
{"".join(lines)}
</div>
{controls.ANNOUNCER}
<script>(() => {{
{SCRIPT}closedForm("{self.html_id}", {json.dumps(self._spec(), ensure_ascii=False, separators=(",", ":"))});
}})();</script>
</figure>"""

    def _spec(self) -> dict:
        """Return what the script has to know."""
        moved = [slider.key for slider in self.sliders]
        drawn = [
            {
                "kind": one.name,
                "counts": one.family.counts,
                "shape": one.shape,
                "fixed": one.values,
                "moved": [key for key in moved if key in one.values and (i == 0 or key not in one.told)],
                "told": [[key, one.family.parameters[key].symbol] for key in one.told],
                "same": one.same(),
            }
            for i, one in enumerate(self.drawn)
        ]
        sliders = [{"key": slider.key, "values": slider.values} for slider in self.sliders]
        plot, points = density_plot.PLOT, density_plot.POINTS
        axes = {"low": self.low, "high": self.high, "least": self.least, "plot": plot, "points": points}
        return {"drawn": drawn, "sliders": sliders, **axes}


def _family(argument: str, name: object) -> Family:
    if not isinstance(name, str) or name not in FAMILIES:
        raise ValueError(f"{argument} is {name!r}; the known distributions are {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def _complete(what: str, wanted, given) -> None:
    """Raise a ValueError unless `given` has exactly the parameters `wanted`."""
    for words, keys in (("needs", set(wanted) - set(given)), ("does not have", set(given) - set(wanted))):
        if keys:
            raise ValueError(f"{what} {words} {', '.join(sorted(keys))}; its parameters are {', '.join(wanted)}.")


def _positions(key: str, given, parameter: Parameter) -> tuple[list[float], float]:
    """Return the values of a slider in order, no two of which look alike, and its start; for a number, no values."""
    if isinstance(given, Real):
        parameter.check(key, given)
        return [], float(given)
    if not isinstance(given, tuple | list) or len(given) != 3:
        raise ValueError(f"{key} is {given!r}; give (least, greatest, start), or one number that stays fixed.")
    for value in given:
        parameter.check(key, value)
    low, high, start = map(float, given)
    if not low < high or not low <= start <= high:
        raise ValueError(f"{key} is {given!r}; in (least, greatest, start), start lies between least < greatest.")
    if low > 0 and high / low > 20:
        n = math.ceil(math.log(high / low) / math.log(1.06))
        grid = low * (high / low) ** (np.arange(n) / n)
    else:
        width = step((high - low) / 100)
        grid = low + width * np.arange(math.ceil((high - low) / width - 1e-9))
    rounded = [float(f"{value:.3g}") for value in grid.round(9)]
    return sorted({digits(v): v for v in (*rounded, low, high, start) if low <= v <= high}.values()), start


def _second(compare, values: dict[str, float]) -> Drawn:
    """Return the distribution that is drawn beside the first one, whose start values are `values`."""
    name, own = compare if isinstance(compare, tuple | list) and len(compare) == 2 else (compare, {})
    family = _family("compare", name)
    shared = {key: values[key] for key in family.parameters if key in values and key not in own}
    _complete(f"The {name} distribution, in compare,", family.parameters, {**shared, **own})
    for key, value in own.items():
        family.parameters[key].check(key, value)
    ordered = {key: float({**shared, **own}[key]) for key in family.parameters}
    return Drawn(name, ordered, [key for key in ordered if key in own], "dots" if family.counts else "dashed curve")


def _range(drawn: list[Drawn], x) -> tuple[float, float]:
    """Return the range of the x axis, as given or around the means at the start, with room for the outer bars."""
    if x is None:
        laws = [one.family.law(**one.values) for one in drawn]
        low = min(law.mean - 4 * math.sqrt(law.variance) for law in laws)
        high = max(law.mean + 4 * math.sqrt(law.variance) for law in laws)
        between = step((high - low) / 20)
        low = low if drawn[0].name == "normal" else max(0, low)
        x = math.floor(low / between) * between, math.ceil(high / between) * between
    arguments.require_pair("x", x, "the lower and the upper end of the axis")
    low, high = map(float, x)
    if not low < high or ((high < 1 or high - low > MOST_COUNTS) and any(one.family.counts for one in drawn)):
        raise ValueError(f"x is {x!r}; give (low, high) with low < high, and at most {MOST_COUNTS} counts between.")
    return (max(0, math.ceil(low)) - 0.5, math.floor(high) + 0.5) if drawn[0].family.counts else (low, high)
