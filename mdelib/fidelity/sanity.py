"""Sanity check (Adebayo et al. 2018): an explanation of a network must change when the network forgets what it learnt.

Explained in notebooks/14_faithful_explanations.ipynb.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from mdelib.fidelity.agreement import map_agreement

__all__ = ["randomized_networks", "weight_layers", "weight_sanity"]


def weight_layers(model: nn.Module) -> list[str]:
    """Names of the modules that hold weights of their own, in the order in which the network defines them."""
    return [name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))]


def randomized_networks(model: nn.Module, *, stages: int = 4, cascade: bool = True, seed: int = 0
                        ) -> Iterator[tuple[float, nn.Module]]:
    """Copies of a network whose layers forget, from the output towards the input.

    A layer forgets by having the entries of each of its weight tensors put in a random order, so that their
    distribution stays and depth does not explode.

    Args:
        model: stays as it is. stages: copies; the last one of a cascade has no learnt layer left.
        cascade: each copy also has forgotten what the one before had; otherwise its own part of the layers alone.
        seed: of the orders.

    Yields:
        The share of layers that have been reached, and the copy, in evaluation mode.

    Raises:
        ValueError: fewer than one stage, or more than layers.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    names = weight_layers(model)[::-1]
    if not 1 <= stages <= len(names):
        raise ValueError(f"stages={stages}: the network has {len(names)} layers with weights; choose 1 to "
                         f"{len(names)}")
    generator, forgetful = torch.Generator().manual_seed(seed), copy.deepcopy(model).eval()
    done = 0
    for stage in range(1, stages + 1):
        upto = round(stage * len(names) / stages)
        forgetful = forgetful if cascade else copy.deepcopy(model).eval()
        for name in names[done:upto]:
            for weight in forgetful.get_submodule(name).parameters(recurse=False):
                order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
                weight.data = weight.data.flatten()[order].view_as(weight)
        done = upto
        yield upto / len(names), copy.deepcopy(forgetful) if cascade else forgetful


def weight_sanity(model: nn.Module, explanation: Callable[[nn.Module], Tensor], *, stages: int = 4,
                  cascade: bool = True, seed: int = 0) -> tuple[Tensor, Tensor]:
    """How much of an explanation survives while the network forgets layer by layer.

    Args:
        model, stages, cascade, seed: as in `randomized_networks`.
        explanation: network -> maps (B, H, W), for example ``lambda network: saliency(network, image)``.

    Returns:
        (stages,) shares of the layers reached, and (B, stages) Spearman correlations of the magnitudes with those of
        the trained network; near 0 is what a faithful method does. NaN where a map has become constant.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    trained = explanation(model)
    shares, columns = [], []
    for share, network in randomized_networks(model, stages=stages, cascade=cascade, seed=seed):
        shares.append(share)
        columns.append(map_agreement(trained, explanation(network)))
    return torch.tensor(shares, dtype=torch.float64), torch.stack(columns, dim=1)
