"""Scoring under protocols and streaming over data: the same numbers however the work is divided."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mdelib.data.base import DataInfo, DepthData, View
from mdelib.edges import region_errors
from mdelib.evaluation import evaluate, pooled, predict, resize_prediction, score, score_images
from mdelib.metrics import METRICS, depth_metrics
from mdelib.protocols import PROTOCOLS

PLAIN = PROTOCOLS["plain"]


class Brightness(nn.Module):
    """Depth from brightness and column, so that mirroring matters; batch norm, so that the mode matters."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image):
        self.seen.append(tuple(image.shape))
        ramp = torch.linspace(0, 1, image.shape[-1], device=image.device)
        return 2 + self.norm(image.mean(1, keepdim=True)) + ramp


def data(sizes=((20, 24),) * 5, **changes):
    def read(name):
        i = int(name)
        generator = torch.Generator().manual_seed(i)
        h, w = sizes[i]
        depth = torch.rand(1, h, w, generator=generator) * 4 + 1
        depth[:, :2, : i + 1] = 0
        view = View(name, torch.rand(3, h, w, generator=generator), depth, depth > 0)
        return replace(view, **changes)

    return DepthData(DataInfo("toy", "Toy", 1e-3, 10.0), "test", [str(i) for i in range(len(sizes))], read, "1")


def by_hand(model, views, protocol, size):
    """(prediction, depth, mask) of all views of one size, without the library's streaming."""
    model.eval()
    batch = views.tensors()
    with torch.no_grad():
        small = F.interpolate(batch.image, size=size, mode="bilinear", antialias=True).clamp(0, 1)
        depth = F.interpolate(model(small), size=batch.depth.shape[-2:], mode="bilinear", align_corners=False)
    return depth, batch.depth, batch.mask


@pytest.mark.parametrize("pooling", ["image", "pixel", "hu"])
@pytest.mark.parametrize("batch", [1, 2, 16])
def test_streaming_equals_one_call_on_everything(pooling, batch):
    model, views, protocol = Brightness(), data(), replace(PLAIN, pooling=pooling)
    names, per_image = evaluate(model, views, protocol, size=(10, 12), batch=batch)
    expected = depth_metrics(*by_hand(model, views, protocol, (10, 12)), pooling=pooling)
    assert names == views.names and all(values.shape == (5,) for values in per_image.values())
    assert pooled(per_image, protocol) == pytest.approx(expected, rel=1e-5)
    assert list(pooled(per_image, protocol)) == list(METRICS)


def test_views_of_different_sizes():
    sizes = ((20, 24), (20, 24), (31, 17), (20, 24))
    model, views = Brightness().eval(), data(sizes)
    for size, shapes in (((8, 8), [(2, 3, 8, 8), (2, 3, 8, 8)]),
                         (None, [(2, 3, 20, 24), (1, 3, 31, 17), (1, 3, 20, 24)])):
        model.seen.clear()
        _, per_image = evaluate(model, views, "plain", size=size, batch=2)
        assert model.seen == shapes
        for i in range(4):
            _, alone = evaluate(model, views.subset([i]), "plain", size=size)
            assert float(per_image["rmse"][i]) == pytest.approx(float(alone["rmse"]), rel=1e-6)


def test_flip_averages_with_the_mirrored_prediction():
    model, image = Brightness().eval(), torch.rand(3, 3, 6, 8)
    straight, both = predict(model, image), predict(model, image, flip=True)
    mirrored = predict(model, image.flip(-1)).flip(-1)
    assert torch.allclose(both, (straight + mirrored) / 2) and not torch.allclose(both, straight)
    assert torch.allclose(predict(model, image.flip(-1), flip=True), both.flip(-1), atol=1e-6)
    _, with_flip = evaluate(model, data(), replace(PLAIN, flip=True))
    _, without = evaluate(model, data(), PLAIN)
    assert not torch.allclose(with_flip["rmse"], without["rmse"])


def test_predict_leaves_the_model_as_it_was():
    model = Brightness().train()
    model.norm.eval()  # somebody froze it
    before = {key: value.clone() for key, value in model.state_dict().items()}
    depth = predict(model, torch.rand(5, 3, 6, 8), batch=2)
    assert depth.shape == (5, 1, 6, 8) and not depth.requires_grad
    assert [shape[0] for shape in model.seen] == [2, 2, 1]
    assert model.training and not model.norm.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

    class Broken(Brightness):
        def forward(self, image):
            raise RuntimeError("no")

    broken = Broken().train()
    with pytest.raises(RuntimeError, match="no"):
        predict(broken, torch.rand(1, 3, 4, 4))
    assert broken.training and broken.norm.training


