"""Exercises on depth probability maps: notebook 10.

Explained in notebooks/10_depth_probability_maps.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mdelib.checks import Exercise
from mdelib.distill import bin_centres, depth_bins, depth_probability_map, expected_depth
from mdelib.distill.probability import bin_values

__all__ = ["EXERCISES"]


def _gaussians(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, float, float]]]:
    """Edges (K+1,) in float32, a depth and a standard deviation, metres."""
    yield "a depth in the middle of ten bins", (torch.linspace(4, 6, 11), 4.97, 0.5)
    yield "bins eight standard deviations farther", (torch.linspace(5.0, 9.0, 9), 1.0, 0.9)
    yield "bins eight standard deviations nearer", (torch.linspace(1.0, 5.0, 9), 9.0, 0.9)
    yield "bins of different widths", (torch.tensor([0.5, 0.9, 1.0, 2.5, 6.0]), 1.7, 0.8)


def _log_mass(edges: Tensor, depth: float, sigma: float) -> Tensor:
    depth = torch.tensor(depth, dtype=torch.float64)
    return bin_values(edges.double(), torch.zeros_like(edges), depth, sigma, "integral", 0).log()


def _centre_density(edges: Tensor, depth: float, sigma: float) -> Tensor:
    depth = torch.tensor(depth, dtype=torch.float64)
    return bin_values(bin_centres(edges), torch.zeros(1), depth, sigma, "density", 0)


def _by_erf(edges: Tensor, depth: float, sigma: float) -> Tensor:
    return (torch.erf((edges - depth) / (sigma * math.sqrt(2))).diff() / 2).log()


def _depths(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor, float]]]:
    """Depths (N,), edges (K+1,) and a standard deviation."""
    edges = depth_bins()
    yield "depths near the camera, σ = 0.8 m", (0.5 + 5 * torch.rand(4, generator=generator), edges, 0.8)
    yield "depths in the middle, σ = 0.8 m", (20 + 30 * torch.rand(4, generator=generator), edges, 0.8)
    yield "49 bins to 10 m, σ = 0.15 m", (0.5 + 9 * torch.rand(4, generator=generator), depth_bins(49, 1e-3, 10), 0.15)


def _decoded(depth: Tensor, edges: Tensor, sigma: float, mass: str = "density", normalize: str = "softmax") -> Tensor:
    maps = depth_probability_map(depth.view(1, 1, 1, -1), edges, sigma, mass=mass, normalize=normalize)
    return expected_depth(maps, edges).flatten()


def _never_cut(depth: Tensor, edges: Tensor, sigma: float) -> Tensor:
    centres = bin_centres(edges).to(depth)[:, None]
    density = torch.exp(-((centres - depth) / sigma).square() / 2) / (sigma * math.sqrt(2 * math.pi))
    return (density.softmax(0) * centres).sum(0)


def _students(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor, str]]]:
    """Logits (K,), the teacher's probabilities (K,) and the direction."""
    for direction in ("teacher_student", "student_teacher"):
        teacher = (2 * torch.randn(6, generator=generator)).softmax(0)
        yield f"six bins, {direction}", (torch.randn(6, generator=generator), teacher, direction)
    yield "a student that is right", (teacher.log(), teacher, "student_teacher")


def _gradient(logits: Tensor, teacher: Tensor, direction: str) -> Tensor:
    share = logits.softmax(0)
    if direction == "teacher_student":
        return share - teacher
    apart = share.log() - teacher.log()
    return share * (apart - (share * apart).sum())


def _by_share(logits: Tensor, teacher: Tensor, direction: str) -> Tensor:
    share = logits.softmax(0)
    return -teacher / share if direction == "teacher_student" else share.log() - teacher.log() + 1


def _incomplete(logits: Tensor, teacher: Tensor, direction: str) -> Tensor:
    share = logits.softmax(0)
    return share - teacher if direction == "teacher_student" else share * (share.log() - teacher.log())


def _ripples(generator: torch.Generator) -> Iterator[tuple[str, tuple[float, float]]]:
    """Width of a bin, and how far off the decode may be, metres."""
    yield "bins of 31 cm, 1 mm", (0.3113, 1e-3)
    yield "bins of 20 cm, 0.1 mm", (0.2041, 1e-4)
    yield "bins of 1 m, 1 cm", (1.0, 1e-2)


