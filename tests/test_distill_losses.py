"""The divergence of two maps, and the fused one: oracles, closed forms, autograd on the materialised maps, memory."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn
from torch.profiler import ProfilerActivity, profile

from mdelib.complexity import time_in_turns
from mdelib.distill import (
    CUT_OFF,
    DIRECTIONS,
    MASSES,
    NORMALIZATIONS,
    depth_bins,
    depth_probability_map,
    dpm_loss,
    expected_depth,
    fused,
    fused_dpm_loss,
)

SWITCHES = pytest.mark.parametrize(("mass", "normalize", "direction"),
                                   list(itertools.product(MASSES, NORMALIZATIONS, DIRECTIONS)))
BOTH = pytest.mark.parametrize("direction", DIRECTIONS)
KITTI = depth_bins()


def pair(generator, size=(2, 257, 7, 9), dtype=torch.float64, far=82.0):
    """Logits and a teacher's depth, some of it beyond the bins, that float32 can hold exactly."""
    logits = 3 * torch.randn(size, generator=generator)
    depth = 0.2 + far * torch.rand(size[0], 1, *size[2:], generator=generator)
    return logits.to(dtype), depth.to(dtype)


def maps(generator, size=(2, 6, 3, 4), dtype=torch.float64):
    return tuple((2 * torch.randn(size, generator=generator, dtype=torch.float64)).softmax(1).to(dtype) for _ in "ab")


def materialised(logits, depth, edges, sigma, mask=None, *, mass, normalize, direction):
    teacher = depth_probability_map(depth, edges, sigma, mass=mass, normalize=normalize)
    return dpm_loss(logits.softmax(1), teacher, mask, direction=direction)


def with_gradient(loss, logits, *arguments, **options):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, *arguments, **options)
    return value.detach(), torch.autograd.grad(value, logits)[0]


# between two maps

def test_two_bins_by_hand():
    student, teacher = (torch.tensor(values, dtype=torch.float64).view(1, 2, 1, 1)
                        for values in ((0.9, 0.1), (0.5, 0.5)))
    forward = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    backward = 0.5 * math.log(1 / 1.8) + 0.5 * math.log(5)
    assert float(dpm_loss(student, teacher)) == pytest.approx(forward)
    assert float(dpm_loss(student, teacher, direction="teacher_student")) == pytest.approx(backward)


def test_equal_to_scipy_and_to_torch(generator):
    student, teacher = maps(generator)
    for direction, (p, q) in (("student_teacher", (student, teacher)), ("teacher_student", (teacher, student))):
        value = float(dpm_loss(student, teacher, direction=direction))
        assert value == pytest.approx(float(stats.entropy(p.numpy(), q.numpy(), axis=1).mean()))
        assert value == pytest.approx(float(F.kl_div(q.log(), p, reduction="sum")) / (2 * 3 * 4))
        assert value > 0
    assert float(dpm_loss(student, student)) == 0


def test_the_authors_epsilon_hardly_matters(generator):
    """Their code adds 1e-7 inside: P_T log(P_T / (P_S + 1e-7) + 1e-7)."""
    logits, depth = pair(generator)
    student = (logits / 3).softmax(1)
    teacher = depth_probability_map(depth, KITTI, 0.8, mass="density")
    coded = (teacher * (teacher / (student + 1e-7) + 1e-7).log()).sum(1).mean()
    assert float(dpm_loss(student, teacher, direction="teacher_student")) == pytest.approx(float(coded), rel=2e-3)


def test_where_the_teacher_has_nothing_it_counts_as_the_cut_off():
    student, teacher = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.25, 0.25, 0.5), (0.5, 0.5, 0.0)))
    expected = 0.5 * math.log(0.5) + 0.5 * math.log(0.5 / CUT_OFF)
    assert float(dpm_loss(student, teacher)) == pytest.approx(expected, rel=1e-6)


@BOTH
def test_a_student_that_is_certain_stays_finite(direction):
    logits = torch.tensor([0.0, -200.0, -200.0]).view(1, 3, 1, 1).requires_grad_()
    teacher = torch.tensor([0.0, 0.5, 0.5]).view(1, 3, 1, 1)
    value = dpm_loss(logits.softmax(1), teacher, direction=direction)
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()


