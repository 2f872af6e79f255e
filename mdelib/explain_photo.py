"""One photograph, one network, all attributions as one figure: what `mde explain` does.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
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

__all__ = ["explain_photo", "load_network", "read_photo", "target_of"]

SHORT_SIDE = 96  # pixels, what the course's own networks were trained at
TARGETS = "mean_depth, near_far, pixel:ROW,COLUMN or edge:ROW,COLUMN"


def explain_photo(photo: Path, network: str, *, target: str = "mean_depth", methods: Sequence[str] | None = None,
                  size: tuple[int, int] | None = None, out: Path | None = None) -> Path:
    """Write a figure with the depth of a photograph and every attribution that applies to the network.

    Args:
        photo: any picture that Pillow reads. network: see `load_network`.
        target: see `target_of`; rows and columns are those of the resized picture, which the figure's axes show.
        methods: names of `mdelib.attribution.METHODS`; None takes all that apply.
        size: (height, width) the network sees; None takes its own, or 96 pixels on the shorter side.
        out: the figure; None writes `<photo>_explained.png` beside the photograph.

    Raises:
        ValueError: an unknown network, target or method, or a file that is no picture.
        FileNotFoundError: no such photograph, or no such weights.

    Explained in notebooks/13_attribution.ipynb.
    """
    model = load_network(network)
    known = methods_for(model)
    for name in methods or ():
        require_known(f"method for {network}", name, known)
    image = read_photo(photo, size or getattr(model, "size", None))
    with torch.no_grad():
        depth = model(image)
    question = target_of(target, depth)
    maps = {TITLES[name]: explain(model, image, name, question)[0] for name in methods or known
            if methods or name != "position_only"}
    with style():
        figure = photo_sheet(image[0], depth[0], maps, f"{network}: {question.name}")
        path = out or photo.with_name(f"{photo.stem}_explained.png")
        figure.savefig(path)
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
        from mdelib.models.huggingface import wrap_huggingface

        return wrap_huggingface(name.removeprefix("hf:"))
    module, _, function = name.partition(":")
    if function and not Path(name).exists():
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
    """A photograph as (1, 3, H, W) RGB in [0, 1], resized with area averaging; None is 96 pixels on the shorter side.

    Raises:
        FileNotFoundError: no such file. ValueError: no picture.
    """
    if not photo.is_file():
        raise FileNotFoundError(f"{photo} is not there: give the path of a photograph")
    try:
        with Image.open(photo) as file:
            image = pil_to_tensor(file.convert("RGB")).float() / 255
    except UnidentifiedImageError:
        raise ValueError(f"{photo} is no picture that Pillow can read: give a JPEG or PNG") from None
    height, width = image.shape[-2:]
    scale = SHORT_SIDE / min(height, width)
    return resize_image(image, size or (round(scale * height), round(scale * width)))[None]


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
        question(depth)  # a place outside is an error here
        return question
    if kind == "edge":
        return targets.edge(depth, row, column)
    if words in ("mean_depth", "near_far"):
        return targets.mean_depth() if words == "mean_depth" else targets.near_far(depth)
    raise ValueError(f"target {words!r} is unknown: choose {TARGETS}")