def _ripple_sigma(width: float, tolerance: float) -> float:
    return width / math.pi * math.sqrt(math.log(width / (math.pi * tolerance)) / 2)


def _windows(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, int, Tensor]]]:
    """Logits (K,), the number of the first bin with any of the teacher's probability, and those (S,)."""
    for what, first, scale in (("a window in the middle", 7, 2.0), ("a window at the end", 25, 2.0),
                               ("logits of some hundreds", 11, 200.0)):
        teacher = torch.randn(5, generator=generator).softmax(0)
        yield what, (scale * torch.randn(30, generator=generator), first, teacher)


def _window_divergence(logits: Tensor, first: int, teacher: Tensor) -> Tensor:
    log_share = logits.log_softmax(0)[first:first + len(teacher)]
    return (teacher * (teacher.log() - log_share)).sum()


EXERCISES = {
    "log_bin_mass": Exercise(_log_mass, _gaussians, (
        (_by_erf,
         "far out erf is 1 to the last digit and the difference is 0: take the tails with erfc, each on its side"),
        (lambda e, t, s: _centre_density(e, t, s).log(),
         "that is the density at the centre: Eq 2 integrates over the bin"),
        (lambda e, t, s: (_centre_density(e, t, s) * e.double().diff()).log(),
         "density times width is an approximation: the integral is a difference of two tails"),
        (lambda e, t, s: _log_mass(e, t, s).exp(), "the logarithm is asked for"),
        (lambda e, t, s: _log_mass(e, t, s) + math.log(2), "erf goes from -1 to 1: halve the difference"),
    )),
    "authors_decode": Exercise(_decoded, _depths, (
        (lambda d, e, s: _decoded(d, e, s, "density", "linear"),
         "that divides by the sum, or takes the softmax of log-densities, which is the same: their code takes the "
         "softmax of the densities themselves"),
        (lambda d, e, s: _decoded(d, e, s, "integral", "softmax"),
         "that is the paper's Eq 2: the code takes the density at the centre of each bin"),
        (_never_cut, "densities below 1e-16 are dropped before the softmax"),
        (lambda d, e, s: _decoded(d, e, s) - float(e[1] - e[0]) / 2,
         "Eq 3 takes the centres of the bins, not their edges"),
        (lambda d, e, s: d, "that is the depth itself: make its map first"),
    )),
    "divergence_gradient": Exercise(_gradient, _students, (
        (lambda x, t, d: x.softmax(0) - t, "KL(S || T) has another gradient than KL(T || S)"),
        (_incomplete, "for KL(S || T), raising one logit lowers all other probabilities: subtract the divergence"),
        (_by_share, "that is the derivative by the probabilities: the softmax is still to come"),
        (lambda x, t, d: -_gradient(x, t, d),
         "the sign is turned around: where a probability is too high, the gradient is positive"),
    )),
    "ripple_sigma": Exercise(_ripple_sigma, _ripples, (
        (lambda w, tol: w / math.pi * math.sqrt(math.log(w / (math.pi * tol))),
         "2π²σ²/w² has a factor 2: it goes under the root"),
        (lambda w, tol: w / math.pi * math.log(w / (math.pi * tol)) / 2,
         "σ stands squared in the exponent: take the root"),
        (lambda w, tol: w / math.pi * math.sqrt(-math.log(tol) / 2),
         "the ripple's height is w/π times the exponential: divide by it first"),
    )),
    "window_divergence": Exercise(_window_divergence, _windows, (
        (lambda x, f, t: (t * (t.log() - x[f:f + len(t)].log_softmax(0))).sum(),
         "the student's softmax runs over all bins, not over the window alone"),
        (lambda x, f, t: (t * (t.log() - x[f:f + len(t)])).sum(),
         "logits are no log-probabilities: subtract their logsumexp over all bins"),
        (lambda x, f, t: -_window_divergence(x, f, t), "the sign is turned around: a divergence is never negative"),
        (lambda x, f, t: -(t * x.log_softmax(0)[f:f + len(t)]).sum(),
         "that is the cross-entropy: the teacher's own entropy is to be taken off"),
        (lambda x, f, t: (t * (t / x.softmax(0)[f:f + len(t)]).log()).sum(),
         "a probability of e^-200 is 0 in float32: stay with logarithms"),
    )),
}