@BOTH
def test_masked_pixels_have_no_influence_and_no_gradient(generator, direction):
    student, teacher = maps(generator)
    mask = torch.rand(2, 1, 3, 4, generator=generator) > 0.3
    bad = torch.where(mask, student, math.nan).requires_grad_(), torch.where(mask, teacher, 7.0)
    value = dpm_loss(*bad, mask, direction=direction)
    chosen = [part.permute(0, 2, 3, 1)[mask[:, 0]].T[None, :, :, None] for part in (student, teacher)]
    assert float(value.detach()) == pytest.approx(float(dpm_loss(*chosen, direction=direction)))
    value.backward()
    assert not bad[0].grad[~mask.expand_as(student)].any()


@BOTH
def test_gradients_by_logits(generator, direction):
    size = (1, 5, 2, 3)
    logits, teacher = torch.randn(size, generator=generator, dtype=torch.float64), maps(generator, size)[0]
    assert torch.autograd.gradcheck(lambda x: dpm_loss(x.softmax(1), teacher, direction=direction),
                                    logits.clone().requires_grad_())
    _, gradient = with_gradient(lambda x: dpm_loss(x.softmax(1), teacher, direction=direction), logits)
    share = logits.softmax(1)
    apart = share.log() - teacher.log()
    closed = {"student_teacher": share * (apart - (share * apart).sum(1, keepdim=True)),
              "teacher_student": share - teacher}
    assert torch.allclose(gradient, closed[direction] / 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_maps_are_computed_in_float32(generator, dtype):
    student, teacher = maps(generator, dtype=dtype)
    for direction in DIRECTIONS:
        value = dpm_loss(student, teacher, direction=direction)
        assert value.dtype == torch.float32
        assert float(value) == pytest.approx(float(dpm_loss(*maps(torch.Generator().manual_seed(0)),
                                                            direction=direction)), rel=0.02)


@pytest.mark.parametrize(("change", "words"), [
    (lambda s, t: (s, t[..., :-1]), "of one size"), (lambda s, t: (s[:, :-1], t), "of one size"),
    (lambda s, t: (s[0], t[0]), r"\(B, K, H, W\)"), (lambda s, t: (s[:, :1], t[:, :1]), "at least two"),
    (lambda s, t: (s.log(), t), "the student's map sums to"), (lambda s, t: (s, 2 * t), "the teacher's map sums to 2"),
    (lambda s, t: (s, t, torch.ones(2, 1, 3, 4)), "must be bool"),
    (lambda s, t: (s, t, torch.ones(2, 3, 4).bool()), r"\(2, 1, 3, 4\) is needed"),
    (lambda s, t: (s, t, torch.zeros(2, 1, 3, 4).bool()), "no pixel counts in a batch of 2")])
def test_maps_that_do_not_fit(generator, change, words):
    with pytest.raises(ValueError, match=words):
        dpm_loss(*change(*maps(generator)))


def test_unknown_directions_are_named(generator):
    with pytest.raises(ValueError, match="did you mean 'student_teacher'"):
        dpm_loss(*maps(generator), direction="student-teacher")
    with pytest.raises(ValueError, match="unknown direction"):
        fused_dpm_loss(*pair(generator), KITTI, 0.8, direction="both")


# the fused loss

@SWITCHES
@pytest.mark.parametrize("sigma", [0.1, 0.8])
def test_equal_to_the_materialised_maps(generator, mass, normalize, direction, sigma):
    logits, depth = pair(generator)
    options = {"mass": mass, "normalize": normalize, "direction": direction}
    expected, slopes = with_gradient(materialised, logits, depth, KITTI, sigma, **options)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-5)):
        value, gradient = with_gradient(fused_dpm_loss, logits.to(dtype), depth.to(dtype), KITTI, sigma, **options)
        assert value.dtype == gradient.dtype == dtype and value.ndim == 0
        assert float(value) == pytest.approx(float(expected), rel=tolerance)
        assert float((gradient - slopes).abs().max() / slopes.abs().max()) < tolerance
        assert float(fused_dpm_loss(logits.to(dtype), depth.to(dtype), KITTI, sigma, **options)) == float(value)


@SWITCHES
@pytest.mark.parametrize("edges", [depth_bins(2, 0.0, 9.0), depth_bins(5, 1.0, 3.0),
                                   torch.tensor([0.1, 0.5, 0.6, 1.4, 3.0, 3.1, 7.0, 10.0])])
