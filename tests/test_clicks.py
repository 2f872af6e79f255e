"""`mdelib.clicks`: a pixel is chosen by mouse or keyboard, the static twin is always there, and errors are seen."""

from __future__ import annotations

import base64
import io
import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from IPython.display import Markdown
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from mdelib import clicks, models, widgets
from mdelib.attribution import saliency, targets
from mdelib.clicks import click_pixels, map_picture, pixel_widget
from mdelib.figures import new_figure

IMAGE = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
STATIC = [{"network": "a", "row": 3, "column": 5}, {"network": "b", "row": 0, "column": 15}]
MENUS = {"network": ["a", "b"]}


def answer(network: str, row: int, column: int) -> tuple[Tensor, str]:
    values = torch.zeros(12, 16)
    values[row, column] = 1.0 if network == "a" else -1.0
    return values, f"{network} looks here"


def draw(network: str, row: int, column: int) -> Figure:
    return new_figure(height=2.0)[0]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list:
    outputs: list = []
    for module in (clicks, widgets):
        monkeypatch.setattr(module, "display", lambda thing, **options: outputs.append(thing))
    return outputs


@pytest.fixture
def front_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MDE_HEADLESS", raising=False)
    monkeypatch.setattr(widgets, "get_ipython", lambda: SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=True)))


def pixels(address: str) -> np.ndarray:
    """The picture behind a data address."""
    with Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,")))) as picture:
        return np.asarray(picture).astype(int)


