"""Widgets with a static twin: what a reader can turn live, everybody else sees at a few fixed settings.

`explore(draw, controls, static)` always runs `draw` at the static settings and shows the figures, so that HTML,
papermill and the tests have them and an error inside the widget fails the run. Sliders and menus come on top where
a person sits in front: in a kernel whose front end can answer, and not where $MDE_HEADLESS is set. A picture should
be there within 200 ms (benchmarks/widgets.py measures it); one that was shown before is kept.
Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from IPython import get_ipython
from IPython.display import HTML, Markdown, display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mdelib.figures import STYLE, style

if TYPE_CHECKING:
    import ipywidgets

    from mdelib.course import Lesson

__all__ = ["Setting", "check_settings", "controls_of", "explore", "is_live", "live_picture", "show_static"]

Setting = Mapping[str, Any]
Layouts = dict[tuple[Any, ...], list[Any]]  # how a figure is built -> the places of its axes
KEPT = 200  # pictures of a widget; one has some 30 kB


def explore(draw: Callable[..., Figure | None], controls: Mapping[str, Sequence[Any]], static: Sequence[Setting], *,
            lesson: Lesson | None = None, name: str = "widget", caption: str = "", alt: str = "") -> None:
    """Show a figure that depends on settings: its static twin always, its widget where somebody can turn it.

    Args:
        draw: called with one keyword a control; returns a figure of `mdelib.figures.new_figure`, or None if it
            shows something by itself. The same setting must give the same figure. What all settings share belongs
            outside of it: 200 ms are half used up by the drawing.
        controls: name -> the values to choose from; numbers become a slider, everything else a menu.
        static: the settings of the static twin, each with one value a control; the widget starts at the first.
        lesson: if given, the static figures are also kept for the report, as `<name>-1`, `<name>-2`, ...
        name: of the kept figures, unique in the notebook.
        caption, alt: templates for each figure, for example ``"The room without its {cue}."``; by default
            the setting in words.

    Raises:
        ValueError: no controls or no static settings, a control without values, a static setting whose names are
            not those of the controls or whose value cannot be chosen, or a `draw` that returns something else.

    Explained in notebooks/00_start_here.ipynb.
    """
    check_settings(controls, static)
    if is_live():
        _show_widget(draw, controls, static[0], alt)
    show_static(draw, static, lesson=lesson, name=name, caption=caption, alt=alt)


def show_static(draw: Callable[..., Figure | None], static: Sequence[Setting], *, lesson: Lesson | None = None,
                name: str = "widget", caption: str = "", alt: str = "") -> None:
    """The static twin: `draw` at each of the settings; arguments as for `explore`."""
    for number, setting in enumerate(static, start=1):
        figure = _drawn(draw, setting)
        if figure is None:
            continue
        words = _in_words(setting)
        text, seen = (template.format(**setting) if template else words for template in (caption, alt))
        if lesson is not None:
            lesson.figure(figure, f"{name}-{number}", text, alt=seen)
        else:
            _show(figure, seen)
            display(Markdown(text))


def is_live() -> bool:
    """Whether a person can turn a widget here.

    False where $MDE_HEADLESS is set, outside a Jupyter kernel, and in a kernel driven by nbclient, papermill or
    nbval: those tell the kernel that nobody will answer its questions, which JupyterLab and VS Code do not.
    """
    if os.environ.get("MDE_HEADLESS"):
        return False
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))


def controls_of(controls: Mapping[str, Sequence[Any]], start: Setting) -> dict[str, ipywidgets.Widget]:
    """One widget a control, set to `start`: a slider for two or more numbers, a menu for everything else."""
    import ipywidgets  # only where it is shown: the batch needs no widgets

    made = {}
    for name, values in controls.items():
        numbers = len(values) > 1 and all(isinstance(v, Real) and not isinstance(v, bool) for v in values)
        kind = ipywidgets.SelectionSlider if numbers else ipywidgets.Dropdown
        options = [(_word(value), value) for value in values]
        made[name] = kind(options=options, value=start[name], description=name.replace("_", " "),
                          **({"continuous_update": False} if numbers else {}))
    return made


def live_picture(draw: Callable[..., Figure | None], setting: Setting, alt: str = "", *,
                 layouts: Layouts | None = None) -> str | None:
    """What a live widget shows at a setting: an image as HTML, with its words; None if `draw` shows it by itself.

    Args:
        draw, setting, alt: as for `explore`.
        layouts: where the axes lay in the widget's pictures before. Figures of the same build get the same places,
            which takes half of the time and keeps the picture still while a slider moves.
    """
    figure = _drawn(draw, setting)
    if figure is None:
        return None
    seen = html.escape(alt.format(**setting) if alt else _in_words(setting))
    picture = base64.b64encode(_quick_png(figure, {} if layouts is None else layouts)).decode()
    return f'<img alt="{seen}" src="data:image/png;base64,{picture}">'  # JupyterLab drops the alt of a PNG


def _show_widget(draw: Callable[..., Figure | None], controls: Mapping[str, Sequence[Any]], start: Setting,
                 alt: str) -> None:
    import ipywidgets

    kept: dict[str, str | None] = {}
    layouts: Layouts = {}

    def update(**setting: Any) -> None:
        which = repr(setting)
        if kept.get(which) is None:
            kept[which] = live_picture(draw, setting, alt, layouts=layouts)
        if len(kept) > KEPT:
            del kept[next(iter(kept))]
        if kept[which] is not None:
            display(HTML(kept[which]))

    made = controls_of(controls, start)
    display(ipywidgets.VBox([ipywidgets.HBox(list(made.values())), ipywidgets.interactive_output(update, made)]))


def _drawn(draw: Callable[..., Figure | None], setting: Setting) -> Figure | None:
    figure = draw(**setting)
    if figure is not None and not isinstance(figure, Figure):
        raise ValueError(f"draw returned a {type(figure).__name__} at {_in_words(setting)}: expected a matplotlib "
                         "Figure, or None if it shows something by itself")
    return figure


def _show(figure: Figure, alt: str) -> None:
    display({"image/png": _png(figure), "text/plain": f"[figure: {alt}]"}, raw=True,
            metadata={"image/png": {"alt": alt}})


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=STYLE["savefig.dpi"], metadata={"Software": None})
    return buffer.getvalue()


def _quick_png(figure: Figure, layouts: Layouts) -> bytes:
    """The same picture, laid out at most once and drawn once where `savefig` draws twice, and hardly compressed."""
    build = (*figure.get_size_inches(), *((axes.get_title().count("\n"), *map(bool, (
        axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), axes.get_legend()))) for axes in figure.axes))
    buffer = io.BytesIO()
    with style():
        figure.set_dpi(STYLE["savefig.dpi"])
        canvas = FigureCanvasAgg(figure)
        if (engine := figure.get_layout_engine()) is not None and build not in layouts:
            engine.execute(figure)
            layouts[build] = [axes.get_position(original=True) for axes in figure.axes]
        figure.set_layout_engine("none")
        for axes, place in zip(figure.axes, layouts.get(build, ()), strict=False):
            axes.set_position(place)
        canvas.draw()
        Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _in_words(setting: Setting) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {_word(value)}" for name, value in setting.items())


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_settings(controls: Mapping[str, Sequence[Any]], static: Sequence[Setting]) -> None:
    """Refuse controls without values and static settings that cannot be chosen, as `explore` says."""
    if not controls:
        raise ValueError("explore got no controls: expected name -> values, for example {'cue': ['shadows', 'size']}")
    if not static:
        raise ValueError("explore got no static settings: expected at least one, for readers without the widget")
    for name, values in controls.items():
        if isinstance(values, str) or len(values) == 0:
            raise ValueError(f"control {name!r} has the values {values!r}: expected a list of at least one value")
    for setting in static:
        if set(setting) != set(controls):
            raise ValueError(f"the static setting {dict(setting)!r} does not fit the controls: expected a value "
                             f"for each of {', '.join(controls)}")
        for name, value in setting.items():
            if value not in controls[name]:
                known = controls[name]
                words = (f"a whole number from {known[0]} to {known[-1]}" if isinstance(known, range)
                         else f"one of {', '.join(map(repr, known))}")
                raise ValueError(f"the static setting {name}={value!r} cannot be chosen: expected {words}")
