"""Depth-estimation models of Hugging Face: small random ones, built offline from their configurations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mdelib.attribution import attention_rollout, integrated_gradients, saliency, targets
from mdelib.attribution.attention import attention_layers
from mdelib.models.huggingface import wrap_huggingface

transformers = pytest.importorskip("transformers", reason="the optional extra huggingface is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def small(kind: str, **changes: object) -> nn.Module:
    sizes = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2}
    if kind == "dpt":
        config = transformers.DPTConfig(**sizes, intermediate_size=48, image_size=64, patch_size=16,
                                        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8],
                                        fusion_hidden_size=8, reassemble_factors=[4, 2, 1, 0.5], **changes)
        return transformers.DPTForDepthEstimation(config).eval()
    stages = [f"stage{number}" for number in range(1, 5)]
    backbone = transformers.Dinov2Config(**sizes, mlp_ratio=2, image_size=56, patch_size=14, out_features=stages,
                                         reshape_hidden_states=False, apply_layernorm=True)
    config = transformers.DepthAnythingConfig(backbone_config=backbone, reassemble_hidden_size=24, patch_size=14,
                                              neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, head_hidden_size=8,
                                              **changes)
    return transformers.DepthAnythingForDepthEstimation(config).eval()


@pytest.mark.parametrize("kind", ["dpt", "depth_anything"])
def test_everything_works_on_them(kind: str, generator: torch.Generator) -> None:
    model = wrap_huggingface(small(kind))
    image = torch.rand(1, 3, 40, 60, generator=generator)
    depth = model(image)
    assert depth.shape == (1, 1, 40, 60) and torch.isfinite(depth).all() and not model.training
    assert len(attention_layers(model)) == 4
    shown = attention_rollout(model, image, targets.pixel(5, 5))
    assert shown.shape == (1, 40, 60) and shown.min() >= 0 and float(shown.sum()) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(model(image), depth)  # eager attention was only borrowed
    for method in (saliency, integrated_gradients):
        assert torch.isfinite(method(model, image)).all()


def test_metric_and_relative_depth(generator: torch.Generator) -> None:
    image = torch.rand(1, 3, 56, 56, generator=generator)
    metric = small("depth_anything", depth_estimation_type="metric", max_depth=10)
    wrapped = wrap_huggingface(metric, normalize=((0.0,) * 3, (1.0,) * 3))
    with torch.no_grad():
        torch.testing.assert_close(wrapped(image)[:, 0], metric(pixel_values=image).predicted_depth)
    assert wrap_huggingface(small("depth_anything")).kind == "inverse" and wrapped.kind == "depth"


def test_refusals() -> None:
    with pytest.raises(ValueError, match="no depth-estimation model"):
        wrap_huggingface(nn.Conv2d(3, 1, 1))
    with pytest.raises(ValueError, match="multiples of 16"):
        wrap_huggingface(small("dpt"), size=(50, 64))
