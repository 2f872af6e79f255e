"""Draws docs/first_look.png, the README's first picture: `python docs/first_look.py`."""

from __future__ import annotations

from pathlib import Path

import torch

from mdelib import data, models
from mdelib.attribution import smoothgrad, targets
from mdelib.attribution_figures import show_attribution
from mdelib.figures import COLOURS, STYLE, WIDTH, new_figure, show_depth, show_image, style

ROOMS = {18: (62, 60), 24: (40, 64), 2: (70, 40)}  # test views, and the pixel (row, column) that is asked about
TITLES = ("a rendered room", "true depth", "CNN", "Transformer", "what decided the CNN's\ndepth at the cross")


def draw(path: Path) -> None:
    """One row a room: the view, its depth, two networks' depth, and one explanation."""
    views = data.load("scenes-rooms", "test", size=(96, 128))
    cnn, transformer = (models.create_model(name, weights=weights).eval() for name, weights in (
        ("hu_resnet50", "rooms_cnn"), ("segformer", "rooms_transformer")))
    with style():
        figure, axes = new_figure(len(ROOMS), len(TITLES), height=WIDTH / len(TITLES) * 0.75 + 0.15)
        for row, (index, place) in zip(axes, ROOMS.items(), strict=True):
            view = views[index]
            image = view.image[None]
            with torch.no_grad():
                depths = [view.depth, cnn(image)[0], transformer(image)[0]]
            near, far = torch.quantile(view.depth[view.mask], torch.tensor([0.01, 0.99])).tolist()
            show_image(row[0], view.image)
            for axis, depth in zip(row[1:4], depths, strict=True):
                show_depth(axis, depth, limits=(near, far))
            show_attribution(row[4], smoothgrad(cnn, image, targets.pixel(*place))[0])
            for axis in (row[0], row[2], row[4]):
                axis.plot(place[1], place[0], "+", color=COLOURS[1], ms=10, mew=2)
        for axis, title in zip(axes[0], TITLES, strict=True):
            axis.set_title(title, fontsize=9)
        figure.savefig(path, dpi=STYLE["savefig.dpi"], metadata={"Software": None})


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".png"))
