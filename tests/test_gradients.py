"""Finite differences against SciPy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, correlate, gaussian_filter, laplace

from mdelib.gradients import central_difference, laplacian, smooth_masked, sobel, stencil_valid


def field(generator, shape=(2, 1, 9, 11)):
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def test_plane_in_closed_form():
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    plane = (1 + 3 * x - 2 * y)[None, None]
    for derivative, factor in ((sobel, 8), (central_difference, 1)):
        dx, dy = derivative(plane)
        assert dx.shape == dy.shape == (1, 1, 4, 5)
        assert torch.equal(dx, torch.full_like(dx, 3 * factor))
        assert torch.equal(dy, torch.full_like(dy, -2 * factor))
    assert not laplacian(plane).any()
    assert torch.equal(laplacian((x**2 + 2 * y**2)[None, None]), torch.full((1, 1, 4, 5), 6.0))


@pytest.mark.parametrize("border", ["valid", "zeros"])
def test_sobel_by_scipy(generator, border):
    x = field(generator)
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float)
    inside = np.s_[1:-1, 1:-1] if border == "valid" else np.s_[:, :]
    for i in range(2):
        for got, k in zip(sobel(x, border=border), (kernel, kernel.T), strict=True):
            assert got[i, 0].numpy() == pytest.approx(correlate(x[i, 0].numpy(), k, mode="constant")[inside])


def test_laplacian_by_scipy(generator):
    x = field(generator)
    assert laplacian(x)[0, 0].numpy() == pytest.approx(laplace(x[0, 0].numpy())[1:-1, 1:-1])


def test_stencil_valid_is_an_erosion(generator):
    mask = torch.rand(1, 1, 12, 13, generator=generator) > 0.08
    square = np.ones((3, 3), bool)
    inside = binary_erosion(mask[0, 0].numpy(), square)[1:-1, 1:-1]
    assert np.array_equal(stencil_valid(mask)[0, 0].numpy(), inside) and inside.any() and not inside.all()
    padded = binary_erosion(mask[0, 0].numpy(), square, border_value=1)
    assert np.array_equal(stencil_valid(mask, border="zeros")[0, 0].numpy(), padded)


def test_smooth_masked_by_scipy(generator):
    x, mask = field(generator), torch.rand(2, 1, 9, 11, generator=generator) > 0.3
    got = smooth_masked(x, mask, 0.8)
    for i in range(2):
        values, known = np.where(mask[i, 0], x[i, 0], 0), mask[i, 0].numpy().astype(float)
        total, norm = (gaussian_filter(a, 0.8, mode="constant", radius=3) for a in (values, known))
        assert got[i, 0].numpy() == pytest.approx(total / norm)


def test_smooth_masked_limits(generator):
    x = field(generator)
    mask = torch.ones_like(x, dtype=torch.bool)
    assert torch.equal(smooth_masked(x, mask, 0), x)
    constant = smooth_masked(torch.full_like(x, 3.0), mask, 1.0)
    assert torch.allclose(constant, torch.full_like(x, 3.0), atol=1e-12)  # also at the border
    assert not smooth_masked(x * torch.nan, mask & False, 1.0).any()


def test_bad_input():
    with pytest.raises(ValueError, match="unknown border 'reflect'"):
        sobel(torch.ones(1, 1, 4, 4), border="reflect")
    with pytest.raises(ValueError, match=r"\(2, 9\) pixels is too small"):
        sobel(torch.ones(1, 1, 2, 9))