@pytest.mark.parametrize("sigma", [0.9, 30.0])
def test_few_and_uneven_bins(generator, mass, normalize, direction, edges, sigma):
    """Also a window that is as wide as all bins together."""
    options = {"mass": mass, "normalize": normalize, "direction": direction}
    if mass == "density" and sigma == 0.9 and len(edges) == 3:
        sigma = 2.0
    logits, depth = pair(generator, (1, len(edges) - 1, 4, 5), far=12.0)
    expected, slopes = with_gradient(materialised, logits, depth, edges, sigma, **options)
    value, gradient = with_gradient(fused_dpm_loss, logits, depth, edges, sigma, **options)
    assert torch.allclose(value, expected, rtol=1e-10) and torch.allclose(gradient, slopes, atol=1e-12)


@SWITCHES
def test_gradcheck(generator, mass, normalize, direction):
    logits, depth = pair(generator, (1, 12, 2, 2), far=9.0)
    edges = depth_bins(12, 0.0, 10.0)
    mask = torch.tensor([True, True, False, True]).view(1, 1, 2, 2)
    assert torch.autograd.gradcheck(
        lambda x: fused_dpm_loss(x, depth, edges, 0.4, mask, mass=mass, normalize=normalize, direction=direction),
        logits.requires_grad_())


@BOTH
def test_a_student_that_is_right_costs_nothing(generator, direction):
    _, depth = pair(generator)
    for mass, normalize in itertools.product(MASSES, NORMALIZATIONS):
        logits = depth_probability_map(depth, KITTI, 0.8, mass=mass, normalize=normalize).clamp_min(1e-30).log()
        value, gradient = with_gradient(fused_dpm_loss, logits, depth, KITTI, 0.8, mass=mass, normalize=normalize,
                                        direction=direction)
        assert abs(float(value)) < 1e-9 and float(gradient.abs().max()) < 1e-9


@BOTH
def test_holes_have_no_influence_and_no_gradient(generator, direction):
    logits, depth = pair(generator)
    mask = torch.rand(depth.shape, generator=generator) > 0.2
    holes = depth.clone()
    holes[0, 0, 0, :5] = torch.tensor([math.nan, math.inf, 0.0, -3.0, -math.inf])
    counts = mask.clone()
    counts[0, 0, 0, :5] = False
    options = {"mass": "integral", "normalize": "linear", "direction": direction}
    expected, slopes = with_gradient(materialised, logits, depth, KITTI, 0.8, counts, **options)
    wild = torch.where(counts, logits, math.nan)
    value, gradient = with_gradient(fused_dpm_loss, wild, holes, KITTI, 0.8, mask, **options)
    assert torch.allclose(value, expected) and torch.allclose(gradient, slopes, atol=1e-12)
    assert not gradient[~counts.expand_as(gradient)].any()


@BOTH
def test_slabs_are_only_a_matter_of_speed(generator, direction, monkeypatch):
    logits, depth = pair(generator, (2, 257, 13, 9))
    whole = with_gradient(fused_dpm_loss, logits, depth, KITTI, 0.5, direction=direction)
    for slab in (1, 257 * 9 * 2, 257 * 9 * 5):
        monkeypatch.setattr(fused, "_SLAB", slab)
        parts = with_gradient(fused_dpm_loss, logits, depth, KITTI, 0.5, direction=direction)
        assert all(torch.allclose(one, two, rtol=1e-12) for one, two in zip(whole, parts, strict=True))


@BOTH
@pytest.mark.parametrize("arrange", [
    lambda x: x.contiguous(memory_format=torch.channels_last), lambda x: torch.stack([x, -x], 4)[..., 0],
    lambda x: x.transpose(2, 3).contiguous().transpose(2, 3), lambda x: x[:1].expand(2, -1, -1, -1)])
