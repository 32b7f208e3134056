"""Sliders: one parameter, one picture, frames drawn beforehand from results that are already there.

The output of a cell holds two views of the same frames. Where a kernel is running, Jupyter and Colab show an ipywidgets
slider. Everywhere else (the site, a notebook that nobody has run) a browser shows an HTML flipbook that needs no kernel
and no network, and where scripts do not run, its start frame is a plain picture.
"""

import base64
import io
import json
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from numbers import Real

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib.figure import Figure
from PIL import Image

from course_lib import controls
from course_lib.arguments import switched_on

FRAME_BYTES, DPI = 12_000, (100, 90, 80, 72, 66, 60)
"""The most that a frame may take, and the resolutions tried in turn; below the last, tick labels cannot be read."""

COLORS, GAP = 64, 24
"""Colours of a frame at most, and how far apart they are in RGB: few make small files, and a mark keeps its colour."""

SCRIPT = """(id, frames) => {
  for (const figure of document.querySelectorAll(`[id="${id}"]:not([data-ready])`)) {
    const [picture, slider, output, status] = ["img", "input", "output", "p"].map((tag) => figure.querySelector(tag));
    let timer;
    figure.dataset.ready = "";
    frames[slider.defaultValue][0] = picture.src;
    slider.addEventListener("input", () => {
      const [source, value, alt] = frames[slider.value];
      Object.assign(picture, { src: source, alt });
      output.textContent = value;
      slider.setAttribute("aria-valuetext", `${value} (${Number(slider.value) + 1} of ${frames.length})`);
      clearTimeout(timer);
      timer = setTimeout(() => { status.textContent = `${value}: ${alt}`; }, 400);
    });
    figure.querySelector("[hidden]").hidden = false;
  }
}"""
"""The flipbook's whole script: a function of the figure's id and of [picture, value, alternative text] per position."""


def explore(draw, values, *, label: str, alt, start=None, name: str | None = None) -> "Flipbook":
    """Draw one picture per value and put them behind a slider; make this the last expression of a cell.

    Parameters
    ----------
    draw
        ``draw(value)`` draws one picture from results that were computed before, and returns a figure or draws on
        matplotlib's current one, without ``plt.show()``. It may be called again, to draw at a lower resolution.
    values
        The slider's positions, in order: numbers or strings, at least two.
    label
        What the slider sets, such as ``"latent dimensions d"``.
    alt
        ``alt(value)`` says in words what is to be seen in that frame: the finding, not the kind of picture.
    start
        The value shown first, and as a plain picture where scripts do not run (None: the first).
    name
        Part of the HTML id, different for each slider on a page (None: made from `label`).

    Returns
    -------
    Flipbook
        What Jupyter shows: a live slider with a kernel, an HTML flipbook without. With the environment variable
        ``COURSE_LIB_STATIC=1`` it is the flipbook alone.

    Raises
    ------
    ValueError
        For fewer than two values, values that look alike, a `start` that is not among them, an empty `label` or
        alternative text, a picture that is empty or of another size, or one that stays above 12 kB.
    """
    values = [values] if isinstance(values, str | Real) else list(values)
    texts = [_text(value) for value in values]
    if len(values) < 2:
        raise ValueError(f"values holds {len(values)} value(s): {values}; a slider needs at least two.")
    for i, (value, text) in enumerate(zip(values, texts, strict=True)):
        if not isinstance(value, str | Real) or not text.strip():
            raise ValueError(f"values holds {value!r}; give numbers, or strings that are not empty.")
        if text in texts[:i]:
            raise ValueError(f"values holds {text} more than once; give each position of the slider once.")
    if start is not None and _text(start) not in texts:
        raise ValueError(f"start is {start!r}, which is not among the values {', '.join(texts)}; choose one of them.")
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"label is {label!r}; say in words what the slider sets.")
    alts = [alt(value) for value in values]
    for value, words in zip(values, alts, strict=True):
        if not isinstance(words, str) or not words.strip():
            raise ValueError(f"alt({value!r}) is {words!r}; say in words what is to be seen in that frame.")
    frames, size = _frames(draw, values)
    first = 0 if start is None else texts.index(_text(start))
    return Flipbook(controls.html_id(name or label), label, values, texts, alts, frames, size, first)


