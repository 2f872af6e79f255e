"""What each of yao2023's six hosts must do, alone and with DGR: learn, train in half precision, ignore its batch."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mdelib.dgr import add_dgr
from mdelib.models import create_model
from mdelib.models.base import DepthNetwork

HOSTS = {
    "adabins": partial(create_model, "adabins"),
    "depthformer": partial(create_model, "depthformer"),
    "dpt": partial(create_model, "dpt"),
    "dpt-inverse": partial(create_model, "dpt", output="inverse"),
    "pixelformer": partial(create_model, "pixelformer"),
    "swindepth": partial(create_model, "swindepth"),
    "transdepth": partial(create_model, "transdepth"),
}
DPT = ("dpt", "dpt-inverse")  # the blocks of its ResNet start as identities: what is inside waits for a step

hosts = pytest.mark.parametrize("name", sorted(HOSTS))


def smooth_scenes(count: int = 4, size: tuple[int, int] = (64, 96)) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) without an edge, and depths (B, 1, H, W) from 1 to 9 m that follow their first colour."""
    coarse = torch.rand(count, 3, 4, 6)
    image = F.interpolate(coarse, size, mode="bilinear", align_corners=True)
    return image, 1 + 8 * image[:, :1]


def log_error(network: DepthNetwork, image: Tensor, depth: Tensor) -> Tensor:
    return (network(image).log() - depth.log()).abs().mean()


@hosts
def test_overfits_four_scenes(name: str) -> None:
    network, (image, depth) = HOSTS[name]().train(), smooth_scenes()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3 if name in (*DPT, "depthformer") else 2e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = log_error(network, image, depth)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    spread = (network(image).log() - depth.log()).square().mean().sqrt() / depth.log().std()
    assert losses[-1] < (0.5 if name in DPT else 0.3) * losses[0]
    assert spread < (0.9 if name in DPT else 0.5)  # 1 is what the best constant depth leaves


@hosts
def test_gradient_reaches_every_parameter(name: str) -> None:
    network, (image, depth) = HOSTS[name]().train(), smooth_scenes(2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(2 if name in DPT else 1):
        if step:
            optimizer.step()
        optimizer.zero_grad()
        log_error(network, image, depth).backward()
    assert [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@hosts
def test_a_training_step_in_half_precision(name: str) -> None:
    network, (image, depth) = HOSTS[name]().train(), smooth_scenes()
    with torch.no_grad():
        full = network(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predicted = network(image)
    assert predicted.dtype == torch.float32
    assert predicted.min() > 0
    torch.testing.assert_close(predicted, full, rtol=0.05, atol=0.05)
    (predicted.log() - depth.log()).abs().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@hosts
def test_evaluation_is_independent_of_the_batch(name: str) -> None:
    network, images = HOSTS[name]().eval(), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(images[1:2]), network(images)[1:2], rtol=1e-4, atol=1e-5)


@hosts
def test_dgr_changes_nothing_at_first_and_learns_from_the_second_step(name: str) -> None:
    network, (image, depth) = HOSTS[name]().eval(), smooth_scenes()
    with torch.no_grad():
        before = network(image)
        features = network.encode(network.normalize(image))
        refined = add_dgr(network, rank=4)
        torch.testing.assert_close(refined(image), before, rtol=0, atol=1e-6)
    assert [module.channels for module in refined.dgr.values()] == [x.shape[1] for x in features if x.ndim == 4]
    optimizer = torch.optim.SGD(refined.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        log_error(refined, image, depth).backward()
        optimizer.step()
    assert [key for key, p in refined.dgr.named_parameters() if not p.grad.abs().sum() > 0] == []
