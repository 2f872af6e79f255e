"""The expected selectivity against closed forms, sums over Irwin-Hall and spacing laws, sympy, and simulation."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, stats

from mdelib.selectivity import depth_selectivity
from mdelib.selectivity.expectation import (
    RESPONSE_LAWS,
    draw_responses,
    expected_selectivity,
    expected_selectivity_series,
    series_coefficients,
    simulate_selectivity,
)

LAWS = pytest.mark.parametrize("law", list(RESPONSE_LAWS))
SCIPY = {"uniform": stats.uniform(), "half_normal": stats.halfnorm(), "exponential": stats.expon(),
         "lognormal": stats.lognorm(1), "shifted_normal": stats.norm(1, 0.1)}


def irwin_hall(num_bins: int) -> sympy.Expr:
    """E[(1-u)/(1+u)] from the density of the sum of n uniforms, piece by piece; exact, for few bins only."""
    x, n = sympy.symbols("x", positive=True), num_bins - 1
    total = sympy.Integer(0)
    for piece in range(n):
        density = sum((-1) ** k * sympy.binomial(n, k) * (x - k) ** (n - 1) for k in range(piece + 1))
        polynomial = sympy.expand(density / sympy.factorial(n - 1))
        quotient, rest = sympy.div(polynomial * (n - x), n + x, x)
        total += sympy.integrate(quotient, (x, piece, piece + 1))
        total += rest * (sympy.log(n + piece + 1) - sympy.log(n + piece))
    return total


def test_two_bins_are_two_logarithms():
    assert expected_selectivity(2) == pytest.approx(2 * math.log(2) - 1, abs=1e-12)


def test_three_bins_by_hand():
    """u has the density 4u below 1/2 and 4(1-u) above, so E[1/(1+u)] = 4 (2 ln(4/3) - ln(3/2)) = 4 ln(32/27)."""
    assert expected_selectivity(3) == pytest.approx(8 * math.log(32 / 27) - 1, abs=1e-12)


@pytest.mark.parametrize("num_bins", [2, 3, 4, 6, 10])
def test_exact_sums_for_few_bins(num_bins):
    assert expected_selectivity(num_bins) == pytest.approx(float(sympy.N(irwin_hall(num_bins), 40)), abs=1e-12)


@pytest.mark.parametrize(("num_bins", "value"), [(2, 0.3863), (10, 0.3389), (32, 0.3349), (64, 0.3341)])
def test_values_to_four_places(num_bins, value):
    """The integral with mpmath at 50 digits; for 2 and 10 also the exact sum over the Irwin-Hall law, see above."""
    assert round(expected_selectivity(num_bins), 4) == value


@pytest.mark.parametrize("num_bins", [2, 5, 16, 64, 300, 1024, 4096, 10**6])
def test_the_integral_with_many_digits(num_bins):
    mp = pytest.importorskip("mpmath")
    with mp.workdps(60):
        n = num_bins - 1
        exact = -1 + 2 * mp.quad(lambda t: mp.exp(-t) * (-mp.expm1(-t / n) * n / t) ** n, [0, 1, 4, 12, 40, 120])
        assert abs(expected_selectivity(num_bins) - float(exact)) < 1e-12


def test_it_falls_to_a_third_and_never_reaches_it():
    """(1-u)/(1+u) is convex, so by Jensen its mean is above its value at the mean u = 1/2."""
    values = [expected_selectivity(n) for n in (*range(2, 40), 100, 1000, 10**4, 10**5, 10**6)]
    assert all(a > b > 1 / 3 for a, b in pairwise(values))
    assert values[-1] == pytest.approx(1 / 3, abs=1e-7)


@pytest.mark.parametrize("num_bins", [2, 3, 4, 6, 10, 16, 32, 64, 128, 256])
def test_simulation_agrees_within_its_error(num_bins, generator):
    mean, error = simulate_selectivity(num_bins, 20_000, generator=generator)
    assert abs(mean - expected_selectivity(num_bins)) < 4 * error
    assert 0 < error < 0.0025


def test_the_simulation_is_that_of_selectivity(generator):
    responses = draw_responses(7, 500, generator=torch.Generator().manual_seed(0))
    values = depth_selectivity(responses)
    mean, error = simulate_selectivity(7, 500, generator=generator)
    assert mean == pytest.approx(float(values.mean())) and error == pytest.approx(float(values.std()) / 500**0.5)


def test_many_trials_are_drawn_in_parts(generator, monkeypatch):
    monkeypatch.setattr("mdelib.selectivity.expectation._AT_ONCE", 1000)
    mean, error = simulate_selectivity(10, 5_555, generator=generator)
    assert abs(mean - expected_selectivity(10)) < 4 * error and error < 0.003


def test_coefficients_from_the_moments_of_the_mean():
    """Independently of the cumulants: 1/(1+u) in powers of u - 1/2, with E[(u - 1/2)^k] by sympy."""
    t, n = sympy.symbols("t n", positive=True)
    half = sympy.series(sympy.log(sympy.sinh(t / 2) / (t / 2)), t, 0, 9).removeO()
    moments = sympy.series(sympy.exp(sympy.expand(n * half.subs(t, t / n))), t, 0, 9).removeO()
    total = -1 + 2 * sum(sympy.Rational(2, 3) ** (k + 1) * sympy.factorial(k) * sympy.expand(moments).coeff(t, k)
                         for k in range(9))
    ours = series_coefficients(4)
    for power, coefficient in enumerate(ours[:5]):
        assert sympy.expand(total).coeff(n, -power) == sympy.Rational(coefficient.numerator, coefficient.denominator)
    assert ours[:3] == (Fraction(1, 3), Fraction(4, 81), Fraction(4, 729))


@pytest.mark.parametrize("order", range(5))
def test_the_series_is_off_by_its_next_term(order):
    exact, n = (lambda bins: expected_selectivity(bins)), 24
    gaps = [expected_selectivity_series(bins, order) - exact(bins) for bins in (n + 1, 2 * n + 1)]
    assert math.log2(gaps[0] / gaps[1]) == pytest.approx(order + 1, abs=0.25)
    term = float(series_coefficients(order + 1)[-1]) / n ** (order + 1)
    assert -gaps[0] == pytest.approx(term, rel=0.25)


def spacings(num_bins: int) -> float:
    """Exponential law: the responses over their sum are uniform spacings; their maximum has a known tail."""
    n = num_bins - 1

    def tail(m: float) -> float:
        return sum((-1) ** (k + 1) * math.comb(num_bins, k) * max(0.0, 1 - k * m) ** n for k in range(1, num_bins + 1))

    def slope(m: float) -> float:  # DS = (m - r) / (m + r) with r = (1 - m) / n
        r = (1 - m) / n
        return 2 * (r + m / n) / (m + r) ** 2

    kinks = [1 / k for k in range(2, num_bins)]
    return integrate.quad(lambda m: slope(m) * tail(m), 1 / num_bins, 1, points=kinks or None, epsabs=1e-12)[0]


@pytest.mark.parametrize("num_bins", [2, 3, 5, 10])
def test_the_exponential_law_is_that_of_spacings(num_bins):
    assert expected_selectivity(num_bins, "exponential") == pytest.approx(spacings(num_bins), abs=1e-9)


def test_two_bins_of_other_laws_in_closed_form():
    """|x-y|/(x+y): a uniform share for the exponential law; |tan(π/4 - θ)| with a uniform θ for the half-normal."""
    assert expected_selectivity(2, "exponential") == pytest.approx(0.5, abs=1e-12)
    assert expected_selectivity(2, "half_normal") == pytest.approx(2 * math.log(2) / math.pi, abs=1e-12)
    lognormal = 2 * integrate.quad(lambda z: math.tanh(z / math.sqrt(2)) * stats.norm.pdf(z), 0, 12, epsabs=1e-13)[0]
    assert expected_selectivity(2, "lognormal") == pytest.approx(lognormal, abs=1e-10)


@pytest.mark.parametrize(("law", "value"), [("half_normal", 0.538), ("exponential", 0.657), ("shifted_normal", 0.106)])
def test_known_values_at_64_bins(law, value):
    assert expected_selectivity(64, law) == pytest.approx(value, abs=5e-4)


def test_the_general_rule_gives_the_uniform_law_too(monkeypatch):
    laws = dict(RESPONSE_LAWS) | {"twice": type(RESPONSE_LAWS["uniform"])("", lambda z: 2 * stats_cdf(z))}
    monkeypatch.setattr("mdelib.selectivity.expectation.RESPONSE_LAWS", laws)
    for num_bins in (2, 3, 17, 64):
        assert expected_selectivity(num_bins, "twice") == pytest.approx(expected_selectivity(num_bins), abs=1e-9)


def stats_cdf(score: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(stats.norm.cdf(score.numpy()))


@LAWS
@pytest.mark.parametrize("num_bins", [2, 16, 64])
def test_every_law_agrees_with_its_simulation(law, num_bins, generator):
    mean, error = simulate_selectivity(num_bins, 20_000, law, generator=generator)
    assert abs(mean - expected_selectivity(num_bins, law)) < 4 * error


@LAWS
def test_laws_are_those_of_scipy(law):
    score = torch.linspace(-8, 8, 65, dtype=torch.float64)
    ours = RESPONSE_LAWS[law].of_score(score).numpy()
    low = np.asarray(score) < 0
    wanted = np.where(low, SCIPY[law].ppf(stats.norm.cdf(score)), SCIPY[law].isf(stats.norm.sf(score)))
    if law != "exponential":  # scipy's ppf near 0 is as exact as its argument
        assert ours == pytest.approx(wanted, rel=1e-9, abs=1e-15)
    assert ours == pytest.approx(wanted, rel=1e-7, abs=1e-15)
    assert (np.diff(ours) > 0).all() and (ours >= 0).all()


@LAWS
def test_unbounded_laws_rise_with_the_bins_and_bounded_ones_do_not(law):
    few, many = expected_selectivity(8, law), expected_selectivity(512, law)
    assert (many < few) == (law == "uniform")


def test_correlated_bins_keep_their_law_and_their_correlation(generator):
    drawn = draw_responses(5, 40_000, "exponential", 0.8, generator)
    scores = torch.special.ndtri(-torch.expm1(-drawn))
    steps = torch.arange(5)
    wanted = 0.8 ** (steps[:, None] - steps).abs().double()
    assert torch.allclose(torch.corrcoef(scores.T), wanted, atol=0.02)
    assert drawn.mean(0) == pytest.approx(1, abs=0.03)
    assert torch.equal(draw_responses(5, 9, generator=generator.manual_seed(1)),
                       draw_responses(5, 9, correlation=torch.eye(5), generator=generator.manual_seed(1)))


@LAWS
def test_correlation_lowers_selectivity_to_zero(law, generator):
    values = [simulate_selectivity(16, 4000, law, rho, generator)[0] for rho in (0.0, 0.9, 0.99, 0.99999)]
    assert values == sorted(values, reverse=True) and values[-1] < 0.02


def test_two_correlated_bins_of_the_lognormal_law(generator):
    """DS = tanh(|z1 - z2| / 2), and z1 - z2 has the variance 2 (1 - ρ)."""
    mean, error = simulate_selectivity(2, 40_000, "lognormal", 0.5, generator)
    exact = 2 * integrate.quad(lambda z: math.tanh(z / 2) * stats.norm.pdf(z), 0, 12)[0]
    assert abs(mean - exact) < 4 * error


def test_draws_are_float64_and_repeat():
    one, two = (draw_responses(4, 6, "half_normal", 0.3, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two) and one.dtype == torch.float64 and one.shape == (6, 4)


@pytest.mark.parametrize("bad", [1, 0, -3, 2.5, True, "8"])
def test_bins_must_be_a_whole_number_of_at_least_two(bad):
    for call in (expected_selectivity, expected_selectivity_series, lambda n: simulate_selectivity(n, 10),
                 lambda n: draw_responses(n, 10)):
        with pytest.raises(ValueError, match="at least two bins"):
            call(bad)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: expected_selectivity(8, "halfnormal"), "law"),
    (lambda: draw_responses(8, 3, "gauss"), "law"),
    (lambda: expected_selectivity_series(8, -1), "begins with order 0"),
    (lambda: simulate_selectivity(8, 1), "standard error"),
    (lambda: draw_responses(8, 0), "at least one unit"),
    (lambda: draw_responses(8, 3, correlation=1.0), "between -1 and 1"),
    (lambda: draw_responses(8, 3, correlation=float("nan")), "between -1 and 1"),
    (lambda: draw_responses(8, 3, correlation=torch.eye(7)), "shape"),
    (lambda: draw_responses(2, 3, correlation=torch.tensor([[1.0, 0.2], [0.3, 1.0]])), "symmetric"),
    (lambda: draw_responses(2, 3, correlation=2 * torch.eye(2)), "ones on its diagonal"),
    (lambda: draw_responses(2, 3, correlation=torch.ones(2, 2)), "positive definite"),
])
def test_bad_input_is_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