@dataclass(repr=False)
class Flipbook:
    """Frames behind a slider, as `explore` makes them.

    Attributes
    ----------
    html_id, label
        The figure's id, unique on a page, and the slider's label.
    values, texts, alts, frames
        Per position of the slider: the value, how it is written, the alternative text, the picture (a WebP file).
    size, start
        Width and height of the picture in CSS pixels, and the position shown first.
    """

    html_id: str
    label: str
    values: list
    texts: list[str]
    alts: list[str]
    frames: list[bytes]
    size: tuple[int, int]
    start: int
    _view: ipywidgets.VBox | None = None

    def __repr__(self) -> str:
        shown = self.texts if len(self.texts) < 4 else [*self.texts[:2], "…", self.texts[-1]]
        return f"explore({self.label}: {', '.join(shown)})"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        bundle = {"text/plain": repr(self), "text/html": self._html()}
        if getattr(get_ipython(), "kernel", None) and not switched_on("COURSE_LIB_STATIC"):
            view = {"version_major": 2, "version_minor": 0, "model_id": self._widget().model_id}
            bundle["application/vnd.jupyter.widget-view+json"] = view
        return bundle

    def _widget(self) -> ipywidgets.VBox:
        """Return the live view. It holds widgets and is none, so that ipywidgets 7 and 8 both show it."""
        if self._view is None:
            slider = ipywidgets.SelectionSlider(
                options=[(text, i) for i, text in enumerate(self.texts)],
                value=self.start,
                description=self.label,
                style={"description_width": "initial"},
                layout={"width": "auto", "max_width": f"{self.size[0]}px"},
            )
            picture = ipywidgets.HTML(self._image(self.start))  # ipywidgets.Image has no alternative text
            slider.observe(lambda change: setattr(picture, "value", self._image(change["new"])), names="value")
            self._view = ipywidgets.VBox([slider, picture])
        return self._view

    def _image(self, i: int) -> str:
        width, height = self.size
        style = f"display:block;width:100%;max-width:{width}px;height:auto;background:#fff"
        size = f'width="{width}" height="{height}" decoding="sync" style="{style}"'
        return f'<img src="{_uri(self.frames[i])}" alt="{escape(self.alts[i])}" {size}>'

    def _html(self) -> str:
        """Return the flipbook."""
        texts, start = self.texts, self.start
        rows = [["" if i == start else _uri(frame), texts[i], self.alts[i]] for i, frame in enumerate(self.frames)]
        data = ",\n".join(json.dumps(row, ensure_ascii=False).replace("<", "\\u003c") for row in rows)
        words, width = f"{texts[start]} ({start + 1} of {len(texts)})", max(map(len, texts))
        moved = controls.slider(self.label, len(texts) - 1, start, words, texts[start], width)
        return f"""<figure id="{self.html_id}" style="position:relative;margin:0;max-width:{self.size[0]}px">
<div hidden>{moved}</div>
{self._image(start)}
{controls.ANNOUNCER}
<script>({SCRIPT})("{self.html_id}", [
{data}
]);</script>
</figure>"""


def _uri(frame: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(frame).decode()


def _text(value) -> str:
    """Write a value as the slider shows it: 0.1 + 0.2 as 0.3, a whole float without its point."""
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def _frames(draw, values: list) -> tuple[list[bytes], tuple[int, int]]:
    """Return the pictures, all at the highest resolution at which each of them is small enough, and their size."""
    for dpi in DPI:
        frames, sizes = [], []
        for value in values:
            with _fresh_figure():
                drawn = draw(value)
                figure = drawn if isinstance(drawn, Figure) else plt.gcf()
                if not (figure.texts or any(ax.has_data() or ax.texts for ax in figure.axes)):
                    raise ValueError(f"draw({value!r}) draws nothing; return a figure, or draw on plt.gca() (no show).")
                sizes.append(tuple(round(100 * inches) for inches in figure.get_size_inches()))
                frames.append(_encode(figure, dpi))
            if sizes[-1] != sizes[0]:
                raise ValueError(f"draw({value!r}) has size {sizes[-1]}, the first {sizes[0]}; use one size for all.")
            if len(frames[-1]) > FRAME_BYTES:
                break
        else:
            return frames, sizes[0]
    raise ValueError(
        f"draw({value!r}) takes {len(frames[-1]):,} bytes at {dpi} dpi and may take {FRAME_BYTES:,}; draw fewer points "
        "(about 1,500 fit), fewer shades, or a smaller figure."
    )


@contextmanager
def _fresh_figure():
    """Give pyplot an empty current figure; afterwards, the open figures, the current one and the settings it had."""
    before = plt.get_fignums()
    current = plt.gcf().number if before else None
    with plt.rc_context({"savefig.bbox": None}):
        try:
            yield plt.figure(layout="constrained")
        finally:
            for number in set(plt.get_fignums()) - set(before):
                plt.close(number)
            if current in plt.get_fignums():
                plt.figure(current)


def _encode(figure: Figure, dpi: int) -> bytes:
    """Return the figure as WebP without loss, in few colours: the same bytes for the same picture."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, facecolor="white")
    picture, palette = Image.open(drawn).convert("RGB"), Image.new("P", (1, 1))
    palette.putpalette(np.resize(_palette(np.asarray(picture)), (256, 3)).astype(np.uint8).tobytes())
    few = picture.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")
    few.save(small, format="webp", lossless=True, quality=100, method=4)
    return small.getvalue()


def _palette(pixels: np.ndarray) -> np.ndarray:
    """Return the most frequent colours (n, 3), each at least GAP from those before it: flat areas stay as drawn."""
    codes, counts = np.unique(pixels.reshape(-1, 3) @ np.array([65536, 256, 1]), return_counts=True)
    codes = codes[np.argsort(-counts, kind="stable")]
    left, chosen = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1), []
    while len(left) and len(chosen) < COLORS:
        chosen.append(left[0])
        left = left[((left - left[0]) ** 2).sum(axis=1) > GAP**2]
    return np.array(chosen)
