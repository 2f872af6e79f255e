"""`mdelib.widgets`: the static twin is always drawn, the widget only where somebody can turn it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from IPython.display import HTML
from matplotlib.figure import Figure
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from mdelib import widgets
from mdelib.course import Lesson
from mdelib.figures import image_rows, new_figure
from mdelib.widgets import controls_of, explore, is_live

CONTROLS = {"cue": ["none", "shadows"], "size": [1, 2.5]}
STATIC = [{"cue": "none", "size": 1}, {"cue": "shadows", "size": 2.5}]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list:
    outputs: list = []
    monkeypatch.setattr(widgets, "display", lambda thing, **options: outputs.append((thing, options)))
    return outputs


@pytest.fixture
def front_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MDE_HEADLESS", raising=False)
    monkeypatch.setattr(widgets, "get_ipython", lambda: SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=True)))


def blank(**setting: object) -> Figure:
    figure, _ = new_figure(1, 1, height=2.0)
    return figure


def test_the_static_twin_draws_every_setting_with_its_alt_text(shown: list) -> None:
    calls: list = []

    def draw(cue: str, size: float) -> Figure:
        calls.append((cue, size))
        return blank()

    explore(draw, CONTROLS, STATIC, caption="Without {cue}", alt="a room, {cue}, {size} m")
    assert calls == [("none", 1), ("shadows", 2.5)]
    pictures = [(thing, options) for thing, options in shown if isinstance(thing, dict)]
    assert [options["metadata"]["image/png"]["alt"] for _, options in pictures] == ["a room, none, 1 m",
                                                                                    "a room, shadows, 2.5 m"]
    assert all(thing["image/png"].startswith(b"\x89PNG") for thing, _ in pictures)
    assert [thing.data for thing, _ in shown if not isinstance(thing, dict)] == ["Without none", "Without shadows"]


def test_without_templates_the_setting_is_said_in_words(shown: list) -> None:
    explore(blank, {"bin_width": [0.5]}, [{"bin_width": 0.5}])
    assert shown[0][1]["metadata"]["image/png"]["alt"] == "bin width: 0.5"
    assert shown[1][0].data == "bin width: 0.5"


def test_a_lesson_keeps_the_static_figures(shown: list) -> None:
    kept: list = []
    lesson = SimpleNamespace(figure=lambda figure, name, caption, *, alt: kept.append((name, caption, alt)))
    explore(blank, CONTROLS, STATIC, lesson=lesson, name="cues", caption="Without {cue}.", alt="No {cue}")
    assert kept == [("cues-1", "Without none.", "No none"), ("cues-2", "Without shadows.", "No shadows")]
    assert hasattr(Lesson, "figure")
    assert shown == []


def test_draw_may_show_by_itself(shown: list) -> None:
    explore(lambda cue, size: None, CONTROLS, STATIC)
    assert shown == []


def test_an_error_in_draw_is_raised(shown: list) -> None:
    def draw(cue: str, size: float) -> Figure:
        if cue == "shadows":
            raise KeyError("lamp")
        return blank()

    with pytest.raises(KeyError, match="lamp"):
        explore(draw, CONTROLS, STATIC)


def test_live_the_widget_comes_first_and_follows_its_controls(shown: list, front_end: None) -> None:
    import ipywidgets

    calls: list = []

    def draw(cue: str, size: float) -> Figure:
        calls.append((cue, size))
        return blank()

    explore(draw, CONTROLS, STATIC)
    assert calls == [("none", 1), ("none", 1), ("shadows", 2.5)]  # the widget's first picture, then the static twin
    box, = (thing for thing, _ in shown if isinstance(thing, ipywidgets.VBox))
    menu, slider = box.children[0].children
    calls.clear()
    slider.value = 2.5
    assert calls == [("none", 2.5)]
    menu.value = "shadows"
    assert calls == [("none", 2.5), ("shadows", 2.5)]


def test_the_live_picture_says_what_it_shows_in_its_own_words(shown: list, front_end: None) -> None:
    explore(blank, {"side": ["left", "<both>"]}, [{"side": "<both>"}], alt="A room seen from {side}")
    explore(blank, {"side": ["left", "right"]}, [{"side": "left"}])
    live = [thing.data for thing, _ in shown if isinstance(thing, HTML)]
    assert [re.search('alt="(.*?)"', text)[1] for text in live] == ["A room seen from &lt;both&gt;", "side: left"]
    assert all('src="data:image/png;base64,iVBOR' in text for text in live)


def test_pictures_of_the_same_build_keep_their_layout_and_look_as_saved_ones() -> None:
    def picture(figure: Figure, layouts: dict) -> np.ndarray:
        with Image.open(io.BytesIO(widgets._quick_png(figure, layouts))) as opened:
            return np.asarray(opened).astype(int)

    def drawn(value: float, title: str = "a title") -> Figure:
        torch.manual_seed(0)
        row = {title: value * torch.ones(1, 6, 8), "error": torch.rand(1, 6, 8), "view": torch.rand(3, 6, 8)}
        return image_rows([row], depth_limits=(0.0, 2.0), height=1.5)

    layouts: dict = {}
    first, again = picture(drawn(1.0), layouts), picture(drawn(1.0), layouts)
    assert len(layouts) == 1 and np.array_equal(first, again)
    assert not np.array_equal(first, picture(drawn(2.0), layouts)) and len(layouts) == 1
    picture(drawn(1.0, "two\nlines"), layouts)
    assert len(layouts) == 2  # another build has a layout of its own
    saved = Image.open(io.BytesIO(widgets._png(drawn(1.0)))).convert("RGB")
    assert saved.size == (first.shape[1], first.shape[0])
    assert np.abs(np.asarray(saved).mean((0, 1)) - first.mean((0, 1))).max() < 3


def test_a_setting_that_was_shown_is_not_drawn_again(shown: list, front_end: None) -> None:
    import ipywidgets

    calls: list = []
    explore(lambda level: calls.append(level) or blank(), {"level": [1, 2]}, [{"level": 1}])
    box, = (thing for thing, _ in shown if isinstance(thing, ipywidgets.VBox))
    slider, = box.children[0].children
    calls.clear()
    for level in (2, 1, 2):
        slider.value = level
    assert calls == [2]


def test_controls_take_numbers_as_sliders_and_the_rest_as_menus() -> None:
    import ipywidgets

    made = controls_of({"cue": ["none", "size"], "step": [1, 2], "on": [False, True], "one": [3]},
                       {"cue": "size", "step": 2, "on": False, "one": 3})
    assert {name: type(widget) for name, widget in made.items()} == {
        "cue": ipywidgets.Dropdown, "step": ipywidgets.SelectionSlider, "on": ipywidgets.Dropdown,
        "one": ipywidgets.Dropdown}
    assert {name: widget.value for name, widget in made.items()} == {"cue": "size", "step": 2, "on": False, "one": 3}


def test_nothing_is_live_outside_a_kernel_or_where_the_environment_says_so(
        monkeypatch: pytest.MonkeyPatch, front_end: None) -> None:
    assert is_live()
    monkeypatch.setenv("MDE_HEADLESS", "1")
    assert not is_live()
    monkeypatch.delenv("MDE_HEADLESS")
    monkeypatch.setattr(widgets, "get_ipython", lambda: None)
    assert not is_live()


def test_in_a_driven_kernel_only_the_static_twin_is_shown_and_an_error_stops_the_run(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MDE_HEADLESS", raising=False)
    setup = ("from mdelib.widgets import explore\nfrom mdelib.figures import image_rows, new_figure\n"
             "def draw(level):\n    1 / level\n    return new_figure(height=2.0)[0]\n")
    cells = [setup + "explore(draw, {'level': [0, 1, 2]}, [{'level': 1}, {'level': 2}])",
             "explore(draw, {'level': [0, 1, 2]}, [{'level': 0}])"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        NotebookClient(notebook, timeout=120, kernel_name="python3",
                       resources={"metadata": {"path": str(tmp_path)}}).execute()
    kinds = [set(output.get("data", {})) for output in notebook.cells[0].outputs]
    assert sum("image/png" in kind for kind in kinds) == 2
    assert not any("application/vnd.jupyter.widget-view+json" in kind for kind in kinds)


@pytest.mark.parametrize(("controls", "static", "words"), [
    ({}, [{}], "no controls"),
    (CONTROLS, [], "no static settings"),
    ({"cue": []}, [{"cue": "none"}], "at least one value"),
    ({"cue": "none"}, [{"cue": "none"}], "at least one value"),
    (CONTROLS, [{"cue": "none"}], "does not fit the controls"),
    (CONTROLS, [{"cue": "none", "size": 1, "more": 2}], "does not fit the controls"),
    (CONTROLS, [{"cue": "smell", "size": 1}], "cue='smell' cannot be chosen"),
])
def test_settings_that_do_not_fit_are_one_sentence(controls: dict, static: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        explore(blank, controls, static)


def test_a_draw_that_returns_no_figure_is_refused(shown: list) -> None:
    with pytest.raises(ValueError, match="draw returned a int at cue: none, size: 1"):
        explore(lambda cue, size: 3, CONTROLS, STATIC)
