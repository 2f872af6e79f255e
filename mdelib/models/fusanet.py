"""FuSaNet (Huynh et al. 2021): depth from one image by a network that chooses points to lean on, and runs twice.

The Fusion-Net gives depth, a confidence map and features from an image and a set of points with known depth: measured
ones in training, none at all in use. The Saliency-Net turns these into salient points, whose depth is the one that
was just predicted; with them the same Fusion-Net runs again. Authors' code was never published: what the paper leaves
open is named where it is decided, here and in `mdelib.models.fusion_block`. Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdelib.layers import init_depth_head, pad_to_multiple, resize
from mdelib.models.base import DepthNetwork, check_image
from mdelib.models.fusion_block import Decoder, FusionEncoder, Located, Refinement, attending, conv_norm_relu
from mdelib.models.saliency_net import SaliencyNet
from mdelib.points import SparsePoints, camera_or_default, salient_points

__all__ = ["SIZES", "FuSaNet", "FusionNet", "Pass", "Prediction", "fusanet"]

# Channels of the five Fusion-Blocks, finest first; of the stem; strides of the stem's two layers; channels of each
# convolution in an MFE layer and behind it; kernel elements and neighbours of FKAConv; salient points.
SIZES = {
    "lab": {"widths": (12, 16, 24, 32, 32), "stem": 8, "strides": (2, 2), "mfe": 3, "hidden": 8,
            "kernel_elements": 8, "neighbours": 8, "salient": 64},
    "paper": {"widths": (64, 80, 96, 112, 112), "stem": 32, "strides": (2, 1), "mfe": 16, "hidden": 64,
              "kernel_elements": 16, "neighbours": 16, "salient": 500},
}


class Pass(NamedTuple):
    """What the Fusion-Net gives in one pass.

    `raw` and `depth` (metres): five (B, 1, h_i, w_i), finest first. `confidence` (B, 1, h, w) in [0, 1] and the fusion
    `features` (B, C, h, w) belong to the finest.
    """

    raw: tuple[Tensor, ...]
    depth: tuple[Tensor, ...]
    confidences: tuple[Tensor, ...]
    features: Tensor

    @property
    def confidence(self) -> Tensor:
        return self.confidences[0]


class Prediction(NamedTuple):
    """Everything FuSaNet knows about an image (B, 3, H, W).

    Attributes:
        depth: (B, 1, H, W) metres, the answer.
        first, second: the passes, `second` is `first` without a Saliency-Net.
        saliency: (B, 1, h, w) in (0, 1), or None.
        points: the salient points, pixels of the image, or None.
        first_depth, confidence, first_confidence: (B, 1, H, W), of the passes at the image's size.
    """

    depth: Tensor
    first: Pass
    second: Pass
    saliency: Tensor | None
    points: SparsePoints | None
    first_depth: Tensor
    confidence: Tensor
    first_confidence: Tensor


class FusionNet(nn.Module):
    """Five Fusion-Blocks, each at half the resolution of the one before (huynh2021 Fig. 2, left).

    Encoders run from fine to coarse, decoders back; each refinement corrects the depth of the next coarser block, so
    that there are five depth maps. How the blocks are joined is not said in words; this is the common way.

    The points enter as a sparse depth map and its mask. Where there is none the mask is 0, and so would be all that
    normalised convolutions make of it: without a point, no confidence anywhere. But the paper shows confidence maps of
    images without points, so the stem joins the points' attention a to what the image looks like, as in Eldesokey et
    al. 2020, where a network gives the first confidence: 1 - (1 - a)(1 - sigmoid(W * y)).

    Args:
        widths, stem, strides, kernel_elements, neighbours: see `SIZES`. confidence: see `attending`.
        output, max_depth: see `mdelib.layers.init_depth_head`.
    """

    def __init__(self, widths: tuple[int, ...], stem: int, strides: tuple[int, int], *, confidence: bool,
                 kernel_elements: int, neighbours: int, output: str, max_depth: float):
        super().__init__()
        layer, first = attending(confidence), widths[0]
        self.sparse1 = layer(1, stem, 3, stride=strides[0])
        self.sparse2 = layer(stem, first, 3, stride=strides[1])
        self.image = nn.Sequential(conv_norm_relu(4, stem, stride=strides[0]),
                                   conv_norm_relu(stem, first, stride=strides[1]))
        self.look = nn.Conv2d(first, first, 1) if confidence else None
        self.join = conv_norm_relu(2 * first, first)
        self.encoders = nn.ModuleList(FusionEncoder(width, confidence=confidence, kernel_elements=kernel_elements,
                                                    neighbours=neighbours) for width in widths)
        self.downs = nn.ModuleList(conv_norm_relu(fine, coarse, stride=2) for fine, coarse in pairwise(widths))
        self.attended_downs = nn.ModuleList(layer(fine, coarse, 3, stride=2) for fine, coarse in pairwise(widths))
        self.decoders = nn.ModuleList(Decoder(width, below, confidence=confidence)
                                      for width, below in zip(widths, (*widths[1:], 0), strict=True))
        self.refinements = nn.ModuleList(Refinement(width, confidence=confidence) for width in widths)
        for refinement in self.refinements:  # corrections are small at the start
            init_depth_head(refinement.head, "linear", depth=0.0)
            refinement.head.weight.data.mul_(0.3)
        init_depth_head(self.refinements[-1].head, output, max_depth=max_depth)

    def forward(self, image: Tensor, located: Located) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
        """Raw depths and confidences, five (B, 1, h_i, w_i) each, finest first, and fusion features (B, C, h, w)."""
        depth, mask = located.points.maps((image.shape[-2], image.shape[-1]))
        sparse, attention = self.sparse2(*self.sparse1(depth, mask))
        y = self.image(torch.cat([image, depth], 1))
        if self.look is not None:
            attention = 1 - (1 - attention) * (1 - self.look(y).float().sigmoid())
        x = self.join(torch.cat([y, sparse.to(y.dtype)], 1))
        encoded = []
        for level, encoder in enumerate(self.encoders):
            x, attention = encoder(x, attention, located)
            encoded.append((x, attention))
            if level < len(self.downs):
                attended, attention = self.attended_downs[level](x, attention)
                x = F.relu(self.downs[level](x) + attended)
        decoded, raw, raws, confidences = None, None, [], []
        for level in reversed(range(len(encoded))):
            decoded = self.decoders[level](*encoded[level], decoded)
            correction, confidence = self.refinements[level](decoded)
            size = (correction.shape[-2], correction.shape[-1])
            raw = correction.float() if raw is None else correction.float() + resize(raw, size)
            raws.append(raw)
            confidences.append(confidence.float())
        return tuple(raws[::-1]), tuple(confidences[::-1]), encoded[0][0]


class FuSaNet(DepthNetwork):
    """Fusion-Net, Saliency-Net, and the Fusion-Net again with the salient points (huynh2021 Fig. 1).

    Args:
        size: an entry of `SIZES`.
        saliency: False leaves the second pass out (Table 4). confidence: False has ordinary convolutions in place of
            the confidence predictor (Table 6).
        salient: number of salient points.
        focal: focal length of the camera in widths of the image, for images that come without intrinsics; None is the
            one of `mdelib.points.camera_or_default`, with a warning.
        output, max_depth: see `mdelib.layers.to_metres`.
    """

    def __init__(self, size: dict, *, saliency: bool = True, confidence: bool = True, salient: int | None = None,
                 focal: float | None = None, output: str = "log", max_depth: float = 10.0):
        super().__init__(output=output, max_depth=max_depth, multiple=size["strides"][0] * size["strides"][1])
        if salient is not None and salient < 1:
            raise ValueError(f"salient={salient}: at least one salient point is needed; saliency=False has none")
        self.focal, self.salient = focal, size["salient"] if salient is None else salient
        self.predicts_confidence = confidence
        self.fusion = FusionNet(size["widths"], size["stem"], size["strides"], confidence=confidence,
                                kernel_elements=size["kernel_elements"], neighbours=size["neighbours"],
                                output=output, max_depth=max_depth)
        self.saliency = SaliencyNet(size["widths"][0], width=size["mfe"], hidden=size["hidden"]) if saliency else None

    def predict(self, image: Tensor, points: SparsePoints | None = None, intrinsics: Tensor | None = None, *,
                chosen: SparsePoints | None = None) -> Prediction:
        """Depth and everything on the way to it.

        Args:
            image: (B, 3, H, W) float, RGB in [0, 1]. points: with known depth, pixels of the image; None for none.
            intrinsics: (3, 3) or (B, 3, 3), pixels; None for a camera of `focal`.
            chosen: points for the second pass in the place of the salient ones, pixels of the image; for experiments.

        Raises:
            ValueError: images that are none, see `DepthNetwork`, or points or cameras of another batch.
        """
        check_image(image)
        batch, height, width = len(image), image.shape[-2], image.shape[-1]
        camera = camera_or_default(intrinsics, (height, width), batch, focal=self.focal).to(image.device)
        nowhere = SparsePoints.empty(batch, 0, image.device)
        points = nowhere if points is None else points.inside((height, width))
        x = pad_to_multiple(self.normalize(image), self.multiple)
        first = self._pass(x, points, camera)
        if self.saliency is None:
            second, saliency, chosen = first, None, None
        else:
            depth = first.depth[0].detach()
            saliency = self.saliency(first.confidence, first.features, depth)
            if chosen is None:
                chosen = salient_points(saliency, depth, first.confidence, self.salient).scaled(
                    (depth.shape[-2], depth.shape[-1]), (x.shape[-2], x.shape[-1]))
            second = self._pass(x, chosen, camera)
        whole = [resize(y, (x.shape[-2], x.shape[-1]))[..., :height, :width]
                 for y in (second.depth[0], first.depth[0], second.confidence, first.confidence)]
        return Prediction(whole[0], first, second, saliency, chosen, *whole[1:])

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) metres from images (B, 3, H, W) alone; see `DepthNetwork`."""
        return self.predict(image).depth

    def _pass(self, x: Tensor, points: SparsePoints, camera: Tensor) -> Pass:
        located = Located(points, points.cloud(camera), (x.shape[-2], x.shape[-1]))
        raw, confidences, features = self.fusion(x, located)
        return Pass(raw, tuple(self.to_depth(one) for one in raw), confidences, features)


def fusanet(scale: str = "lab", *, saliency: bool = True, confidence: bool = True, salient: int | None = None,
            focal: float | None = None, output: str = "log", max_depth: float = 10.0) -> FuSaNet:
    """FuSaNet: 8.1 M parameters at paper scale, as published; at lab scale narrowed, from a quarter of the resolution.

    Args:
        scale: ``"lab"`` or ``"paper"``. saliency, confidence, salient, focal, output, max_depth: see `FuSaNet`.
    """
    return FuSaNet(SIZES[scale], saliency=saliency, confidence=confidence, salient=salient, focal=focal,
                   output=output, max_depth=max_depth)