def test_any_memory_layout(generator, direction, arrange):
    logits, depth = pair(generator)
    arranged = arrange(logits)
    expected = with_gradient(fused_dpm_loss, arranged.contiguous(), depth, KITTI, 0.8, direction=direction)
    leaf = arranged.detach().requires_grad_()
    value = fused_dpm_loss(leaf, depth, KITTI, 0.8, direction=direction)
    value.backward()
    assert torch.allclose(value, expected[0]) and torch.allclose(leaf.grad, expected[1], atol=1e-15)


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits(generator, direction, dtype):
    logits, depth = pair(generator, dtype=torch.float32)
    logits = logits.to(dtype)
    expected = with_gradient(fused_dpm_loss, logits.float(), depth, KITTI, 0.8, direction=direction)
    leaf = logits.requires_grad_()
    value = fused_dpm_loss(leaf, depth, KITTI, 0.8, direction=direction)
    assert value.dtype == torch.float32 and torch.allclose(value, expected[0], rtol=1e-6)
    (2.0**16 * value).backward()  # scaled, as in mixed-precision training: nothing is rounded to 0 on the way
    assert leaf.grad.dtype == dtype
    assert torch.allclose(leaf.grad.float() / 2**16, expected[1], rtol=0.02, atol=1e-7)


def test_logits_of_any_size_are_safe(generator):
    logits, depth = pair(generator, dtype=torch.float32)
    for direction in DIRECTIONS:
        plain = with_gradient(fused_dpm_loss, logits, depth, KITTI, 0.8, direction=direction)
        moved = with_gradient(fused_dpm_loss, logits + 4096, depth, KITTI, 0.8, direction=direction)
        assert torch.allclose(plain[0], moved[0], rtol=1e-3) and torch.allclose(plain[1], moved[1], atol=1e-5)
        for factor in (100, 1e6):  # shares of e^-1000 and less, which are 0 in any floating-point number
            value, gradient = with_gradient(fused_dpm_loss, factor * logits, depth, KITTI, 0.8, direction=direction)
            exact = with_gradient(fused_dpm_loss, factor * logits.double(), depth.double(), KITTI, 0.8,
                                  direction=direction)
            assert float(value) == pytest.approx(float(exact[0]), rel=1e-5)
            assert torch.allclose(gradient.double(), exact[1], atol=1e-5 * float(exact[1].abs().max()))


@BOTH
def test_it_behaves_in_a_graph(generator, direction):
    """Scaled, with a layer before it, twice through a kept graph, and without touching what it is given."""
    features, depth = torch.randn(2, 4, 7, 9, generator=generator), pair(generator, dtype=torch.float32)[1]
    layer, options = nn.Conv2d(4, 257, 1), {"mass": "density", "normalize": "softmax", "direction": direction}
    found = []
    for loss in (fused_dpm_loss, materialised):
        logits = layer(features)
        before = logits.detach().clone()
        value = 10 * loss(logits, depth, KITTI, 0.8, **options) + logits.square().mean()
        layer.zero_grad()
        value.backward(retain_graph=True)
        once = layer.weight.grad.clone()
        value.backward()
        assert torch.equal(logits, before) and torch.allclose(layer.weight.grad, 2 * once, rtol=1e-5)
        found.append(once)
    assert torch.allclose(*found, rtol=1e-4, atol=1e-6)


def test_the_first_gradient_is_not_changed_by_the_second(generator):
    logits, depth = pair(generator)
    logits.requires_grad_()
    value = fused_dpm_loss(logits, depth, KITTI, 0.8)
    first, = torch.autograd.grad(value, logits, retain_graph=True)
    kept = first.clone()
    second, = torch.autograd.grad(3 * value, logits)
    assert torch.equal(first, kept) and torch.allclose(second, 3 * kept)


