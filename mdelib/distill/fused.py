"""The divergence of `dpm_loss` from the student's logits and the teacher's depth; neither map is ever held.

The teacher's map is known in closed form and is 0 but for a window of bins around its depth. So the loss goes through
the image in slabs of a few rows that stay in the processor's cache: a slab's softmax is taken over all bins, the
teacher is computed in the window only, and the slab's gradient is written into its place. What is kept is the logits
and their gradient.
Explained in notebooks/10_depth_probability_maps.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdelib.distill.bins import CUT_OFF, bin_centres, check_width, reach
from mdelib.distill.losses import DIRECTIONS, check_mask, count_pixels
from mdelib.distill.probability import NORMALIZATIONS, bin_values, in_two_parts, probabilities
from mdelib.protocols import require_known

__all__ = ["fused_dpm_loss"]

_SLAB = 2**19  # logits at a time: 2 MB in float32, which the caches of a CPU hold
_FEW = 1e-30  # a probability that float32 holds to all its digits; less is computed from the logits
_SHARE = 40  # on a GPU, which wants larger pieces: a slab is this part of all logits


def fused_dpm_loss(logits: Tensor, teacher_depth: Tensor, edges: Tensor, sigma: float, mask: Tensor | None = None, *,
                   mass: str = "integral", normalize: str = "softmax", direction: str = "student_teacher") -> Tensor:
    r"""`dpm_loss` of ``logits.softmax(1)`` and ``depth_probability_map(teacher_depth, ...)``, without either map.

    Per pixel :math:`\sum_i S_i \ln (S_i / T_i)` (Choi et al. 2024, Eq 5) or :math:`\sum_i T_i \ln (T_i / S_i)` (their
    code), averaged over the pixels that count. With T at least 1e-16, the gradients by logit k of a pixel are
    :math:`S_k (\ln S_k - \ln T_k - KL)` and :math:`S_k - T_k`. They are computed together with the loss, in one pass.

    Args:
        logits: (B, K, H, W) of the student, before softmax; any floating-point dtype.
        teacher_depth: (B, 1, H, W) metres, of the same size. A depth outside the bins counts as the nearest edge; a
            pixel whose depth is zero, negative, infinite or NaN does not count. The teacher gets no gradient.
        edges: (K+1,) metres, increasing; see `depth_bins`.
        sigma: standard deviation in metres.
        mask: (B, 1, H, W) bool, or None. A pixel where it is False has no influence and no gradient.
        mass, normalize: as in `depth_probability_map`.
        direction: as in `dpm_loss`.

    Returns:
        A scalar in nats, in the larger of the dtypes and at least float32. It can be differentiated once.

    Raises:
        ValueError: sizes that do not fit, no pixel that counts, and as `depth_probability_map` and `dpm_loss` do.

    Explained in notebooks/10_depth_probability_maps.ipynb.
    """
    require_known("normalize", normalize, NORMALIZATIONS)
    require_known("direction", direction, DIRECTIONS)
    edges = check_width(edges, sigma, mass)
    depth, valid = _prepared(logits, teacher_depth, edges, mask)
    teacher = _Teacher.of(edges, depth, sigma, mass, normalize)
    if torch.is_grad_enabled() and logits.requires_grad:
        return _Divergence.apply(logits, depth, teacher, valid, direction)
    return _divergence(logits, depth, teacher, valid, direction, None)[0]


class _Divergence(torch.autograd.Function):
    """The mean divergence; its gradient is made on the way and handed out once."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, depth: Tensor, teacher: _Teacher, valid: Tensor, direction: str) -> Tensor:
        # Divided by the number of pixels, float16 would round it to 0: there the loss's own scale comes first.
        ctx.left = 1 / max(1, int(valid.sum())) if logits.dtype == torch.float16 else 1.0
        mean, ctx.gradient = _divergence(logits, depth, teacher, valid, direction, 1 / ctx.left)
        ctx.save_for_backward(logits, depth, valid)
        ctx.teacher, ctx.direction = teacher, direction
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        logits, depth, valid = ctx.saved_tensors
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:  # a graph that was kept, a second time: the first owns the tensor it was given
            _, gradient = _divergence(logits, depth, ctx.teacher, valid, ctx.direction, 1 / ctx.left)
        factor = outer * ctx.left
        if factor.is_cuda or factor != 1:  # to look at it, a GPU would have to be waited for
            gradient.mul_(factor)
        return gradient, None, None, None, None


