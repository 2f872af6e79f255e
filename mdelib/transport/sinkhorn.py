r"""Transport where sorting does not help: Sinkhorn's iteration, in logarithms, taken to zero temperature.

Transport with entropy (Cuturi 2013) adds ε·KL(T | a bᵀ) to the cost of a plan T. Its dual has two potentials,

    f_i = -ε ln Σ_j b_j exp((g_j - C_ij)/ε)    and    g_j = -ε ln Σ_i a_i exp((f_i - C_ij)/ε) ,

which are updated in turn until T_ij = a_i b_j exp((f_i + g_j - C_ij)/ε) has the marginals a and b; the value is then
OT_ε = Σ a f + Σ b g, and its derivatives are f for a, g for b and T for C. Three things make it quick and exact:
temperatures fall from the largest cost by halves, each starting from the potentials before (ε-scaling); updates go too
far by a factor ω < 2 (over-relaxation, Thibault et al. 2017); and since OT_ε grows linearly for small ε, the values at
the last two temperatures give the one without entropy, 2 OT_ε - OT_2ε. Explained in
notebooks/07_optimal_transport.ipynb.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["DenseCost", "GridCost", "Potentials", "entropic_potentials", "entropic_transport"]


class GridCost:
    """Squared distances between the cells of a grid; a row part and a column part, never an N x N matrix.

    Args:
        size: (h, w) cells.
        spacing: (dy, dx) between cell centres.
        like: gives dtype and device.
    """

    def __init__(self, size: tuple[int, int], spacing: tuple[float, float], like: Tensor):
        self.size = tuple(size)
        places = [torch.arange(n, dtype=like.dtype, device=like.device) * step
                  for n, step in zip(size, spacing, strict=True)]
        self.rows, self.columns = ((place[:, None] - place).square() for place in places)
        self.largest = float(self.rows.max() + self.columns.max())

    def softmin(self, potential: Tensor, log_mass: Tensor, epsilon: float, *, to_target: bool) -> Tensor:
        """-ε ln Σ_j exp((potential_j - C_ij)/ε + log_mass_j), (B, N); the same in both directions."""
        weight = (potential / epsilon + log_mass).view(-1, *self.size)
        weight = torch.logsumexp(weight[:, :, None, :] - self.columns / epsilon, 3)
        weight = torch.logsumexp(weight.mT[:, :, None, :] - self.rows / epsilon, 3).mT
        return -epsilon * weight.flatten(1)


class DenseCost:
    """Any cost, as a matrix.

    Args:
        cost: (B, N, M), from source i to target j.
    """

    def __init__(self, cost: Tensor):
        self.cost = cost.detach()
        self.largest = float(self.cost.max())

    def softmin(self, potential: Tensor, log_mass: Tensor, epsilon: float, *, to_target: bool) -> Tensor:
        """-ε ln Σ exp((potential - C)/ε + log_mass) over sources (`to_target`, (B, M)) or targets ((B, N))."""
        weight = potential / epsilon + log_mass
        weight = weight[:, :, None] if to_target else weight[:, None, :]
        return -epsilon * torch.logsumexp(weight - self.cost / epsilon, 1 if to_target else 2)


@dataclass(frozen=True)
class Potentials:
    """The potentials of one temperature.

    Attributes:
        epsilon: temperature, in units of the cost.
        source, target: f (B, N) and g (B, M); the source marginal is met exactly.
        residual: Σ |Tᵀ1 - b|, (B,), the share of mass that misses the target marginal.
    """

    epsilon: float
    source: Tensor
    target: Tensor
    residual: Tensor


@torch.no_grad()
def entropic_potentials(cost: GridCost | DenseCost, source: Tensor, target: Tensor, epsilon: float, *,
                        tolerance: float = 1e-3, iterations: int = 400) -> tuple[Potentials, Potentials]:
    r"""The potentials at the temperatures 2ε and ε.

    The factor is :math:`\omega = 2 / (1 + \min(1, c \sqrt{\epsilon / C_{max}}))` with c = 2.6: one update carries
    information as far as √ε, and the best factor of such a diffusion depends on how many steps cross the domain.

    Args:
        cost: `GridCost` or `DenseCost`.
        source, target: (B, N) and (B, M) masses, each row with the sum 1; zeros are allowed.
        epsilon: the lower temperature, in units of the cost.
        tolerance: of the residual, for both temperatures.
        iterations: at most so many at each of the two; the temperatures before them get 15.

    Raises:
        ValueError: epsilon, tolerance or iterations are not positive.
    """
    if not (epsilon > 0 and tolerance > 0 and iterations > 0):
        raise ValueError(f"epsilon {epsilon}, tolerance {tolerance} and iterations {iterations}: all must be positive")
    log_source, log_target = source.log(), target.log()  # -inf without mass
    f, g = torch.zeros_like(source), torch.zeros_like(target)
    steps = max(1, math.ceil(math.log2(max(2.0, cost.largest / epsilon))))
    found = []
    for step in range(steps, -1, -1):
        heat = epsilon * 2**step
        f, g, residual = _iterate(cost, (log_source, log_target), (f, g), heat, tolerance,
                                  iterations if step < 2 else min(iterations, 15))
        if step < 2:
            found.append(Potentials(heat, f, g, residual))
    return found[0], found[1]


def _iterate(cost: GridCost | DenseCost, log_masses: tuple[Tensor, Tensor], potentials: tuple[Tensor, Tensor],
             epsilon: float, tolerance: float, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Over-relaxed updates at one temperature, closed by a plain one that meets the source marginal."""
    (log_source, log_target), (f, g) = log_masses, potentials
    boldest = 2 / (1 + min(1.0, 2.6 * math.sqrt(epsilon / max(cost.largest, epsilon))))
    omega, before = torch.full_like(f[:, :1], boldest), torch.zeros_like(f[:, 0])
    for i in range(iterations):
        factor = omega if i >= 5 else 1.0
        f = f + factor * (cost.softmin(g, log_target, epsilon, to_target=False) - f)
        wanted = cost.softmin(f, log_source, epsilon, to_target=True)
        if i % 10 == 4:
            residual = _missed(g, wanted, log_target, epsilon)
            good = residual < tolerance
            if good.all():
                break
            # plain updates keep what is good, and always converge where bold ones do not
            bad = ~(residual <= before.clamp_min(0.5))
            omega = torch.where((good | bad)[:, None], 1.0, omega)
            factor, before = torch.where(bad[:, None], 1.0, factor), residual
        g = g + factor * (wanted - g)
    g = cost.softmin(f, log_source, epsilon, to_target=True)
    f = cost.softmin(g, log_target, epsilon, to_target=False)
    wanted = cost.softmin(f, log_source, epsilon, to_target=True)
    return f, g, _missed(g, wanted, log_target, epsilon)


