"""Fidelity: a network whose relevant pixels are known, SciPy, captum and torchmetrics as oracles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from mdelib.attribution import integrated_gradients, occlusion, position_only, saliency, targets
from mdelib.data.base import DepthBatch
from mdelib.fidelity import (
    KINDS,
    attribution_fidelity,
    correlation,
    cue_scores,
    cue_truth,
    curve_area,
    curve_gap,
    gap_interval,
    infidelity,
    map_agreement,
    perturbation_curve,
    pixel_ranks,
    randomized_networks,
    sensitivity,
    shuffled_labels,
    weight_layers,
    weight_sanity,
)
from mdelib.models import create_model

BLACK = torch.zeros(3)


class Adding(nn.Module):
    """Depth 20 - (how many of the relevant pixels are white), everywhere: with white images all is known."""

    def __init__(self, relevant: Tensor):
        super().__init__()
        self.register_buffer("relevant", relevant.float())
        self.most = 0

    def forward(self, image: Tensor) -> Tensor:
        self.most = max(self.most, len(image))
        left = (self.relevant * image.mean(1, keepdim=True)).sum((2, 3), keepdim=True)
        return (20 - left).expand(-1, 1, *image.shape[-2:])


@pytest.fixture
def relevant(generator: torch.Generator) -> Tensor:
    """Ten of a hundred pixels."""
    places = torch.zeros(100)
    places[torch.randperm(100, generator=generator)[:10]] = 1
    return places.view(10, 10)


# curves


def test_curves_of_a_known_network_are_exact(relevant: Tensor) -> None:
    model, image = Adding(relevant).eval(), torch.ones(2, 3, 10, 10)
    found = saliency(model, image)
    options = {"fractions": (0, 0.05, 0.1, 0.5, 0.95, 1), "fill": BLACK, "target": targets.mean_depth()}
    most = perturbation_curve(model, image, found, **options)
    least = perturbation_curve(model, image, found, order="least", **options)
    gone = torch.tensor([[0, 5, 10, 10, 10, 10.0]]).double().expand(2, 6)
    late = torch.tensor([[0, 0, 0, 0, 5, 10.0]]).double().expand(2, 6)
    for curve, wanted in ((most, gone), (least, late)):
        torch.testing.assert_close(curve.scores["rmse"], wanted)
        torch.testing.assert_close(curve.scores["target"], wanted)
        torch.testing.assert_close(curve.scores["abs_rel"], wanted / 10)
        assert torch.equal(curve.scores["delta1"], ((10 + wanted) / 10 < 1.25).double())
    by_hand = (0.05 * 2.5 + 0.05 * 7.5 + 0.4 * 10 + 0.45 * 10 + 0.05 * 10) - (0.45 * 2.5 + 0.05 * 7.5)
    torch.testing.assert_close(curve_gap(most, least), torch.full((2,), by_hand).double())
    assert curve_gap(most, least, "delta1").min() > 0  # turned: the first order hurts more
    oracle = perturbation_curve(model, image, None, order="oracle", cell=1, **options)
    torch.testing.assert_close(oracle.scores["rmse"], gone)


def test_every_number_of_pixels_is_filled_exactly(relevant: Tensor) -> None:
    """A network that counts black pixels sees round(f N) of them, ties and all."""
    class Black(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return 1 + (image.sum(1, keepdim=True) == 0).sum((2, 3), keepdim=True).expand(-1, 1, 10, 10).float()

    tied = relevant.expand(1, 10, 10)
    for order in ("most", "least", "random"):
        for ties in ("position", "random"):
            curve = perturbation_curve(Black().eval(), torch.ones(1, 3, 10, 10), tied, order=order, ties=ties,
                                       fill=BLACK, fractions=(0, 0.01, 0.125, 0.33, 0.5, 1))
            assert curve.scores["rmse"][0].tolist() == [0, 1, 12, 33, 50, 100]


def test_random_order_hurts_in_proportion(relevant: Tensor) -> None:
    model, image = Adding(relevant).eval(), torch.ones(40, 3, 10, 10)
    curve = perturbation_curve(model, image, None, order="random", fractions=(0.2, 0.5), fill=BLACK)
    assert curve.scores["rmse"].mean(0).tolist() == pytest.approx([2, 5], abs=0.6)
    assert curve.scores["rmse"].std() > 0  # another order for each image
    again = perturbation_curve(model, image, None, order="random", fractions=(0.2, 0.5), fill=BLACK)
    assert torch.equal(curve.scores["rmse"], again.scores["rmse"])


def test_scores_against_the_truth(relevant: Tensor) -> None:
    model, image = Adding(relevant).eval(), torch.ones(1, 3, 10, 10)
    truth, mask = torch.full((1, 1, 10, 10), 12.0), torch.ones(1, 1, 10, 10, dtype=torch.bool)
    truth[..., 5:], mask[..., 5:] = torch.nan, False
    curve = perturbation_curve(model, image, relevant[None], fractions=(0, 0.05, 0.1), fill=BLACK, truth=truth,
                               mask=mask)
    assert curve.scores["rmse_truth"][0].tolist() == [2, 3, 8]
    assert curve.scores["rmse"][0].tolist() == [0, 5, 10]


def test_signed_maps_are_ranked_by_magnitude_unless_told() -> None:
    values = torch.tensor([[[3.0, -5.0], [1.0, 0.0]]])
    assert pixel_ranks(values).tolist() == [[[1, 0], [2, 3]]]
    assert pixel_ranks(values, magnitude=False).tolist() == [[[0, 3], [1, 2]]]
    assert pixel_ranks(values, "least").tolist() == [[[2, 3], [1, 0]]]
    ties = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    assert pixel_ranks(ties).tolist() == [[[0, 1, 2, 3]]] and pixel_ranks(ties, "least").tolist() == [[[3, 0, 1, 2]]]
    assert {tuple(pixel_ranks(ties, ties="random", seed=seed)[0, 0].tolist()) for seed in range(20)} > {(0, 1, 2, 3)}
    blocks = torch.tensor([[[9.0, 0, 1, 1, 5], [0, 0, 1, 1, 5]]])
    assert pixel_ranks(blocks, block=2).tolist() == [[[2, 3, 6, 7, 0], [4, 5, 8, 9, 1]]]
    assert pixel_ranks(blocks, "least", block=2).tolist() == [[[4, 5, 0, 1, 8], [6, 7, 2, 3, 9]]]
    assert sorted(pixel_ranks(torch.rand(1, 5, 5), "random", block=2).flatten().tolist()) == list(range(25))
    assert sorted(pixel_ranks(torch.rand(1, 5, 5), "random").flatten().tolist()) == list(range(25))


def test_what_the_network_sees_at_a_time_is_bounded(relevant: Tensor) -> None:
    image = torch.rand(5, 3, 10, 10)
    results = []
    for batch in (2, 64):
        model = Adding(relevant).eval()
        curve = perturbation_curve(model, image, torch.rand(5, 10, 10, generator=torch.Generator().manual_seed(1)),
                                   fractions=torch.linspace(0, 1, 21).tolist(), batch=batch)
        assert 1 <= model.most <= batch
        results.append(curve.scores["rmse"])
    torch.testing.assert_close(*results)


def test_peak_memory_grows_with_the_batch_not_with_steps_or_images() -> None:
    """The largest feature map, whose size is what the network's memory goes with."""
    network = create_model("meter_xxs").eval()
    sizes: list[int] = []
    network.encoder.conv1.register_forward_hook(lambda _, __, out: sizes.append(out.numel()))

    def most(call: Callable[[], object]) -> int:
        sizes.clear()
        call()
        return max(sizes)

    def curve(images: int, fractions: int, batch: int) -> int:
        return most(lambda: perturbation_curve(network, torch.rand(images, 3, 32, 32), torch.rand(images, 32, 32),
                                               fractions=torch.linspace(0.1, 1, fractions).tolist(), batch=batch))

    def ig(images: int, steps: int, batch: int) -> int:
        return most(lambda: integrated_gradients(network, torch.rand(images, 3, 32, 32), steps=steps, batch=batch))

    assert curve(1, 4, 2) == curve(3, 8, 2) < curve(3, 8, 4)
    assert ig(1, 4, 2) == ig(2, 8, 2) < ig(2, 8, 4)


