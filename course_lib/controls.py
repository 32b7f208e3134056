"""Parts of an HTML figure that is moved by sliders, shared by its kinds.

Styles stand in the elements, so that they touch nothing else on the page; sliders are hidden until a script shows them.
"""

import re
from html import escape

ANNOUNCER = (
    '<p aria-live="polite" style="position:absolute;width:1px;height:1px;margin:0;overflow:hidden;'
    'clip-path:inset(50%)"></p>'
)
"""An element that is not seen and that a screen reader speaks when its text changes."""


def html_id(name: str) -> str:
    """Return the id of a figure, made from a name."""
    return "explore-" + re.sub(r"\W+", "-", name.lower()).strip("-")


def slider(label: str, last: int, start: int, words: str, shown: str, width: int) -> str:
    """Return a labelled slider over the positions 0 to `last`, with its value beside it.

    Parameters
    ----------
    label
        What the slider sets.
    last, start
        The last position, and the one it starts at.
    words, shown
        The value at the start, as a screen reader says it and as the eye reads it.
    width
        The most characters that `shown` will ever have, so that the slider stays in its place.
    """
    return f"""<div style="display:flex;flex-wrap:wrap;align-items:end;column-gap:1em;padding:4px">
<label style="flex:1 1 12em;min-width:0">{escape(label)}
<input type="range" min="0" max="{last}" value="{start}" autocomplete="off" \
aria-valuetext="{escape(words)}" \
style="display:block;box-sizing:border-box;width:100%;height:44px;margin:0;accent-color:#0173b2"></label>
<output aria-live="off" style="min-width:min({width}ch,100%);line-height:44px;font-weight:bold">\
{escape(shown)}</output>
</div>"""