def test_without_a_person_only_the_static_twin_is_shown(shown: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDE_HEADLESS", "1")
    asked: list = []

    def noted(**setting: object) -> tuple[Tensor, str]:
        asked.append(setting)
        return answer(**setting)

    click_pixels(IMAGE, noted, draw, STATIC, menus=MENUS, caption="{network} at {row}, {column}")
    assert asked == STATIC  # the widget's own function runs too: its errors stop the run
    assert [thing.data for thing in shown if isinstance(thing, Markdown)] == ["a at 3, 5", "b at 0, 15"]
    assert [set(thing) for thing in shown if isinstance(thing, dict)] == [{"image/png", "text/plain"}] * 2
    assert len(shown) == 4


def test_a_lesson_keeps_the_static_figures(shown: list) -> None:
    kept: list = []
    lesson = SimpleNamespace(figure=lambda figure, name, caption, *, alt: kept.append((name, alt)))
    click_pixels(IMAGE, answer, draw, STATIC, menus=MENUS, lesson=lesson, name="pixel", alt="{network}")
    assert kept == [("pixel-1", "a"), ("pixel-2", "b")] and shown == []


@pytest.mark.parametrize("broken", [
    lambda **setting: (torch.full((12, 16), torch.nan), "none"), lambda **setting: (torch.zeros(6, 8), "small")])
def test_an_answer_that_is_none_stops_the_run(shown: list, broken) -> None:
    with pytest.raises(ValueError, match=r"expected finite values of shape \(12, 16\)"):
        click_pixels(IMAGE, broken, draw, STATIC, menus=MENUS)

    def fails(**setting: object) -> tuple[Tensor, str]:
        raise KeyError("lamp")

    with pytest.raises(KeyError, match="lamp"):
        click_pixels(IMAGE, fails, draw, STATIC, menus=MENUS)


@pytest.mark.parametrize(("static", "words"), [
    ([], "no static settings"), ([{"row": 1, "column": 1}], "does not fit the controls"),
    ([{"network": "a", "row": 12, "column": 0}], "a whole number from 0 to 11"),
    ([{"network": "a", "row": 0, "column": -1}], "a whole number from 0 to 15"),
    ([{"network": "c", "row": 0, "column": 0}], "expected one of 'a', 'b'"),
])
def test_settings_that_do_not_fit_are_one_sentence(static: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        click_pixels(IMAGE, answer, draw, static, menus=MENUS)


def test_a_batch_cannot_be_clicked() -> None:
    with pytest.raises(ValueError, match=r"expected \(3, H, W\), one image"):
        click_pixels(IMAGE[None], answer, draw, STATIC, menus=MENUS)


def test_the_widget_answers_clicks_and_menus(shown: list, front_end: None) -> None:
    click_pixels(IMAGE, answer, draw, STATIC, menus=MENUS)
    menus, picker = shown[0].children
    assert picker.place == (3, 5) and picker.words == "Row 3, column 5: a looks here"
    assert np.abs(pixels(picker.picture) - 255 * IMAGE.permute(1, 2, 0).numpy()).max() <= 1
    picker.place = (7, 9)
    assert picker.words == "Row 7, column 9: a looks here"
    bright = pixels(picker.answer).sum(2)
    assert np.unravel_index(bright.argmax(), bright.shape) == (7, 9)
    menus.children[0].value = "b"
    assert picker.words == "Row 7, column 9: b looks here"
    red, _, blue = pixels(picker.answer)[7, 9]
    assert blue > red  # it makes the answer smaller
    picker.place = (99, -4)
    assert picker.place == (11, 0)


def test_an_error_in_the_live_widget_is_said_in_it() -> None:
    def fails(row: int, column: int) -> tuple[Tensor, str]:
        if row == 2:
            raise ValueError("nothing to see")
        return torch.zeros(12, 16), "fine"

    picker = pixel_widget(IMAGE, fails, {"row": 0, "column": 0}).children[1]
    assert picker.words.endswith("fine")
    picker.place = (2, 1)
    assert picker.words == "No answer at row 2, column 1: nothing to see"


def test_maps_are_coloured_as_in_the_figures() -> None:
    from matplotlib import colormaps

    from mdelib.attribution_figures import SIGNED_MAP, STRENGTH_MAP

    with Image.open(io.BytesIO(map_picture(torch.tensor([[0.0, 1.0]])))) as picture:
        found = np.asarray(picture) / 255
    assert np.allclose(found[0], colormaps[STRENGTH_MAP]([0.0, 1.0])[:, :3], atol=0.01)
    with Image.open(io.BytesIO(map_picture(torch.tensor([[-1.0, 0.0, 1.0]])))) as picture:
        found = np.asarray(picture) / 255
    assert np.allclose(found[0], colormaps[SIGNED_MAP]([0.0, 0.5, 1.0])[:, :3], atol=0.01)
    assert map_picture(torch.zeros(2, 2)).startswith(b"\x89PNG")


def test_the_script_can_be_used_without_a_mouse_and_without_eyes() -> None:
    from mdelib.pixel_picker import SCRIPT

    for part in ("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", '"Enter"', "tabIndex = 0", "aria-label",
                 '"role"', '"aria-live", "polite"', ".alt = ", "data-lm-suppress-shortcuts"):
        assert part in SCRIPT
    assert not re.search(r"innerHTML|https?://|import ", SCRIPT)  # nothing from elsewhere, no text read as a page


def test_a_click_is_answered_at_once() -> None:
    """One backward pass of the course's Transformer and no figure: 200 ms at most, measured in CPU time."""
    network = models.create_model("segformer", weights="rooms_transformer").requires_grad_(False)
    image = torch.rand(1, 3, 96, 128)
    depth = network(image)

    def asked(row: int, column: int) -> tuple[Tensor, str]:
        return saliency(network, image, targets.pixel(row, column))[0], f"depth {float(depth[0, 0, row, column]):.2f}"

    picker = pixel_widget(image[0], asked, {"row": 0, "column": 0}).children[1]
    times = []
    for number in range(1, 6):
        began = time.process_time()
        picker.place = (number, number)
        times.append(time.process_time() - began)
    assert min(times) < 0.2, times


def test_the_batch_needs_no_widget_packages() -> None:
    for name in ("clicks", "widgets"):
        text = (Path(clicks.__file__).parent / f"{name}.py").read_text()
        assert not re.search(r"^(import|from) (ipywidgets|anywidget)|^from mdelib\.pixel_picker", text, re.MULTILINE)
