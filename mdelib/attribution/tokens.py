"""Attention as a sparse matrix over the tokens of an image, multiplied without ever forming it.

A layer of a dense network can have 19200 tokens: its matrix would have 369 million entries, nearly all of them 0
because windows do not see each other. `TokenAttention` holds what was computed, window by window, and multiplies.
Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mdelib.models.swin import split_windows

__all__ = ["TokenAttention", "patch_tokens", "spread_to_children", "token_grid", "window_tokens"]

Grid = tuple[int, int]


@dataclass(frozen=True)
class TokenAttention:
    """One layer's attention, averaged over heads: a matrix A (T, T) with rows that sum to 1, in n blocks.

    Attributes:
        weights: (B, n, q, k), from each query of a block to each key; not negative.
        queries: (n, q), which token each query is; -1 for padding, which is no token.
        keys: (n, k), which token each key is, likewise; with `cell` above 1, which cell.
        grid: (h, w), the tokens row by row; `prefix` tokens that have no place (class, registers) come before them.
        cell: side of the cell of tokens that a key stands for, where keys are computed on a coarser map.
    """

    weights: Tensor
    queries: Tensor
    keys: Tensor
    grid: Grid
    prefix: int = 0
    cell: int = 1

    @property
    def count(self) -> int:
        """T, all tokens."""
        return self.prefix + self.grid[0] * self.grid[1]

    def back(self, relevance: Tensor) -> Tensor:
        """Aᵀ r: what tokens give to those that look at them, (B, T) from (B, T); sums are kept.

        Weight that goes to padding is given to the other keys of the same query, in proportion.
        """
        real = (self.keys >= 0).to(self.weights.dtype)[:, None]
        weights = self.weights * real
        weights = weights / weights.sum(-1, keepdim=True)
        asking = torch.where(self.queries >= 0, relevance[:, self.queries.clamp_min(0)], 0)  # (B, n, q)
        given = torch.einsum("bnq,bnqk->bnk", asking, weights)
        height, width = (-(-side // self.cell) for side in self.grid)
        out = relevance.new_zeros(len(relevance), height * width + self.prefix)
        out = out.index_add(1, self.keys.clamp_min(0).flatten(), torch.where(self.keys >= 0, given, 0).flatten(1))
        return out if self.cell == 1 else spread_to_children(out, (height, width), self.grid)

    def step(self, relevance: Tensor) -> Tensor:
        """One step of rollout backwards, r <- (r + Aᵀ r) / 2: half of a layer's output is its own input."""
        return (relevance + self.back(relevance)) / 2


def window_tokens(grid: Grid, window: Grid, shift: Grid = (0, 0), *, roll_first: bool = False) -> Tensor:
    """Which token stands where in shifted windows, (n, t), -1 for padding: a map of numbers, cut like the features.

    Args:
        grid: (h, w) of the tokens. window, shift: of `mdelib.models.swin.SwinBlock`.
        roll_first: as timm's own block does; see `mdelib.models.swin`.
    """
    numbers = torch.arange(1, grid[0] * grid[1] + 1).view(1, *grid, 1)
    back = (-shift[0], -shift[1])
    numbers = numbers.roll(back, (1, 2)) if roll_first else numbers
    numbers = F.pad(numbers, (0, 0, 0, -grid[1] % window[1], 0, -grid[0] % window[0]))
    numbers = numbers if roll_first else numbers.roll(back, (1, 2))
    return split_windows(numbers, window)[..., 0] - 1


def patch_tokens(grid: Grid) -> Tensor:
    """Which token stands where in METER's four groups, (4, t): equal places of all 2x2 patches; -1 for padding."""
    numbers = torch.arange(1, grid[0] * grid[1] + 1).view(grid)
    numbers = F.pad(numbers, (0, grid[1] % 2, 0, grid[0] % 2))
    return torch.stack([numbers[a::2, b::2].flatten() for a in (0, 1) for b in (0, 1)]) - 1


def spread_to_children(relevance: Tensor, coarse: Grid, fine: Grid) -> Tensor:
    """Share the relevance of each coarse token (B, h w) equally among the fine tokens that it was made of.

    Child (i, j) belongs to parent (i // f, j // f): patch merging (f = 2), strided convolutions, reduced keys.

    Raises:
        ValueError: grids of which one is not the other, coarsened.
    """
    factors = [-(-small // large) for small, large in zip(fine, coarse, strict=True)]
    parents = [torch.arange(side, device=relevance.device) // factor
               for side, factor in zip(fine, factors, strict=True)]
    if any(int(part[-1]) + 1 != side for part, side in zip(parents, coarse, strict=True)):
        raise ValueError(f"a grid of {coarse[0]}x{coarse[1]} tokens is not one of {fine[0]}x{fine[1]} coarsened by "
                         "whole numbers: roll out one stage at a time, with stage=...")
    parent = (parents[0][:, None] * coarse[1] + parents[1]).flatten()
    children = parent.bincount(minlength=coarse[0] * coarse[1])
    return (relevance / children)[:, parent]


@lru_cache(maxsize=64)
def token_grid(count: int, size: Grid, prefix: int | None = None) -> tuple[Grid, int]:
    """The grid of tokens of an image (height, width), and how many tokens stand before it without a place.

    Args:
        count: all tokens. size: of the image that the network works at. prefix: if it is known.

    Raises:
        ValueError: no grid of about the image's shape has so many tokens.
    """
    best: tuple[float, Grid, int] | None = None
    for before in (0, 1, 2, 5) if prefix is None else (prefix,):
        tokens = count - before
        for rows in range(1, tokens + 1):
            if tokens % rows == 0:
                columns = tokens // rows
                stretch = (size[0] / rows) / (size[1] / columns)
                stretch = max(stretch, 1 / stretch)
                if stretch < 1.3 and (best is None or stretch < best[0] - 1e-9):
                    best = stretch, (rows, columns), before
    if best is None:
        raise ValueError(f"{count} tokens do not tile an image of {size[0]}x{size[1]}: attention rollout needs tokens "
                         "that are patches of the image, row by row")
    return best[1], best[2]