def test_batches_do_not_change_a_prediction():
    model, image = Brightness(), torch.rand(5, 3, 6, 8)
    assert torch.allclose(predict(model, image, batch=2), predict(model, image), atol=1e-6)


def test_smaller_outputs_come_back_at_the_images_resolution():
    image = torch.rand(2, 3, 8, 12)
    depth = predict(lambda x: F.avg_pool2d(x.mean(1, keepdim=True), 4).half(), image)
    assert depth.shape == (2, 1, 8, 12) and depth.dtype == torch.float32


def test_score_brings_everything_to_the_protocols_resolution():
    target = torch.rand(2, 1, 96, 128) * 5 + 1
    pred = target + 1
    small = F.interpolate(target, size=(48, 64), mode="nearest-exact")
    coarse = F.interpolate(pred, size=(48, 64), mode="bilinear", align_corners=False)
    expected = depth_metrics(coarse, small, clamp=False)
    assert score(pred, target, target > 0, "meter_nyu") == expected
    assert score(coarse, target, None, "meter_nyu") == expected
    each = score_images(pred, target, None, "meter_nyu")
    assert float(each["rmse"].mean()) == expected["rmse"] and each["rmse"].shape == (2,)


def test_score_resizes_predictions_to_the_truth():
    target = torch.full((1, 1, 12, 16), 2.0)
    assert score(torch.full((1, 1, 3, 4), 3.0), target, None, "plain")["abs_rel"] == pytest.approx(0.5)
    assert resize_prediction(target, (12, 16)) is target


def test_score_follows_the_protocol(generator):
    target = torch.rand(3, 1, 48, 64, generator=generator) * 9 + 0.5
    pred = target * (1 + 0.3 * torch.randn(target.shape, generator=generator))
    for name in ("bts_nyu", "eigen2014_nyu", "affine_nyu", "selfsup_kitti", "eigen_kitti"):
        p = PROTOCOLS[name]
        assert score(pred, target, None, name) == depth_metrics(
            pred, target, min_depth=p.min_depth, max_depth=p.max_depth, crop=p.crop, pooling=p.pooling,
            align=p.align)
    hu = score(pred, target, None, replace(PROTOCOLS["hu2019_nyu"], resolution=None))
    assert hu == depth_metrics(pred, target, crop="hu_centre", pooling="hu", delta="<=", clamp=False)


def test_further_measures():
    protocol = replace(PLAIN, min_depth=2.0)
    calls = []

    def extra(pred, target, mask):
        calls.append((pred.shape, mask.dtype, bool((target[mask] > 2.0).all())))
        return {"counted": mask.sum().double()[None],
                "sometimes": torch.tensor([math.nan if len(calls) == 1 else 3.0])}

    _, per_image = evaluate(Brightness(), data(), protocol, size=(10, 12), extra=extra)
    assert calls == [((1, 1, 20, 24), torch.bool, True)] * 5
    assert list(per_image) == [*METRICS, "counted", "sometimes"] and per_image["counted"].shape == (5,)
    assert pooled(per_image, protocol)["sometimes"] == 3.0
    _, edges = evaluate(Brightness(), data(), protocol, extra=region_errors)
    assert "edge_sharpness" in pooled(edges, protocol)


def test_pixel_pooling_needs_values_measured_for_it():
    _, per_image = evaluate(Brightness(), data(), PLAIN)
    with pytest.raises(ValueError, match="needs 'pixels' and 'log_bias'"):
        pooled(per_image, replace(PLAIN, pooling="pixel"))


def test_errors_name_the_view():
    with pytest.raises(ValueError, match="view '0' of 'toy' has no depth map to score against"):
        evaluate(Brightness(), data(depth=None, mask=None), PLAIN)
    with pytest.raises(ValueError, match="no valid pixel in image '0'"):
        evaluate(Brightness(), data(mask=torch.zeros(1, 20, 24, dtype=torch.bool)), PLAIN)
    with pytest.raises(ValueError, match="prediction of image '0' is not finite"):
        evaluate(lambda x: x[:, :1] * math.nan, data(), PLAIN)
    with pytest.raises(ValueError, match="unknown protocol 'nyu'"):
        evaluate(Brightness(), data(), "nyu")


def test_bad_input():
    image = torch.rand(1, 3, 4, 4)
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) is needed"):
        predict(Brightness(), image[0])
    with pytest.raises(ValueError, match="batch is 0"):
        predict(Brightness(), image, batch=0)
    with pytest.raises(ValueError, match=r"the model gave \(1, 3, 4, 4\) for images"):
        predict(lambda x: x, image)
    with pytest.raises(ValueError, match="the model gave list"):
        predict(lambda x: [x], image)
