"""What tests of figures in a browser share: a bare page, a phone, and the hands that move a slider."""

PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Two sliders</title>
<meta name="viewport" content="width=device-width"><style>:root { color-scheme: light dark }
body { background: light-dark(#fff, #121212); color: light-dark(#222, #ddd); max-width: 46rem }</style></head>
<body><main><h1>Two sliders</h1><div id="here">BODY</div></main></body></html>"""

PUT = """html => {
    const host = document.createElement("div");
    host.innerHTML = html;
    document.getElementById("here").append(host);
    for (const old of host.querySelectorAll("script")) {
        const script = document.createElement("script");
        script.textContent = old.textContent;
        old.replaceWith(script);
    }
}"""
"""Shows an output as Jupyter does: it sets innerHTML, then makes each script anew."""


def point(slider, share: float) -> tuple[float, float]:
    """A place on the slider's track, in view, from 0 (left end) to 1."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    return box["x"] + 8 + share * (box["width"] - 16), box["y"] + box["height"] / 2
