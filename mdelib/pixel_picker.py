"""A photograph that one can click, or walk over with the arrow keys, and a map that answers.

One widget of ipywidgets, with its script below. Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

import anywidget
import traitlets

__all__ = ["PixelPicker"]

SCRIPT = """
function render({ model, el }) {
  const [height, width] = model.get("size");
  let [row, column] = model.get("place");
  let waits = false;
  const make = (kind, parent, style, more = {}) => {
    const made = Object.assign(document.createElement(kind), more);
    made.style.cssText = style;
    parent.append(made);
    return made;
  };
  const panels = make("div", el, "display:flex;flex-wrap:wrap;gap:12px");
  const panel = (title) => {
    const figure = make("figure", panels, "margin:0;flex:1 1 240px;max-width:400px");
    make("figcaption", figure, "font-size:0.9em", { textContent: title });
    const frame = make("div", figure, "position:relative;line-height:0");
    const picture = make("img", frame, "width:100%;image-rendering:pixelated", { draggable: false });
    const cross = make("div", frame, "position:absolute;transform:translate(-50%,-50%);pointer-events:none;" +
      "font:bold 26px/26px monospace;color:#000;text-shadow:0 0 3px #fff,0 0 3px #fff", { textContent: "+" });
    cross.setAttribute("aria-hidden", "true");
    return { frame, picture, cross };
  };
  const [question, answer] = model.get("titles").map(panel);
  const words = make("p", el, "margin:4px 0;min-height:1.4em");
  words.setAttribute("aria-live", "polite");
  const pad = question.frame;
  pad.tabIndex = 0;
  pad.style.cursor = "crosshair";
  pad.setAttribute("role", "application");
  pad.setAttribute("aria-label", model.get("label") + " Arrow keys move the cross, with Shift by ten pixels; " +
    "Enter asks. A click asks too.");
  pad.setAttribute("data-lm-suppress-shortcuts", "true");
  question.picture.alt = model.get("label");
  question.picture.src = model.get("picture");

  const mark = (one, [r, c]) => {
    one.cross.style.left = `${(100 * (c + 0.5)) / width}%`;
    one.cross.style.top = `${(100 * (r + 0.5)) / height}%`;
  };
  const move = (r, c) => {
    row = Math.max(0, Math.min(height - 1, r));
    column = Math.max(0, Math.min(width - 1, c));
    mark(question, [row, column]);
    words.textContent = `row ${row}, column ${column}: press Enter to ask`;
  };
  const ask = () => {
    const [r, c] = model.get("place");
    if (r === row && c === column) return waits || show();
    waits = true;
    words.textContent = `row ${row}, column ${column}: asking`;
    model.set("place", [row, column]);
    model.save_changes();
  };
  const show = () => {
    waits = false;
    [row, column] = model.get("place");
    mark(question, [row, column]);
    mark(answer, [row, column]);
    answer.picture.src = model.get("answer");
    answer.picture.alt = words.textContent = model.get("words");
  };
  pad.addEventListener("click", (event) => {
    const box = pad.getBoundingClientRect();
    move(Math.floor(((event.clientY - box.top) / box.height) * height),
      Math.floor(((event.clientX - box.left) / box.width) * width));
    ask();
  });
  pad.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const far = event.shiftKey ? 10 : 1;
    if (step) move(row + far * step[0], column + far * step[1]);
    else if (event.key === "Enter" || event.key === " ") ask();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  for (const name of ["change:answer", "change:words"]) model.on(name, show);
  show();
}
export default { render };
"""


class PixelPicker(anywidget.AnyWidget):
    """A picture to choose a pixel in, and beside it the answer.

    Attributes:
        picture, answer: data addresses of the two images. size: (height, width) of the picture, pixels.
        titles: of the two images. label: what the picture shows, for those who do not see it.
        place: (row, column) chosen by the reader, or from Python. words: the answer in a sentence.
    """

    _esm = SCRIPT
    picture = traitlets.Unicode().tag(sync=True)
    answer = traitlets.Unicode().tag(sync=True)
    size = traitlets.Tuple(traitlets.Int(), traitlets.Int()).tag(sync=True)
    titles = traitlets.Tuple(traitlets.Unicode(), traitlets.Unicode()).tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    place = traitlets.Tuple(traitlets.Int(), traitlets.Int()).tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)

    @traitlets.validate("place")
    def _inside(self, proposal: dict) -> tuple[int, int]:
        row, column = proposal["value"]
        return min(max(row, 0), self.size[0] - 1), min(max(column, 0), self.size[1] - 1)