def test_it_can_be_differentiated_once_only(generator):
    logits, depth = pair(generator, (1, 257, 2, 2))
    logits.requires_grad_()
    gradient, = torch.autograd.grad(fused_dpm_loss(logits, depth, KITTI, 0.8), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable|does not require grad"):
        gradient.sum().backward()


def test_without_gradient_none_is_made(generator):
    logits, depth = pair(generator)
    with torch.no_grad():
        assert not fused_dpm_loss(logits.requires_grad_(), depth, KITTI, 0.8).requires_grad
    assert not fused_dpm_loss(logits.detach(), depth.requires_grad_(), KITTI, 0.8).requires_grad


def test_descent_finds_the_teacher(generator):
    """A student of free logits ends at the teacher's decode, which linear maps have at the teacher's depth."""
    depth = 3 + 4 * torch.rand(1, 1, 2, 3, generator=generator)
    edges = depth_bins(40, 0.0, 10.0)
    logits = torch.zeros(1, 40, 2, 3, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(80):
        optimiser.zero_grad()
        fused_dpm_loss(logits, depth, edges, 0.4, normalize="linear", direction="teacher_student").backward()
        optimiser.step()
    assert torch.allclose(expected_depth(logits.detach().softmax(1), edges), depth, atol=0.02)


def peak_bytes(call):
    """The most that is allocated at one time while `call` runs, beyond what there was before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = top = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        top = max(top, live)
    return top


@BOTH
def test_no_more_than_the_logits_and_their_gradient_are_held(generator, direction, monkeypatch):
    logits, depth = pair(generator, (1, 257, 48, 64), torch.float32)
    monkeypatch.setattr(fused, "_SLAB", logits.numel() // 60)  # what a slab is of the paper's 2x257x352x704, and more
    logits.requires_grad_()
    size = logits.numel() * 4
    held = size + peak_bytes(lambda: fused_dpm_loss(logits, depth, KITTI, 0.8, direction=direction).backward())
    assert logits.grad is not None and 2 * size < held < 1.1 * 2 * size
    both = peak_bytes(lambda: materialised(logits, depth, KITTI, 0.8, mass="density", normalize="softmax",
                                           direction=direction))
    assert size + both > 2 * held  # and this is the forward pass alone


@BOTH
def test_faster_than_the_materialised_maps(generator, direction):
    """A guard; benchmarks/dpm_loss.py measures at the paper's size."""
    logits, depth = pair(generator, (1, 257, 48, 64), torch.float32)
    calls = {name: (lambda loss=loss: with_gradient(loss, logits, depth, KITTI, 0.8, mass="density",
                                                    normalize="softmax", direction=direction))
             for name, loss in (("both maps", materialised), ("fused", fused_dpm_loss))}
    seconds = {name: min(times) for name, times in time_in_turns(calls, rounds=2).items()}
    assert seconds["both maps"] > 2 * seconds["fused"], seconds


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@SWITCHES
def test_on_a_gpu(generator, mass, normalize, direction):
    logits, depth = pair(generator, (2, 257, 40, 50), torch.float32)
    options = {"mass": mass, "normalize": normalize, "direction": direction}
    here = with_gradient(fused_dpm_loss, logits, depth, KITTI, 0.8, **options)
    there = with_gradient(fused_dpm_loss, logits.cuda(), depth.cuda(), KITTI, 0.8, **options)
    assert torch.allclose(here[0], there[0].cpu(), rtol=1e-5)
    assert float((here[1] - there[1].cpu()).abs().max() / here[1].abs().max()) < 1e-5


@pytest.mark.parametrize(("changes", "words"), [
    ({"sigma": 0.0}, "must be positive"), ({"sigma": 0.01, "mass": "density"}, "out of reach"),
    ({"edges": depth_bins(49)}, r"\(B, 49, H, W\)"), ({"edges": KITTI.flip(0)}, "must increase"),
    ({"teacher_depth": torch.ones(2, 1, 7, 8)}, "of the same size are needed"),
    ({"teacher_depth": torch.ones(2, 7, 9)}, "of the same size are needed"),
    ({"teacher_depth": torch.ones(2, 1, 7, 9).int()}, "floating-point metres"),
    ({"teacher_depth": torch.zeros(2, 1, 7, 9)}, "no pixel counts"),
    ({"logits": torch.ones(2, 257, 7)}, r"\(2, 257, 7\)"), ({"logits": torch.ones(2, 257, 7, 9).long()}, "int64"),
    ({"mask": torch.ones(2, 1, 7, 9)}, "must be bool"), ({"mask": torch.ones(2, 1, 9, 7).bool()}, "does not fit"),
    ({"mask": torch.zeros(2, 1, 7, 9).bool()}, "no pixel counts in a batch of 2"),
    ({"mass": "gauss"}, "unknown mass"), ({"normalize": "none"}, "unknown normalize")])
def test_what_the_fused_loss_refuses(generator, changes, words):
    logits, depth = pair(generator, dtype=torch.float32)
    arguments = {"logits": logits, "teacher_depth": depth, "edges": KITTI, "sigma": 0.8, **changes}
    with pytest.raises(ValueError, match=words):
        fused_dpm_loss(**arguments)
