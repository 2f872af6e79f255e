"""FuSaNet in training as one module that `mdelib.train.fit` can train: guiding points, augmentation, both passes.

Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdelib.fusanet import FuSaNetLoss, fusanet_loss
from mdelib.models.fusanet import FuSaNet
from mdelib.models.unet import random_colours
from mdelib.points import SparsePoints, guiding_points

__all__ = ["FuSaNetTraining", "drop_window"]


def drop_window(image: Tensor, mask: Tensor, *, share: float = 0.5, largest: float = 0.3) -> tuple[Tensor, Tensor]:
    """Black out a random rectangle of each image and forget its depth (huynh2021 section 4.2).

    Args:
        image: (B, 3, H, W). mask: (B, 1, H, W) bool. share: of the images. largest: side of the rectangle, in sides of
            the image; both sides are drawn evenly from a tenth to this. The paper gives neither number.

    Returns:
        New image and mask, drawn with PyTorch's own generator.

    Explained in notebooks/09_fusanet.ipynb.
    """
    height, width = image.shape[-2:]
    draws = torch.rand(len(image), 5)
    tall, wide = ((0.1 + (largest - 0.1) * draws[:, place]) for place in (0, 1))
    top, left = draws[:, 2] * (1 - tall), draws[:, 3] * (1 - wide)
    rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    inside_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    window = inside_rows[:, None, :, None] & inside_columns[:, None, None, :] & (draws[:, 4] < share)[:, None, None,
                                                                                                     None]
    window = window.to(image.device)
    return torch.where(window, 0.0, image), mask & ~window


class FuSaNetTraining(nn.Module):
    """A FuSaNet together with what its training needs beside images and depth.

        training = FuSaNetTraining(network, steps=99)
        fit(training, views, training.loss, settings)

    Each step draws guiding points: the depth that was measured at SIFT keypoints of the image as augmented. In a share
    of the steps, drawn anew each time, the whole batch gets none. Both passes are held to Eq 5 and weigh the same: the
    paper only says what the last one is trained with, but salient points are read off the first. The epoch p of Eq 4
    comes from a counter that is stored with the weights, so that a training can be stopped and goes on exactly.

    Args:
        network: the one to train. steps: in an epoch.
        guiding: keypoints an image, at most. zero_share: share of steps without points; 1 is FuSaNet1 of Table 5, 0
            FuSaNet2, anything between FuSaNet3; the paper says "some".
        weights: of the loss. drop: share of images that lose a rectangle. recolour: (hue, contrast, grey) of
            `mdelib.models.unet.random_colours`; None changes no colours.
        half: run the network in bfloat16 where PyTorch thinks it safe, as `fit` does with ``precision="bf16-mixed"``.

    Raises:
        ValueError: a share outside [0, 1], or no steps.

    Explained in notebooks/09_fusanet.ipynb.
    """

    def __init__(self, network: FuSaNet, *, steps: int, guiding: int = 128, zero_share: float = 0.5,
                 weights: FuSaNetLoss | None = None, drop: float = 0.5,
                 recolour: tuple[float, float, float] | None = (0.1, 0.3, 0.1), half: bool = False):
        super().__init__()
        if not (0 <= zero_share <= 1 and 0 <= drop <= 1) or steps < 1:
            raise ValueError(f"zero_share={zero_share}, drop={drop}, steps={steps}: shares between 0 and 1 and at "
                             "least one step an epoch are needed")
        self.network, self.steps, self.guiding, self.zero_share = network, steps, guiding, zero_share
        self.weights, self.drop, self.half = weights or FuSaNetLoss(), drop, half
        self.recolour = None if recolour is None else random_colours(*recolour)
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    @property
    def epoch(self) -> int:
        """p of Eq 4: 1 in the first epoch."""
        return int(self.step) // self.steps + 1

    def forward(self, image: Tensor) -> Tensor:
        """The image as it is: `fit` hands what this gives to `loss`, which needs the image and not a depth map."""
        return image

    def loss(self, image: Tensor, depth: Tensor, mask: Tensor) -> Tensor:
        """Eq 5 of both passes, for augmented images (B, 3, H, W), depth and mask (B, 1, H, W); a scalar.

        Raises:
            ValueError: no valid pixel in the batch.
        """
        epoch, without = self.epoch, bool(torch.rand(()) < self.zero_share)
        if self.training:
            self.step += 1
            image = image if self.recolour is None else self.recolour(image)
            image, mask = drop_window(image, mask, share=self.drop)
        points = (SparsePoints.empty(len(image), 0, image.device) if without
                  else guiding_points(image, depth, mask, self.guiding))
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.half):
            found = self.network.predict(image, points)
        passes = [found.second] if self.network.saliency is None else [found.first, found.second]
        confident = self.network.predicts_confidence
        values = [fusanet_loss(maps, depth, mask, points, epoch, self.weights, confident=confident)
                  for maps in passes]
        return sum(values) / len(values)
