"""Click a pixel, see what decided it: a widget with a static twin, as all widgets here.

`click_pixels(image, answer, draw, static)` always draws the static twin and always asks `answer` at its settings, so
that HTML, papermill and the tests have them and an error inside the widget fails the run. The picture that one can
click comes on top where a person sits in front. Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from IPython.display import display
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from mdelib.attribution_figures import colours_of
from mdelib.widgets import Setting, check_settings, controls_of, is_live, show_static

if TYPE_CHECKING:
    import ipywidgets

    from mdelib.course import Lesson

__all__ = ["answered", "click_pixels", "map_picture", "pixel_widget"]

Answer = Callable[..., tuple[Tensor, str]]


def click_pixels(image: Tensor, answer: Answer, draw: Callable[..., Figure | None], static: Sequence[Setting], *,
                 menus: Mapping[str, Sequence[Any]] | None = None, lesson: Lesson | None = None, name: str = "clicks",
                 caption: str = "", alt: str = "") -> None:
    """Let a reader click a pixel of a picture and see a map that answers; show the static twin to everybody.

    Args:
        image: (3, H, W) RGB in [0, 1].
        answer: called with `row`, `column` and one keyword a menu; returns a map (H, W) and a sentence. It should
            take less than 200 ms: one backward pass of a small network does.
        draw: called alike; returns the figure of the static twin.
        static: the settings of the static twin, each with row, column and one value a menu; the widget starts at the
            first.
        menus: name -> the values to choose from besides, for example networks.
        lesson, name, caption, alt: as for `mdelib.widgets.explore`.

    Raises:
        ValueError: a picture or a map of another shape, a map that is not finite, or settings that do not fit.

    Explained in notebooks/13_attribution.ipynb.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"a picture of shape {tuple(image.shape)} cannot be clicked: expected (3, H, W), one image")
    height, width = image.shape[-2:]
    check_settings({**(menus or {}), "row": range(height), "column": range(width)}, static)
    for setting in static:
        _checked(answer, (height, width), setting)
    if is_live():
        display(pixel_widget(image, answer, static[0], menus=menus))
    show_static(draw, static, lesson=lesson, name=name, caption=caption, alt=alt)


def pixel_widget(image: Tensor, answer: Answer, start: Setting, *, menus: Mapping[str, Sequence[Any]] | None = None,
                 ) -> ipywidgets.Widget:
    """The live half of `click_pixels`: menus above, the picture to click and the answer below."""
    import ipywidgets  # only where it is shown: the batch needs no widgets

    from mdelib.pixel_picker import PixelPicker

    made = controls_of(menus or {}, start)
    size = tuple(image.shape[-2:])
    picker = PixelPicker(picture=_address(_png(image.detach().cpu().permute(1, 2, 0).numpy())), size=size,
                         place=(start["row"], start["column"]), titles=("click a pixel", "what decided it"),
                         label=f"A picture of {size[0]} rows and {size[1]} columns.")

    def update(_: Any = None) -> None:
        row, column = picker.place
        setting = {"row": row, "column": column, **{key: menu.value for key, menu in made.items()}}
        try:
            found, words = answered(answer, image, setting)
        except Exception as error:  # in a live widget nobody else would show it
            picker.words = f"No answer at row {row}, column {column}: {error}"
            return
        with picker.hold_sync():
            picker.answer, picker.words = found, words

    update()
    picker.observe(update, "place")
    for menu in made.values():
        menu.observe(update, "value")
    return ipywidgets.VBox([ipywidgets.HBox(list(made.values())), picker])


def answered(answer: Answer, image: Tensor, setting: Setting) -> tuple[str, str]:
    """What the live widget shows at a setting: the map as the address of a picture, and a sentence.

    Args:
        image, answer: as for `click_pixels`. setting: row, column and one value a menu.

    Raises:
        ValueError: a map of another shape, or one that is not finite.
    """
    values, words = _checked(answer, tuple(image.shape[-2:]), setting)
    return _address(map_picture(values)), f"Row {setting['row']}, column {setting['column']}: {words}"


def map_picture(values: Tensor) -> bytes:
    """A PNG of a map (H, W) in the colours of `mdelib.attribution_figures.show_attribution`, one pixel a value."""
    colours, low, high = colours_of(values)
    shares = (values.detach().cpu().float().numpy() - low) / (high - low or 1.0)
    return _png(colormaps[colours](np.clip(shares, 0, 1))[..., :3])


def _checked(answer: Answer, size: tuple[int, int], setting: Setting) -> tuple[Tensor, str]:
    values, words = answer(**setting)
    if tuple(values.shape) != size or not torch.isfinite(values).all():
        raise ValueError(f"the answer at {dict(setting)} is a map of shape {tuple(values.shape)}"
                         f"{'' if torch.isfinite(values).all() else ' with values that are not finite'}: expected "
                         f"finite values of shape {size}, as the picture")
    return values, words


def _png(colours: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((255 * np.clip(colours, 0, 1)).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
