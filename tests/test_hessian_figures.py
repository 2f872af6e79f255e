"""`mdelib.hessian_figures`: two reliefs with one picture, and maps that say what their colours mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mdelib import hessian_figures as drawing
from mdelib.figures import new_figure

LIGHT = torch.tensor([-0.4, -0.3, -0.8], dtype=torch.float64)


def bump(size=20):
    y, x = torch.meshgrid(torch.arange(size, dtype=torch.float64), torch.arange(size, dtype=torch.float64),
                          indexing="ij")
    return 20 - 4 * torch.exp(-((x - size / 2)**2 + (y - size / 2)**2) / 20)


def test_a_wall_in_front_of_the_light_by_hand():
    """A flat wall has the normal (0, 0, -1): it is lit by the light's third component."""
    picture = drawing.lambert_picture(torch.full((5, 6), 3.0), torch.full((5, 6), 0.5), torch.tensor([0.6, 0, -0.8]))
    assert torch.allclose(picture, torch.full((5, 6), 0.4))
    behind = drawing.lambert_picture(torch.full((5, 6), 3.0), torch.ones(5, 6), torch.tensor([0.0, 0, 1]))
    assert not behind.any()


@pytest.mark.parametrize(("a", "b", "c"), [(0.3, 0.0, 0.0), (1.0, 0.2, -0.1), (2.0, -0.3, 0.4)])
def test_another_relief_has_the_same_picture(a, b, c):
    depth, albedo = bump(), torch.full((20, 20), 0.7, dtype=torch.float64)
    changed, paint, light = drawing.bas_relief(depth, albedo, LIGHT, a=a, b=b, c=c)
    one, other = drawing.lambert_picture(depth, albedo, LIGHT), drawing.lambert_picture(changed, paint, light)
    assert torch.allclose(one, other, atol=1e-12) and one.std() > 0.01
    assert not torch.allclose(depth, changed)
    assert not torch.allclose(one, drawing.lambert_picture(changed, albedo, LIGHT), atol=1e-3)


def test_a_hollow_relief_is_refused():
    with pytest.raises(ValueError, match="a is -1"):
        drawing.bas_relief(bump(), torch.ones(20, 20), LIGHT, a=-1, b=0, c=0)


def test_panels_of_reliefs():
    figure = drawing.relief_panels({"one": (torch.rand(8, 8), bump(8)), "two": (torch.rand(8, 8), 2 * bump(8))}, 4)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["one:\npicture", "one:\ndepth", "two:\npicture", "two:\ndepth", "section, from above"]
    assert figure.axes[1].images[0].get_clim() == figure.axes[3].images[0].get_clim()
    section = figure.axes[-1]
    assert section.yaxis_inverted() and np.allclose(section.lines[1].get_ydata(), 2 * bump(8)[4])


def test_directions_are_colours():
    _, axis = new_figure()
    direction = torch.zeros(3, 2, 2)
    direction[0, 0, 0], direction[2, 1, 1] = 1, -1
    mask = torch.tensor([[[True, True], [False, True]]])
    colours = drawing.show_direction(axis, direction, "title", mask=mask).get_array()
    assert colours[0, 0].tolist() == [1, 0.5, 0.5] and colours[1, 1].tolist() == [0.5, 0.5, 0]
    assert colours[0, 1].tolist() == [0.5] * 3 and colours[1, 0].tolist() == [1] * 3
    assert axis.get_title() == "title"


def test_curvature_is_logarithmic_and_nothing_is_grey():
    _, axis = new_figure()
    artist = drawing.show_curvature(axis, torch.tensor([[[0.0, 1e-6], [1e-3, 5.0]]]), limits=(1e-6, 1.0))
    assert artist.get_array().mask.tolist() == [[True, False], [False, False]]
    assert artist.norm(np.array([1e-6, 1e-3, 1.0])).tolist() == pytest.approx([0, 0.5, 1])


def test_the_alphabet_has_a_patch_for_each_shape():
    figure = drawing.shape_alphabet({"ridge": (bump(5), (-1.0, 0.0, 0.0)), "flat": (torch.ones(5, 5), (0, 0, 0))})
    assert [axis.get_title() for axis in figure.axes][:2] == ["ridge", "flat"]
    assert [axis.get_xlabel() for axis in figure.axes][2:] == ["(−1.0, 0.0, 0.0)", "(0.0, 0.0, 0.0)"]
