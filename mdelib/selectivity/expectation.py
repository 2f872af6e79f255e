r"""What depth selectivity to expect of a unit that answers to depth at random: exactly, as a series, by simulation.

With the responses of all N bins independent and uniform on [0, b], the largest one and the ratio u of the others'
mean to it are independent, and u is the mean of n = N - 1 uniform numbers on [0, 1]. So DS = (1 - u) / (1 + u), and

    E[DS] = -1 + 2 E[1 / (1 + u)] = -1 + 2 ∫_0^∞ e^{-t} ((1 - e^{-t/n}) / (t/n))^n dt,

since 1 / (1 + u) = ∫_0^∞ e^{-t (1 + u)} dt. You et al. (2021, supplement, Eq 6) divide two expectations instead and
get 1/3, the limit for many bins. Explained in notebooks/03_expected_selectivity.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from mdelib.protocols import require_known
from mdelib.selectivity.response import depth_selectivity

__all__ = ["RESPONSE_LAWS", "ResponseLaw", "draw_responses", "expected_selectivity", "expected_selectivity_series",
           "series_coefficients", "simulate_selectivity"]

_FARTHEST = 9.0  # standard scores beyond ±9 have a probability below 1e-18
_AT_ONCE = 2**21  # responses that are drawn at a time


@dataclass(frozen=True)
class ResponseLaw:
    """A law for the size of a unit's response, as an increasing function of a standard normal score.

    Attributes:
        title: in words.
        of_score: Tensor -> Tensor of the same shape: Q(Φ(z)) for the law's quantile function Q. Written in the score
            it is exact in both tails, and correlated scores give correlated responses with the same law.
    """

    title: str
    of_score: Callable[[Tensor], Tensor]


def _normal_cdf(score: Tensor) -> Tensor:
    return 0.5 * torch.special.erfc(-score / math.sqrt(2))  # torch.special.ndtr rounds the lower tail to 0


def _half_normal(score: Tensor) -> Tensor:
    low = math.sqrt(2) * torch.special.erfinv(_normal_cdf(score.clamp_max(0)))
    high = -torch.special.ndtri(0.5 * _normal_cdf(-score))  # each tail from its own side
    return torch.where(score < 0, low, high)


RESPONSE_LAWS: Mapping[str, ResponseLaw] = MappingProxyType({
    "uniform": ResponseLaw("uniform on [0, 1]", _normal_cdf),
    "half_normal": ResponseLaw("half-normal, |N(0, 1)|", _half_normal),
    "exponential": ResponseLaw("exponential, mean 1", lambda score: -torch.special.log_ndtr(-score)),
    "lognormal": ResponseLaw("lognormal, exp N(0, 1)", torch.exp),
    "shifted_normal": ResponseLaw("shifted normal, 1 + 0.1 N(0, 1)", lambda score: (1 + 0.1 * score).abs()),
})
"""Laws by name. Selectivity is a ratio, so that the unit in which responses are measured does not matter."""


def expected_selectivity(num_bins: int, law: str = "uniform") -> float:
    r"""E[DS] of a unit whose responses in all bins are drawn independently from one law.

    For the uniform law :math:`-1 + 2 \int_0^\infty e^{-t} \big(\tfrac{1 - e^{-t/n}}{t/n}\big)^n dt`, n = N - 1
    (compare You et al. 2021, supp. Eq 6: 1/3), to 1e-12. For any other law, given the largest response m, the others
    are independent draws from the law cut off at m:
    :math:`-1 + 2\,\mathbb{E}_m \int_0^\infty e^{-t}\, \mathbb{E}[e^{-tx/(nm)} \mid x \le m]^n dt`, to 1e-11.

    Args:
        num_bins: N, at least 2.
        law: a name of `RESPONSE_LAWS`.

    Returns:
        A number between 0 and 1. For two bins of the uniform law it is 2 ln 2 - 1.

    Raises:
        ValueError: fewer than two bins, or an unknown law.

    Explained in notebooks/03_expected_selectivity.ipynb.
    """
    _check_bins(num_bins)
    require_known("law", law, RESPONSE_LAWS)
    n = num_bins - 1
    times, weights = _laguerre()
    if law == "uniform":
        return -1 + 2 * float(weights @ np.exp(n * _log_mean_exp(times / n)))
    scores, nodes = _legendre(-_FARTHEST, _FARTHEST)
    density = nodes * _normal_density(scores) * num_bins * _normal_cdf(scores) ** n  # of the largest score
    below, shares = _legendre(-_FARTHEST, scores[:, None])  # the others' scores, (largest, below)
    shares = shares * _normal_density(below)
    of_score = RESPONSE_LAWS[law].of_score
    ratio = of_score(below) / of_score(scores)[:, None]
    rates = torch.from_numpy(times)[:, None, None] / n
    decay = (shares * torch.expm1(-rates * ratio)).sum(-1) / shares.sum(-1)  # E[exp(-t x / nm) | x <= m] - 1
    inner = torch.from_numpy(weights) @ torch.exp(n * torch.log1p(decay))
    return float(-1 + 2 * (density @ inner) / density.sum())


def expected_selectivity_series(num_bins: int, order: int = 1) -> float:
    r"""The expansion of E[DS] for the uniform law: :math:`\sum_{j=0}^{order} c_j / (N-1)^j`, with c_0 = 1/3.

    It is asymptotic: for a given N the error falls with the order at first, and then grows.

    Args:
        num_bins: N, at least 2.
        order: of the last term. 0 is the paper's 1/3; 1 adds 4 / (81 (N - 1)).

    Raises:
        ValueError: fewer than two bins, or a negative order.

    Explained in notebooks/03_expected_selectivity.ipynb.
    """
    _check_bins(num_bins)
    return float(sum(c / Fraction(num_bins - 1) ** j for j, c in enumerate(series_coefficients(order))))


@lru_cache
def series_coefficients(order: int) -> tuple[Fraction, ...]:
    r"""The coefficients c_0, ..., c_order of `expected_selectivity_series`, exactly.

    The mean of n uniform numbers has the log of its Laplace transform
    :math:`\ln \mathbb{E}[e^{-tu}] = -\tfrac{t}{2} + \sum_{k \ge 1} \tfrac{B_{2k}}{2k\,(2k)!}\, t^{2k} n^{1-2k}`, with
    Bernoulli's numbers B. Its exponential is sorted by powers of 1/n, and each
    :math:`\int_0^\infty e^{-3t/2} t^p dt = p!\,(2/3)^{p+1}`.

    Raises:
        ValueError: a negative order.
    """
    if order < 0:
        raise ValueError(f"order {order}: the series begins with order 0, which is 1/3")
    powers: list[dict[int, Fraction]] = [{0: Fraction(1)}]  # exp(...) = sum_j n^-j sum_p powers[j][p] t^p
    for j in range(1, order + 1):
        powers.append({})
        for i in range(1, j + 1, 2):  # j e_j = sum_i i a_i e_{j-i}, with a_i the coefficient of n^-i in the exponent
            a = _bernoulli(i + 1) / ((i + 1) * math.factorial(i + 1))
            for p, value in powers[j - i].items():
                powers[j][p + i + 1] = powers[j].get(p + i + 1, Fraction(0)) + Fraction(i, j) * a * value
    sums = [sum(2 * v * math.factorial(p) * Fraction(2, 3) ** (p + 1) for p, v in terms.items()) for terms in powers]
    return (sums[0] - 1, *sums[1:])


def simulate_selectivity(num_bins: int, trials: int, law: str = "uniform", correlation: float | Tensor = 0.0,
                         generator: torch.Generator | None = None) -> tuple[float, float]:
    """Mean depth selectivity of random units, and the standard error of that mean.

    Args:
        num_bins: N, at least 2.
        trials: units to draw, at least 2.
        law, correlation, generator: as in `draw_responses`.

    Returns:
        mean, standard error.

    Raises:
        ValueError: as `draw_responses`, or fewer than two trials.

    Explained in notebooks/03_expected_selectivity.ipynb.
    """
    if trials < 2:
        raise ValueError(f"{trials} trials: at least two are needed for a standard error")
    _check_bins(num_bins)
    at_once = max(1, _AT_ONCE // num_bins)
    values = torch.cat([depth_selectivity(draw_responses(num_bins, min(at_once, trials - start), law, correlation,
                                                         generator)) for start in range(0, trials, at_once)])
    return float(values.mean()), float(values.std() / math.sqrt(trials))


def draw_responses(num_bins: int, trials: int, law: str = "uniform", correlation: float | Tensor = 0.0,
                   generator: torch.Generator | None = None) -> Tensor:
    r"""Responses of random units, all bins with the same law, neighbouring bins correlated if asked for.

    A Gaussian copula: normal scores z with the correlation matrix C, then Q(Φ(z)) with the law's quantile function Q.

    Args:
        num_bins: N, at least 2.
        trials: units to draw.
        law: a name of `RESPONSE_LAWS`.
        correlation: of the scores of neighbouring bins, ρ: those of bins i and j have ρ^\|i-j\|, a first-order
            autoregression. Or any correlation matrix C (N, N).
        generator: on the CPU; None is torch's own.

    Returns:
        (trials, N) float64, none negative.

    Raises:
        ValueError: fewer than two bins or one trial, an unknown law, a correlation that is not between -1 and 1, a
            matrix that is no positive definite correlation matrix of N bins.

    Explained in notebooks/03_expected_selectivity.ipynb.
    """
    _check_bins(num_bins)
    require_known("law", law, RESPONSE_LAWS)
    if trials < 1:
        raise ValueError(f"{trials} trials: at least one unit must be drawn")
    score = torch.randn(trials, num_bins, generator=generator, dtype=torch.float64)
    if isinstance(correlation, Tensor) or correlation != 0:
        score = score @ _correlation_root(num_bins, correlation).T
    return RESPONSE_LAWS[law].of_score(score)


def _check_bins(num_bins: int) -> None:
    if isinstance(num_bins, bool) or not isinstance(num_bins, int | np.integer) or num_bins < 2:
        raise ValueError(f"num_bins is {num_bins!r}: a whole number of at least two bins is needed, since selectivity "
                         "compares one bin with the others")


def _correlation_root(num_bins: int, correlation: float | Tensor) -> Tensor:
    """A lower triangle L with L Lᵀ = C."""
    if isinstance(correlation, Tensor):
        matrix = correlation.detach().to("cpu", torch.float64)
        if matrix.shape != (num_bins, num_bins) or not torch.allclose(matrix, matrix.T) \
                or not torch.allclose(matrix.diagonal(), torch.ones(num_bins, dtype=torch.float64)):
            raise ValueError(f"correlation has the shape {tuple(matrix.shape)}: a symmetric ({num_bins}, {num_bins}) "
                             "matrix with ones on its diagonal is needed")
    else:
        if not -1 < correlation < 1:
            raise ValueError(f"correlation is {correlation}: neighbouring bins need a number between -1 and 1")
        steps = torch.arange(num_bins, dtype=torch.float64)
        matrix = torch.as_tensor(correlation, dtype=torch.float64) ** (steps[:, None] - steps).abs()
    root, failed = torch.linalg.cholesky_ex(matrix)
    if failed:
        raise ValueError("correlation is not positive definite: no set of bins can be correlated like that; add a "
                         "little to its diagonal and divide by the sum")
    return root


def _log_mean_exp(rate: np.ndarray) -> np.ndarray:
    """ln E[e^{-rate x}] of a uniform x on [0, 1], which is ln((1 - e^{-rate}) / rate), accurate for small rates."""
    half = rate / 2
    square = np.minimum(half, 0.5) ** 2
    small = np.log1p(square / 6 * (1 + square / 20 * (1 + square / 42 * (1 + square / 72 * (1 + square / 110)))))
    large = np.maximum(half, 0.5)
    return np.where(half < 0.5, small - half, np.log(-np.expm1(-2 * large) / (2 * large)))


@lru_cache
def _laguerre(count: int = 32) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.laguerre.laggauss(count)


@lru_cache
def _unit_legendre(count: int = 240) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def _legendre(low: float, high: float | Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [low, high], along the last axis."""
    nodes, weights = _unit_legendre()
    half = (high - low) / 2
    return low + half * (1 + nodes), half * weights


def _normal_density(score: Tensor) -> Tensor:
    return torch.exp(-score.square() / 2) / math.sqrt(2 * math.pi)


def _bernoulli(k: int) -> Fraction:
    """Bernoulli's number B_k, from sum_{j<=m} (m+1 choose j) B_j = 0."""
    numbers = [Fraction(1)]
    for m in range(1, k + 1):
        numbers.append(-sum(math.comb(m + 1, j) * numbers[j] for j in range(m)) / (m + 1))
    return numbers[k]
