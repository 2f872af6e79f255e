"""SSIM against scikit-image and torchmetrics, and its mask against windows worked out one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from mdelib.metrics import ssim
from mdelib.similarity import gaussian_window, ssim_map


def pair(generator, shape=(2, 1, 24, 31), dtype=torch.float64):
    x = torch.rand(shape, generator=generator, dtype=dtype)
    return x, (x + 0.2 * torch.randn(shape, generator=generator, dtype=dtype)).clamp(0, 1)


def test_equal_images_score_one(generator):
    x, _ = pair(generator, dtype=torch.float32)
    assert float(ssim(x, x)) == pytest.approx(1.0, abs=1e-6)
    assert float(ssim(x * 0, x * 0)) == 1.0


@pytest.mark.parametrize("data_range", [1.0, 10.0])
def test_against_skimage(generator, data_range):
    x, y = pair(generator)
    expected = [structural_similarity(a[0].numpy(), b[0].numpy(), data_range=data_range, gaussian_weights=True,
                                      sigma=1.5, use_sample_covariance=False) for a, b in zip(x, y, strict=True)]
    got = ssim(x, y, data_range=data_range, reduction="image")
    assert got.numpy() == pytest.approx(np.array(expected), rel=1e-9)
    assert float(ssim(x, y, data_range=data_range)) == pytest.approx(np.mean(expected), rel=1e-9)
    assert ssim(x, y).ndim == 0


def test_against_torchmetrics(generator):
    x, y = pair(generator, (2, 3, 24, 31))
    mean, full = structural_similarity_index_measure(x, y, data_range=1.0, return_full_image=True)
    assert ssim_map(x, y)[0].numpy() == pytest.approx(full[..., 5:-5, 5:-5].numpy(), rel=1e-9)
    assert float(ssim(x, y)) != pytest.approx(float(mean), rel=1e-4)  # its mean takes in a reflected border


def test_float32_keeps_its_digits_far_from_zero(generator):
    """Depths near 80 m with a data range of 1: E[x²] - E[x]² alone would be wrong in the third digit."""
    x, y = pair(generator)
    x, y = 79 + 0.1 * x, 79 + 0.1 * y
    assert float(ssim(x.float(), y.float())) == pytest.approx(float(ssim(x, y)), rel=1e-3)


def test_mask_of_ones_changes_nothing(generator):
    x, y = pair(generator)
    ones = torch.ones(2, 1, 24, 31, dtype=torch.bool)
    assert float(ssim(x, y, ones)) == pytest.approx(float(ssim(x, y)), rel=1e-12)


def test_masked_windows_one_by_one(generator):
    x, y = pair(generator, (1, 1, 13, 14))
    mask = torch.rand(1, 1, 13, 14, generator=generator) > 0.4
    kernel = gaussian_window(11, 1.5, dtype=torch.float64)
    kernel = (kernel[:, None] * kernel[None]).numpy()
    a, b, m = x[0, 0].numpy(), y[0, 0].numpy(), mask[0, 0].numpy()
    values = []
    for i in range(5, 8):
        for j in range(5, 9):
            if not m[i, j]:
                continue
            cut = np.s_[i - 5:i + 6, j - 5:j + 6]
            w = kernel * m[cut]
            w = w / w.sum()
            ma, mb = (w * a[cut]).sum(), (w * b[cut]).sum()
            va, vb = (w * (a[cut] - ma) ** 2).sum(), (w * (b[cut] - mb) ** 2).sum()
            cov = (w * (a[cut] - ma) * (b[cut] - mb)).sum()
            values.append((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    assert 3 < len(values) < 12
    assert float(ssim(x, y, mask)) == pytest.approx(np.mean(values), rel=1e-9)


def test_what_invalid_pixels_hold_has_no_influence(generator):
    x, y = pair(generator)
    mask = torch.rand(2, 1, 24, 31, generator=generator) > 0.3
    spoiled = torch.where(mask, x, float("nan")).requires_grad_()
    value = ssim(spoiled, torch.where(mask, y, 1e6), mask)
    assert float(value.detach()) == pytest.approx(float(ssim(x, y, mask)), rel=1e-9)
    value.backward()
    assert spoiled.grad.isfinite().all() and not spoiled.grad[~mask].any()


def test_symmetric_and_at_most_one(generator):
    x, y = pair(generator)
    values, counted = ssim_map(x, y)
    assert values.shape == (2, 1, 14, 21) and counted is None and float(values.max()) <= 1
    assert torch.allclose(values, ssim_map(y, x)[0], atol=1e-14)


def test_gradcheck(generator):
    x, y = pair(generator, (1, 1, 8, 9))
    mask = torch.rand(1, 1, 8, 9, generator=generator) > 0.2
    for chosen in (None, mask):
        assert torch.autograd.gradcheck(lambda a, m=chosen: ssim(a, y, m, window=5), x.clone().requires_grad_())


def test_tiekd_variant_pads_with_zeros_and_takes_absolute_covariance(generator):
    x, y = pair(generator, (1, 1, 16, 18))
    y = 1 - y  # anti-correlated, which this variant does not punish

    def blur(a):
        return gaussian_filter(a, 1.5, mode="constant", radius=5)

    a, b = x[0, 0].numpy(), y[0, 0].numpy()
    ma, mb = blur(a), blur(b)
    va, vb, cov = abs(blur(a * a) - ma**2), abs(blur(b * b) - mb**2), abs(blur(a * b) - ma * mb)
    expected = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    values, _ = ssim_map(x, y, variant="tiekd")
    assert values[0, 0].numpy() == pytest.approx(expected, rel=1e-9)
    assert float(ssim(x, y, variant="tiekd")) == pytest.approx(expected.mean(), rel=1e-9)
    assert float(ssim(x, y)) < 0 < float(ssim(x, y, variant="tiekd"))
    ones = torch.ones(1, 1, 16, 18, dtype=torch.bool)
    assert float(ssim(x, y, ones, variant="tiekd")) == pytest.approx(expected.mean(), rel=1e-9)


def test_empty_mask(generator):
    x, y = pair(generator)
    mask = torch.ones(2, 1, 24, 31, dtype=torch.bool)
    mask[1] = False
    assert float(ssim(x, y, mask)) == pytest.approx(float(ssim(x[:1], y[:1])), rel=1e-12)
    with pytest.raises(ValueError, match="no valid window centre in image 1"):
        ssim(x, y, mask, reduction="image")
    with pytest.raises(ValueError, match="no valid window centre in image 0"):
        ssim(x, y, mask & False)
    border = mask & False
    border[..., :5, :] = True  # valid pixels, but none with its window inside the image
    with pytest.raises(ValueError, match="at least 5 pixels from the border"):
        ssim(x, y, border)


def test_survives_autocast(generator):
    x, y = pair(generator, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ssim(x, y)
    assert inside.dtype == torch.float32 and float(inside) == pytest.approx(float(ssim(x, y)), rel=1e-6)


def test_bad_input():
    x = torch.rand(1, 1, 16, 16)
    cases = [((x, x[..., :5]), {}, "of one shape"), ((x[0], x[0]), {}, r"\(B, C, H, W\)"),
             ((x, x.double()), {}, "same floating-point dtype"), ((x.long(), x.long()), {}, "floating-point"),
             ((x, x), {"window": 10}, "must be odd"), ((x, x), {"window": 17}, "at most the image's"),
             ((x, x), {"sigma": 0.0}, "must be positive"), ((x, x), {"data_range": -1.0}, "must be positive"),
             ((x, x, x), {}, "must be bool"), ((x, x, x[..., :4] > 0), {}, "does not fit"),
             ((x, x), {"variant": "abs"}, "unknown variant"), ((x, x), {"reduction": "sum"}, "unknown reduction")]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            ssim(*arguments, **options)