@dataclass(frozen=True)
class _Teacher:
    """What the teacher's probabilities in its window are computed from.

    Attributes:
        ends: (K,) far edges of the bins. span: metres from the depth to either end of its window.
        places, rest: (S or S + 1, K - S + 1) edges or centres of all windows of S bins.
        sigma, mass, normalize: as in `depth_probability_map`.
    """

    ends: Tensor
    span: float
    places: Tensor
    rest: Tensor
    sigma: float
    mass: str
    normalize: str

    @classmethod
    def of(cls, edges: Tensor, like: Tensor, sigma: float, mass: str, normalize: str) -> _Teacher:
        """The windows over `edges` (K+1,) for depths like `like`."""
        near, far = edges[:-1], edges[1:].contiguous()
        span = 1.001 * reach(sigma, mass) + 1e-6 * float(edges[-1])  # a little more, against rounding
        longest = torch.searchsorted(near.contiguous(), far + 2 * span) - torch.arange(len(far))
        count = min(int(longest.max()), len(far)) + (mass == "integral")
        runs = (part.unfold(0, count, 1).T.contiguous()
                for part in in_two_parts(edges if mass == "integral" else bin_centres(edges), like))
        return cls(far.to(like), span, *runs, sigma, mass, normalize)

    def window(self, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers of the bins around depths (n,), and their probabilities, (S, n) each; all other bins have none."""
        first = torch.searchsorted(self.ends, depth - self.span).clamp_(max=self.places.shape[1] - 1)
        values = bin_values(self.places.index_select(1, first), self.rest.index_select(1, first), depth, self.sigma,
                            self.mass, 0)
        bins = first + torch.arange(len(values), device=depth.device)[:, None]
        return bins, probabilities(values, self.normalize, 0)


def _divergence(logits: Tensor, depth: Tensor, teacher: _Teacher, valid: Tensor, direction: str,
                scale: float | None) -> tuple[Tensor, Tensor | None]:
    """The mean over valid pixels, and `scale` times its gradient by each logit (B, K, H, W); None makes none."""
    count = count_pixels(valid)
    each = torch.empty_like(depth)
    slopes = None if scale is None else torch.empty_like(logits)
    pull = _student_teacher if direction == "student_teacher" else _teacher_student
    for image, rows in _slabs(logits):
        slab = logits[image, :, rows].flatten(1).to(depth.dtype)  # (K, n)
        bins, target = teacher.window(depth[image, 0, rows].flatten())
        found, slope = pull(slab, bins, target, scale is not None)
        each[image, 0, rows] = found.view(each[image, 0, rows].shape)
        if slopes is not None:
            if count < valid.numel():  # also where the student is NaN
                slope.masked_fill_(~valid[image, 0, rows].flatten(), 0)
            place = slopes[image, :, rows]
            torch.mul(slope.view(place.shape), scale / count, out=place)
    return torch.where(valid, each, 0).sum() / count, slopes


def _slabs(logits: Tensor) -> Iterator[tuple[int, slice]]:
    """Images and rows, some rows of one image at a time."""
    batch, bins, height, width = logits.shape
    most = _SLAB if logits.device.type == "cpu" else max(_SLAB, logits.numel() // _SHARE)
    rows = max(1, most // (bins * width))
    for image in range(batch):
        for top in range(0, height, rows):
            yield image, slice(top, top + rows)


def _student_teacher(logits: Tensor, bins: Tensor, target: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
    """KL(S || T) of pixels (n,) and its gradient (K, n), from logits (K, n) and the teacher in its window (S, n)."""
    shifted = logits - logits.amax(0)
    share = shifted.exp()
    total = share.sum(0)
    share /= total
    log_share = shifted.sub_(total.log())
    near = log_share.gather(0, bins)
    terms = log_share.sub_(math.log(CUT_OFF)).mul_(share)  # right outside the window
    terms.scatter_(0, bins, near.exp() * (near - target.clamp_min(CUT_OFF).log()))
    found = terms.sum(0)
    return found, terms.addcmul_(share, found, value=-1) if gradient else None


def _teacher_student(logits: Tensor, bins: Tensor, target: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
    """KL(T || S) and its gradient; as `_student_teacher`."""
    share = logits.softmax(0)
    near = share.gather(0, bins)
    log_near = near.log() if near.min() > _FEW else logits.log_softmax(0).gather(0, bins)
    found = (target * (target.clamp_min(CUT_OFF).log() - log_near)).sum(0)
    return found, share.scatter_(0, bins, near - target) if gradient else None


def _prepared(logits: Tensor, depth: Tensor, edges: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The teacher's depth in the dtype to compute in and inside the bins everywhere, and where it counts."""
    bins = len(edges) - 1
    if logits.ndim != 4 or logits.shape[1] != bins or not logits.is_floating_point():
        raise ValueError(f"logits are {logits.dtype} of shape {tuple(logits.shape)}: floating-point (B, {bins}, H, W) "
                         f"is needed for {bins} bins; give the edges that the student was built for")
    if depth.shape != (logits.shape[0], 1, *logits.shape[2:]) or not depth.is_floating_point():
        raise ValueError(f"the teacher's depth is {depth.dtype} of shape {tuple(depth.shape)} and the logits are "
                         f"{tuple(logits.shape)}: floating-point metres (B, 1, H, W) of the same size are needed; "
                         "resize one of them first")
    valid = check_mask(mask, logits) & torch.isfinite(depth) & (depth > 0)
    depth = depth.detach().to(torch.promote_types(torch.promote_types(logits.dtype, depth.dtype), torch.float32))
    return torch.where(valid, depth, 1.0).clamp_(float(edges[0]), float(edges[-1])), valid
