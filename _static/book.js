document.addEventListener("DOMContentLoaded", () => {
  /* A notebook is saved, not shown as text in a new tab. */
  for (const link of document.querySelectorAll("a.btn-download-source-button")) link.download = "";

  /* What scrolls sideways on this screen can be reached, and then scrolled, by keyboard. */
  const kinds = {
    "div.math": "Formula",
    "div.highlight > pre": "Code",
    "div.cell_output div.output": "Output",
    "div.pst-scrollable-table-container": "Table",
  };
  const attributes = (kind) => ({ tabindex: "0", role: "group", "aria-label": `${kind}, scrolls sideways` });
  for (const [selector, kind] of Object.entries(kinds)) {
    const update = ([{ target }]) => {
      const wide = target.scrollWidth > target.clientWidth;
      for (const [name, value] of Object.entries(attributes(kind))) {
        if (wide) target.setAttribute(name, value);
        else target.removeAttribute(name);
      }
    };
    for (const box of document.querySelectorAll(selector)) new ResizeObserver(update).observe(box);
  }
});