def _missed(g: Tensor, wanted: Tensor, log_target: Tensor, epsilon: float) -> Tensor:
    """Σ |Tᵀ1 - b| of each image, (B,): column j of the plan has the mass b_j exp((g_j - wanted_j)/ε)."""
    share = torch.where(log_target > -torch.inf, (g - wanted) / epsilon, 0)
    return (log_target.exp() * torch.expm1(share).abs()).sum(1)


def entropic_transport(source: Tensor, target: Tensor, cost: GridCost | Tensor, *, epsilon: float,
                       tolerance: float = 1e-3, iterations: int = 400) -> Tensor:
    r"""The cost of transport, from entropic transport at two temperatures: 2 OT_ε - OT_2ε.

    :math:`OT = \min_T \sum_{ij} T_{ij} C_{ij}` (Yao et al. 2023, Eq 18). The derivatives come from the potentials
    (the envelope theorem), 2 f_ε - f_2ε for the source and so on, not from the iteration; they are those of the value
    as far as the iteration has converged.

    Args:
        source, target: (B, N) and (B, M) masses, each row with the sum 1; zeros are allowed.
        cost: a `GridCost`, or (B, N, M), which may carry gradients.
        epsilon, tolerance, iterations: as in `entropic_potentials`.

    Returns:
        (B,), in units of the cost. May be below 0 by the error that `tolerance` leaves.

    Explained in notebooks/07_optimal_transport.ipynb.
    """
    solved = DenseCost(cost) if isinstance(cost, Tensor) else cost
    pair = entropic_potentials(solved, source.detach(), target.detach(), epsilon, tolerance=tolerance,
                               iterations=iterations)
    value = source.new_zeros(len(source))
    for factor, found in zip((-1, 2), pair, strict=True):
        value = value + factor * ((source * found.source).sum(1) + (target * found.target).sum(1))
        if isinstance(cost, Tensor) and cost.requires_grad:
            gain = found.source[:, :, None] + found.target[:, None, :] - solved.cost
            plan = (source.detach()[:, :, None] * target.detach()[:, None, :] * (gain / found.epsilon).exp())
            plan = torch.where(plan > 0, plan, 0)  # 0 · inf where there is no mass
            value = value + factor * (plan * (cost - cost.detach())).sum((1, 2))
    return value
