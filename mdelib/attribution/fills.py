"""Images that say nothing: what stands in for removed pixels, and where integrated gradients start.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdelib.gradients import smooth_masked
from mdelib.models.base import DepthNetwork, check_image
from mdelib.protocols import require_known

__all__ = ["FILLS", "fill_image"]

FILLS = ("mean", "blur", "noise", "black")
BLUR = 1 / 16  # of the image's longer side: standard deviation of the blur


def fill_image(image: Tensor, fill: str | Tensor = "mean", *, model: nn.Module | None = None, seed: int = 0) -> Tensor:
    """An image without content, of the size of `image`.

    - ``"mean"``: the network's own mean colour, which its normalisation turns into 0; of a network that has none, or
      leaves RGB as it is, the mean colour of each image.
    - ``"blur"``: the image itself under a Gaussian of a sixteenth of its longer side: colours stay, edges go.
    - ``"noise"``: Gaussian noise with each image's mean and standard deviation in every colour, cut to [0, 1].
    - ``"black"``: zeros.

    Args:
        image: (B, 3, H, W), RGB in [0, 1].
        fill: one of `FILLS`, or an image (3,), (3, H, W) or (B, 3, H, W) of your own.
        model: whose mean colour is meant. seed: of the noise, another one for each image of the batch.

    Returns:
        (B, 3, H, W).

    Raises:
        ValueError: an unknown fill, or an image of your own that does not fit.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    check_image(image)
    if isinstance(fill, Tensor):
        own = fill.view(3, 1, 1) if fill.shape == (3,) else fill
        try:
            return own.to(image).expand_as(image)
        except RuntimeError:
            raise ValueError(f"a fill of shape {tuple(fill.shape)} does not fit images of {tuple(image.shape)}: "
                             "expected (3,), (3, H, W) or (B, 3, H, W)") from None
    require_known("fill", fill, FILLS)
    if fill == "black":
        return torch.zeros_like(image)
    if fill == "blur":
        return smooth_masked(image, torch.ones_like(image[:, :1], dtype=torch.bool), BLUR * max(image.shape[-2:]))
    colour = image.mean((2, 3), keepdim=True)
    if fill == "noise":
        draws = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)
        return (colour + image.std((2, 3), keepdim=True) * draws).clamp(0, 1)
    if isinstance(model, DepthNetwork) and model.mean.any():
        colour = model.mean.to(image)
    return colour.expand_as(image).contiguous()