@pytest.mark.parametrize(("options", "message"), [
    ({"order": "worst"}, "unknown order"), ({"fill": "grey"}, "unknown fill"), ({"ties": "none"}, "unknown ties"),
    ({"fractions": (0.1, 1.5)}, r"in \[0, 1\]"), ({"fractions": (-0.1, 0.5)}, r"in \[0, 1\]"),
    ({"fractions": (0.5, 0.5)}, "larger than the one before"), ({"fractions": ()}, "shares"),
    ({"batch": 0}, "batch=0"),
    ({"fractions": (float("nan"),)}, "shares"), ({"truth": torch.ones(1, 1, 5, 5)}, "do not fit"),
])
def test_curves_refuse(options: dict[str, object], message: str, relevant: Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        perturbation_curve(Adding(relevant).eval(), torch.ones(1, 3, 10, 10), torch.rand(1, 10, 10), **options)


@pytest.mark.parametrize(("attribution", "message"), [
    (torch.zeros(2, 10, 10), "constant map"), (torch.rand(2, 9, 10), "expected \\(2, 10, 10\\)"),
    (torch.rand(2, 1, 10, 10), "one value for every pixel"), (None, "needs an attribution"),
    (torch.rand(2, 10, 10).index_fill(2, torch.tensor([3]), torch.nan), "not finite at 10 of 100"),
    (torch.rand(2, 10, 10).index_fill(0, torch.tensor([1]), 0.5), "image 1 is 0.5 at every pixel"),
])
def test_attributions_that_say_nothing_are_refused(attribution: Tensor | None, message: str, relevant: Tensor) -> None:
    model, image = Adding(relevant).eval(), torch.ones(2, 3, 10, 10)
    with pytest.raises(ValueError, match=message):
        perturbation_curve(model, image, attribution)
    if attribution is not None:
        with pytest.raises(ValueError, match=message):
            attribution_fidelity(attribution, torch.rand(2, 1, 10, 10))
        with pytest.raises(ValueError, match=message):
            infidelity(model, image, attribution)
    with pytest.raises(ValueError, match="eval"):
        perturbation_curve(Adding(relevant), image, torch.rand(2, 10, 10))


def test_areas_and_intervals(relevant: Tensor) -> None:
    model, image = Adding(relevant).eval(), torch.rand(6, 3, 10, 10)
    most, least = (perturbation_curve(model, image, relevant.expand(6, 10, 10), order=order,
                                      fractions=(0, 0.1, 0.5), fill=BLACK) for order in ("most", "least"))
    centre, (low, high) = gap_interval(curve_gap(most, least))
    assert 0 < low < centre < high
    assert gap_interval(curve_gap(most, least), curve_gap(most, least)) == (0.0, (0.0, 0.0))
    wanted = np.trapezoid(most.scores["rmse"], [0, 0.1, 0.5]) / 0.5
    assert curve_area(most).tolist() == pytest.approx(wanted.tolist())
    single = perturbation_curve(model, image, None, order="random", fractions=(0.5,))
    for call, message in ((lambda: curve_area(single), "no area"), (lambda: curve_area(most, "mae"), "unknown score"),
                          (lambda: curve_gap(most, single), "do not fit")):
        with pytest.raises(ValueError, match=message):
            call()


# agreement with depth


def test_agreement_against_scipy_and_skimage(generator: torch.Generator) -> None:
    depth = 1 + torch.rand(3, 1, 20, 24, generator=generator)
    found = depth[:, 0] + 0.5 * torch.randn(3, 20, 24, generator=generator)
    mask = torch.rand(3, 1, 20, 24, generator=generator) < 0.9
    dy, dx = np.gradient(depth[:, 0].double().numpy(), axis=(1, 2))
    steep = np.hypot(dx, dy)[:, 1:-1, 1:-1]
    for i in range(3):
        a, d = found[i].double().numpy(), depth[i, 0].double().numpy()
        inner, where = a[1:-1, 1:-1], mask[i, 0].numpy()
        low, high = a.min(), a.max()
        stretched = (a - low) / (high - low), (d - d.min()) / (d.max() - d.min())
        wanted = {"pearson": pearsonr(a.ravel(), d.ravel())[0], "spearman": spearmanr(a.ravel(), d.ravel())[0],
                  "gradient": pearsonr(inner.ravel(), steep[i].ravel())[0],
                  "gradient_spearman": spearmanr(inner.ravel(), steep[i].ravel())[0],
                  "ssim": structural_similarity(*stretched, data_range=1, gaussian_weights=True, sigma=1.5,
                                                use_sample_covariance=False)}
        for kind in KINDS:
            assert float(attribution_fidelity(found, depth, kind=kind)[i]) == pytest.approx(wanted[kind], abs=1e-5)
        masked = float(attribution_fidelity(found, depth, mask=mask)[i])
        assert masked == pytest.approx(pearsonr(a[where], d[where])[0])


def test_agreement_is_no_faithfulness(generator: torch.Generator) -> None:
    """The depth map itself, and the same map upside down, score 1 and -1 without any look at a network."""
    depth = 1 + torch.rand(2, 1, 16, 16, generator=generator)
    for kind in ("pearson", "spearman", "ssim"):
        torch.testing.assert_close(attribution_fidelity(3 * depth[:, 0] + 7, depth, kind=kind), torch.ones(2).double(),
                                   atol=1e-5, rtol=0)
    torch.testing.assert_close(attribution_fidelity(-depth[:, 0], depth), -torch.ones(2).double())
    floor = torch.linspace(9, 1, 16).view(1, 1, 16, 1).expand(2, 1, 16, 16)
    assert attribution_fidelity(position_only(nn.Identity(), torch.rand(2, 3, 16, 16)), floor).min() > 0.99


def test_ties_share_their_rank() -> None:
    x, y = torch.tensor([1.0, 1, 2, 3]), torch.tensor([4.0, 2, 2, 9])
    assert correlation(x, y, ranks=True) == pytest.approx(spearmanr(x, y)[0])


def test_agreement_refuses(generator: torch.Generator) -> None:
    found, depth = torch.rand(2, 12, 12, generator=generator), torch.rand(2, 1, 12, 12, generator=generator)
    for call, message in ((lambda: attribution_fidelity(found, depth, kind="kendall"), "unknown kind"),
                          (lambda: attribution_fidelity(found, depth[:, 0]), "B, 1, H, W"),
                          (lambda: attribution_fidelity(found, 0 * depth + 2), "constant or not"),
                          (lambda: attribution_fidelity(found, 0 * depth + 2, kind="ssim"), "constant or not"),
                          (lambda: attribution_fidelity(found, depth / 0), "not\nfinite|not finite"),
                          (lambda: attribution_fidelity(found, depth, mask=depth > 2), "0 pixels that count"),
                          (lambda: attribution_fidelity(found, depth, kind="ssim", mask=depth > 0), "has no mask")):
        with pytest.raises(ValueError, match=message):
            call()


# captum's metrics


def test_infidelity_of_a_known_network(relevant: Tensor, generator: torch.Generator) -> None:
    model, image = Adding(relevant).eval(), torch.rand(2, 3, 10, 10, generator=generator)
    contribution = integrated_gradients(model, image, steps=2, baseline="black")
    assert infidelity(model, image, contribution, fill=BLACK).max() < 1e-6  # every removal is predicted
    assert infidelity(model, image, 5 * contribution, fill=BLACK).max() < 1e-6  # in whatever unit
    rubbish = infidelity(model, image, torch.rand(2, 10, 10, generator=generator), fill=BLACK)
    assert ((rubbish > 0.02) & (rubbish <= 1)).all()
    one_image = infidelity(model, image[:1], contribution[:1] + 0.02, fill=BLACK, batch=3)
    torch.testing.assert_close(one_image, infidelity(model, image, contribution + 0.02, fill=BLACK)[:1], rtol=1e-4,
                               atol=1e-6)

    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 3 + 0 * x.mean(1, keepdim=True)

    assert infidelity(Flat().eval(), image, contribution).isnan().all()
    for options in ({"side": 1.5}, {"samples": 1}):
        with pytest.raises(ValueError, match="choose a side"):
            infidelity(model, image, contribution, **options)


def test_sensitivity_of_known_explanations() -> None:
    image = torch.rand(2, 3, 6, 8)
    assert sensitivity(lambda x: position_only(nn.Identity(), x), image).tolist() == [0, 0]
    found = sensitivity(lambda x: x.mean(1), image, radius=0.1, samples=6)
    bound = 0.1 * 48**0.5 / image.mean(1).flatten(1).norm(dim=1)
    assert ((found > 0) & (found < bound)).all()
    assert torch.equal(found, sensitivity(lambda x: x.mean(1), image, radius=0.1, samples=6))
    with pytest.raises(ValueError, match="positive"):
        sensitivity(lambda x: x.mean(1), image, radius=0)


# cues


def test_a_cue_whose_effect_is_known() -> None:
    """Depth rises by 3 x in the left half alone: a cue in the top left moves the depth there alone."""
    class Left(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            depth = 2 + 0 * image.mean(1, keepdim=True)
            depth[..., :4] += 3 * image.mean(1, keepdim=True)[..., :4]
            return depth

    twin = torch.full((1, 3, 8, 8), 0.25)
    image = twin.clone()
    image[..., :2, :2] += 0.5
    image[..., 6:, 6:] += 0.5  # a cue that the network does not see
    truth = cue_truth(Left().eval(), image, twin, cell=2)
    assert float(truth.change) == pytest.approx((4 * 1.5**2 / 64) ** 0.5)
    assert truth.region.sum() == 8
    assert float(truth.target(Left()(image)) - truth.target(Left()(twin))) == pytest.approx(1)
    wanted = torch.zeros(8, 8)
    wanted[:2, :2] = 0.25
    torch.testing.assert_close(truth.effect[0], wanted)
    right = cue_scores(truth.effect, truth)
    assert float(right["effect"]) == pytest.approx(1) and float(right["lift"]) == pytest.approx(8)
    assert float(right["auc"]) == pytest.approx(0.5 + 0.5 * 4 / 8)
    wrong = cue_scores(1 - truth.effect, truth)
    assert float(wrong["auc"]) < 0.5 and float(wrong["effect"]) == pytest.approx(-1)
    found = saliency(Left().eval(), image, truth.target)
    torch.testing.assert_close(found, wanted[None] / 0.25 * found.max())  # the question weighs nothing else
    for bad, message in ((twin, "are equal"), (twin[..., :4], "do not fit")):
        with pytest.raises(ValueError, match=message):
            cue_truth(Left().eval(), image[..., :8] if message == "do not fit" else twin, bad)
    unseen = twin.clone()
    unseen[..., 6:, 6:] = 1
    with pytest.raises(ValueError, match="nothing to explain"):
        cue_truth(Left().eval(), unseen, twin)


# forgetting


def test_forgetting_goes_from_the_output_to_the_input() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert weight_layers(model) == ["0", "1", "3"]
    shares, copies = zip(*randomized_networks(model, stages=3), strict=True)
    assert shares == pytest.approx((1 / 3, 2 / 3, 1))
    changed = [{name.split(".")[0] for name, value in one.state_dict().items() if not torch.equal(value, before[name])}
               for one in copies]
    assert changed[0] == {"3"} and changed[2] >= {"0", "3"} and "0" not in changed[1]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for one in copies:
        assert torch.equal(one[0].weight.flatten().sort().values, before["0.weight"].flatten().sort().values)
    (_, first), (_, second) = randomized_networks(model, stages=2, cascade=False)
    assert torch.equal(second[3].weight, before["3.weight"]) and not torch.equal(first[3].weight, before["3.weight"])
    with pytest.raises(ValueError, match="3 layers"):
        list(randomized_networks(model, stages=4))


def test_sanity_of_a_method_that_looks_and_of_one_that_does_not() -> None:
    model, image = create_model("unet_mobilenetv3").eval(), torch.rand(2, 3, 32, 48)
    shares, blind = weight_sanity(model, lambda network: position_only(network, image), stages=2)
    assert blind.shape == (2, 2) and blind.min() > 0.999 and shares[-1] == 1
    _, looking = weight_sanity(model, lambda network: saliency(network, image), stages=2)
    assert looking[:, -1].abs().max() < 0.5
    _, constant = weight_sanity(model, lambda network: torch.ones(2, 4, 4), stages=1)
    assert constant.isnan().all()


def views_of(count: int) -> DepthBatch:
    """Views whose depth is their number."""
    number = torch.arange(1.0, count + 1)[:, None, None, None].expand(-1, 1, 4, 6)
    return DepthBatch(tuple(map(str, range(count))), torch.rand(count, 3, 4, 6), number, number % 2 == 0)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_shuffled_labels_are_all_there_and_none_at_home(count: int) -> None:
    views = views_of(count)
    shuffled = shuffled_labels(views, seed=1)
    numbers = shuffled.depth[:, 0, 0, 0]
    assert sorted(numbers.tolist()) == list(range(1, count + 1)) and (numbers != views.depth[:, 0, 0, 0]).all()
    assert torch.equal(shuffled.mask, shuffled.depth % 2 == 0)  # a mask goes with its depth
    assert shuffled.image is views.image and shuffled.names == views.names
    assert torch.equal(shuffled.depth, shuffled_labels(views, seed=1).depth)
    if count > 3:
        assert not torch.equal(shuffled.depth, shuffled_labels(views, seed=2).depth)


def test_one_view_cannot_be_shuffled() -> None:
    with pytest.raises(ValueError, match="1 view"):
        shuffled_labels(views_of(1))


def test_agreement_of_maps(generator: torch.Generator) -> None:
    one, other = torch.randn(2, 3, 6, 8, generator=generator).unbind()
    wanted = [spearmanr(a.abs().flatten(), b.abs().flatten()).statistic for a, b in zip(one, other, strict=True)]
    assert map_agreement(one, other).tolist() == pytest.approx(wanted)
    assert map_agreement(one, -3 * one).tolist() == pytest.approx([1] * 3)  # magnitudes, and no unit
    assert map_agreement(one, torch.ones_like(one)).isnan().all()
    with pytest.raises(ValueError, match="of one shape"):
        map_agreement(one, other[:, :2])
    with pytest.raises(ValueError, match="finite"):
        map_agreement(one, other / 0)


def test_occlusion_is_the_oracle_of_the_target(relevant: Tensor) -> None:
    model, image = Adding(relevant).eval(), torch.ones(1, 3, 10, 10)
    found = occlusion(model, image, cell=1, fill=BLACK)
    torch.testing.assert_close(found, -relevant[None])
