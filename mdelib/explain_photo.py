"""One photograph, one network, all attributions as one figure: what `mde explain` does.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from matplotlib.backend_bases import FigureCanvasBase
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from mdelib import models
from mdelib.attribution import TITLES, Target, explain, methods_for, targets
from mdelib.attribution_figures import photo_sheet
from mdelib.data.base import resize_image
from mdelib.figures import style
from mdelib.models.meter import RELEASED
from mdelib.protocols import require_known
from mdelib.weights import find_weights, read_record

__all__ = ["explain_photo", "load_network", "place_of", "read_photo", "target_of"]

SHORT_SIDE = 96  # pixels, what the course's own networks were trained at
TARGETS = "mean_depth, near_far, pixel:ROW,COLUMN or edge:ROW,COLUMN"


def explain_photo(photo: Path, network: str, *, target: str = "mean_depth", methods: Sequence[str] | None = None,
                  size: tuple[int, int] | None = None, out: Path | None = None,
                  say: Callable[[str], None] | None = None) -> Path:
    """Write a figure with the depth of a photograph and every attribution that applies to the network.

    A PNG carries its description in words (the text chunk "Description"), for those who do not see it.

    Args:
        photo: any picture that Pillow reads. network: see `load_network`.
        target: see `target_of`; rows and columns are those of the resized picture, which the figure's axes show.
        methods: names of `mdelib.attribution.METHODS`; None takes all that apply.
        size: (height, width) the network sees; None takes its own, or 96 pixels on the shorter side.
        out: the figure; None writes `<photo>_explained.png` beside the photograph.
        say: told the target's value and, method by method, how long it took.

    Raises:
        ValueError: an unknown network, target or method, a file that is no picture, or a place that cannot be
            written to.
        FileNotFoundError: no such photograph, or no such weights.

    Explained in notebooks/13_attribution.ipynb.
    """
    path = _place_for(out or photo.with_name(f"{photo.stem}_explained.png"))
    pixels = _pixels(photo)
    model = load_network(network)
    known = methods_for(model)
    for name in methods or ():
        require_known(f"method for {network}", name, known)
    image = _resized(pixels, size or getattr(model, "size", None))
    with torch.no_grad():
        depth = model(image)
    question, unit = target_of(target, depth), "" if getattr(model, "relative", False) else " m"
    answer = f"{question.name} is {float(question(depth)):.2f}{unit}"
    if say:
        say(f"{network} sees {image.shape[-2]}x{image.shape[-1]} pixels (rows x columns): {answer}")
    maps = {}
    for name in methods or [name for name in known if name != "position_only"]:
        began = time.perf_counter()
        maps[TITLES[name]] = explain(model, image, name, question)[0]
        if say:
            say(f"{TITLES[name]}: {time.perf_counter() - began:.1f} s")
    stretch = pixels.shape[-2] / pixels.shape[-1] * image.shape[-1] / image.shape[-2]
    with style():
        figure = photo_sheet(image[0], depth[0], maps, f"{Path(network).name}: {answer}", place=place_of(target),
                             unit=unit.strip(), stretch=stretch)
        words = (f"{photo.name}, its depth by {Path(network).name}, from {float(depth.min()):.2f} to "
                 f"{float(depth.max()):.2f}{unit}, and what decided it; {answer}. Maps: {', '.join(maps)}.")
        figure.savefig(path, metadata={"Description": words} if path.suffix.lower() == ".png" else None)
    return path


def load_network(name: str) -> nn.Module:
    """A network in evaluation mode.

    - trained weights: a file or a name in `weights/` (``rooms_transformer``), or released ones (``meter_xxs_nyu``);
    - ``hf:NAME``: a depth-estimation model of Hugging Face, see `mdelib.models.huggingface`;
    - ``module:function``: your own; the function is called without arguments and returns a module that takes images
      (1, 3, H, W) in [0, 1] and returns metres, for example made by `mdelib.models.wrap`.

    Raises:
        ValueError: none of these. FileNotFoundError: weights that are not there.
    """
    if name.startswith("hf:"):
        return _of_hugging_face(name.removeprefix("hf:"))
    module, _, function = name.partition(":")
    if function and not Path(name).exists():
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # the command `mde` does not look into the folder it is called in
        try:
            made = getattr(importlib.import_module(module), function)()
        except (ModuleNotFoundError, AttributeError) as error:
            raise ValueError(f"network {name!r} cannot be made ({error}): write module:function with a module that "
                             "Python finds, for example in this folder") from None
        if not isinstance(made, nn.Module):
            raise ValueError(f"{name} returned a {type(made).__name__}: expected a torch.nn.Module")
        return made.eval()
    if name in RELEASED:
        return models.create_model(name.rpartition("_")[0], weights=name)
    record = read_record(find_weights(name))
    return models.create_model(record["name"], scale=record["scale"], weights=name)


def read_photo(photo: Path, size: tuple[int, int] | None = None) -> Tensor:
    """A photograph as (1, 3, H, W) RGB in [0, 1], upright, resized with area averaging; None is 96 pixels on the
    shorter side.

    Raises:
        FileNotFoundError: no such file. ValueError: no picture, or a size without pixels.
    """
    return _resized(_pixels(photo), size)


def target_of(words: str, depth: Tensor) -> Target:
    """A target from words: ``mean_depth``, ``near_far``, ``pixel:ROW,COLUMN`` or ``edge:ROW,COLUMN``.

    Args:
        depth: (1, 1, H, W), the prediction, which decides what is near, and where the sides of an edge are.

    Raises:
        ValueError: other words, or a place outside the map.
    """
    kind, _, place = words.partition(":")
    try:
        row, column = (int(part) for part in place.split(",")) if kind in ("pixel", "edge") else (0, 0)
    except ValueError:
        raise ValueError(f"target {words!r} names no place: write {kind}:ROW,COLUMN, as in {kind}:40,60") from None
    if kind == "pixel":
        question = targets.pixel(row, column)
        _require_inside(words, row, column, depth)
        return question
    if kind == "edge":
        _require_inside(words, row, column, depth)
        return targets.edge(depth, row, column)
    if words in ("mean_depth", "near_far"):
        return targets.mean_depth() if words == "mean_depth" else targets.near_far(depth)
    raise ValueError(f"target {words!r} is unknown: choose {TARGETS}")


def place_of(words: str) -> tuple[int, int] | None:
    """The (row, column) that a target asks about, as in `target_of`; None where it asks about the whole picture."""
    kind, _, place = words.partition(":")
    if kind not in ("pixel", "edge"):
        return None
    row, column = (int(part) for part in place.split(","))
    return row, column


def _require_inside(words: str, row: int, column: int, depth: Tensor) -> None:
    height, width = depth.shape[-2:]
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"target {words!r} is outside: the network sees this photograph at {height}x{width} pixels, "
                         f"so rows are 0 to {height - 1}, columns 0 to {width - 1}, counted from the top left")


def _pixels(photo: Path) -> Tensor:
    """(3, H, W) in [0, 1], turned upright as the camera noted it."""
    if not photo.is_file():
        raise FileNotFoundError(f"{photo} is not there: give the path of a photograph")
    try:
        with Image.open(photo) as file:
            return pil_to_tensor(ImageOps.exif_transpose(file).convert("RGB")).float() / 255
    except UnidentifiedImageError:
        raise ValueError(f"{photo} is no picture that Pillow can read: give a JPEG or PNG") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow says so of damaged PNGs
        raise ValueError(f"{photo} cannot be read to its end ({error}): it is cut off or damaged; fetch it again, or "
                         "save it anew from a program that opens it") from None


def _resized(pixels: Tensor, size: tuple[int, int] | None) -> Tensor:
    if size is not None and min(size) < 1:
        raise ValueError(f"size {size[0]} {size[1]} has no pixels: give height and width, as in --size 96 128")
    height, width = pixels.shape[-2:]
    scale = SHORT_SIDE / min(height, width)
    return resize_image(pixels, size or (round(scale * height), round(scale * width)))[None]


def _of_hugging_face(name: str) -> nn.Module:
    """A wrapped model, with `relative` True where its inverse depth has no unit."""
    from mdelib.models.huggingface import wrap_huggingface

    try:
        network = wrap_huggingface(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"network 'hf:{name}' cannot be made: {error}") from None
    except OSError as error:
        raise ValueError(f"network 'hf:{name}' cannot be loaded: {str(error).splitlines()[0]} Check the name and the "
                         "connection, or give the path of a local folder") from None
    network.relative = getattr(network.module.model.config, "depth_estimation_type", None) != "metric"
    return network


def _place_for(path: Path) -> Path:
    """The figure's path; what cannot be written is an error before anything is computed."""
    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in formats:
        raise ValueError(f"a figure cannot be written as {path.name!r}: end the name in .png, .pdf or .svg")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"the folder {path.parent} cannot be made ({error.strerror}): choose another place with "
                         "--out") from None
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{path} cannot be written: choose another place with --out")
    return path
