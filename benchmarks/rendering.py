"""What one rendered view costs: rooms and streets, ray-traced with soft shadows.

    python benchmarks/rendering.py [--scale full] [--set views=6 size=96,128] [--json]

Before anything is timed, a view is rendered twice and must come out the same.
"""

from __future__ import annotations

import torch
from _timing import Reading, main, timed

from mdelib.data.scenes import render_view

SIZES = {"tiny": {"views": 1, "size": (16, 24)}, "quick": {"views": 2, "size": (96, 128)},
         "full": {"views": 6, "size": (96, 128)}}


def milliseconds(name: str, views: int, size: tuple[int, int]) -> Reading:
    """CPU milliseconds a view, the first ones of the test split, least of the rounds."""
    one, other = (render_view(name, "test", 0, size) for _ in range(2))
    assert torch.equal(one.image, other.image) and torch.equal(one.depth, other.depth), "two renderings differ"
    seconds = timed({name: lambda: [render_view(name, "test", index, size) for index in range(views)]})[name]
    return Reading(f"Rendering, {name.removeprefix('scenes-')}", f"a view of {size[0]}×{size[1]}",
                   1e3 * seconds[:, 0].min() / views, "ms CPU")


READINGS = {"rooms": lambda views, size: milliseconds("scenes-rooms", views, size),
            "streets": lambda views, size: milliseconds("scenes-streets", views, size)}

if __name__ == "__main__":
    main("rendering", __doc__)
