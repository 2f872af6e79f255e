"""The networks by name: one call builds any of them, at the published size or narrowed, with or without weights.

    network = mdelib.models.create_model("hu_resnet50")                                # lab scale, untrained
    network = mdelib.models.create_model("meter_xxs", weights="meter_xxs_nyu")         # the authors' weights
    depth = network(image)                                                             # metres, image's size

Explained in notebooks/02_two_networks.ipynb.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mdelib.models.adabins import adabins
from mdelib.models.base import DepthNetwork, count_parameters, wrap
from mdelib.models.bts import bts
from mdelib.models.densedepth import densedepth_mobilenetv2, densedepth_resnet18, densedepth_resnet50
from mdelib.models.depthformer import depthformer
from mdelib.models.dpt import dpt
from mdelib.models.fusanet import fusanet
from mdelib.models.hu import hu_resnet50, hu_senet154
from mdelib.models.meter import RELEASED, meter_s, meter_xs, meter_xxs
from mdelib.models.pixelformer import pixelformer
from mdelib.models.segformer import segformer
from mdelib.models.swindepth import swindepth
from mdelib.models.transdepth import transdepth
from mdelib.models.unet import unet_mobilenetv3
from mdelib.weights import find_weights, load_weights, read_record

__all__ = ["NETWORKS", "SCALES", "DepthNetwork", "count_parameters", "create_model", "list_models", "weights_digest",
           "wrap"]

SCALES = ("lab", "paper")

# One function a network: function(scale, *, options) -> DepthNetwork. A new network is a new line here.
NETWORKS: dict[str, Callable[..., DepthNetwork]] = {
    "hu_resnet50": hu_resnet50,
    "hu_senet154": hu_senet154,
    "bts": bts,
    "segformer": segformer,
    "adabins": adabins,
    "dpt": dpt,
    "transdepth": transdepth,
    "swindepth": swindepth,
    "depthformer": depthformer,
    "pixelformer": pixelformer,
    "fusanet": fusanet,
    "meter_s": meter_s,
    "meter_xs": meter_xs,
    "meter_xxs": meter_xxs,
    "densedepth_mobilenetv2": densedepth_mobilenetv2,
    "densedepth_resnet18": densedepth_resnet18,
    "densedepth_resnet50": densedepth_resnet50,
    "unet_mobilenetv3": unet_mobilenetv3,
}


def list_models() -> list[str]:
    """The names that `create_model` knows."""
    return list(NETWORKS)


def create_model(name: str, *, scale: str = "lab", weights: str | Path | None = None,
                 **overrides: Any) -> DepthNetwork:
    """Build a network.

    Args:
        name: one of `list_models()`.
        scale: ``"paper"`` for the published size, ``"lab"`` for the same architecture narrowed.
        weights: None for an untrained network in training mode. Otherwise a file, the name of one in the
            ``weights`` folder, or released weights (``"meter_xxs_nyu"``, ``"meter_xxs_kitti"``); the options
            that they were made with are taken over, and the network comes in evaluation mode.
        overrides: options of the network, see its function, for example `mdelib.models.hu.hu_resnet50`. Every
            network with an encoder and a decoder also takes ``dgr``, a dictionary of `mdelib.dgr.add_dgr`'s options
            (``{}`` for all as they come), which puts yao2023's refinement behind its encoder.

    Raises:
        ValueError: an unknown name, scale or option; weights of another network or size, or damaged.
        FileNotFoundError: weights that are not there.
    """
    if name not in NETWORKS:
        near = get_close_matches(name, NETWORKS, n=2)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ValueError(f"network {name!r} is unknown{hint}: choose one of {', '.join(NETWORKS)}")
    if scale not in SCALES:
        raise ValueError(f"scale {scale!r} is unknown: a network is built at scale {' or '.join(SCALES)}")
    known = [option for option in inspect.signature(NETWORKS[name]).parameters
             if option != "scale" and not option.startswith("_")]
    unknown = next((option for option in overrides if option not in (*known, "dgr")), None)
    if unknown is not None:
        raise ValueError(f"{name} has no option {unknown!r}: its options are {', '.join(known)} and dgr")
    path = None
    if weights is not None:
        path = find_weights(weights)
        overrides = {**_made_with(name, scale, weights, path), **overrides}
    refinement = overrides.get("dgr")
    network = NETWORKS[name](scale, **{option: value for option, value in overrides.items() if option != "dgr"})
    if refinement is not None:
        network = _refined(network, refinement)
    network.recipe = {"name": name, "scale": scale, "overrides": overrides}
    return network if path is None else load_weights(network, path).eval()


def _refined(network: DepthNetwork, options: dict[str, Any]) -> DepthNetwork:
    """The network with yao2023's refinement; `mdelib.dgr` builds on this package, hence the late import."""
    from mdelib.dgr import add_dgr

    known = [option for option in inspect.signature(add_dgr).parameters if option != "network"]
    unknown = next((option for option in options if option not in known), None)
    if unknown is not None:
        raise ValueError(f"dgr has no option {unknown!r}: its options are {', '.join(known)}")
    return add_dgr(network, **options)


def weights_digest(weights: str | Path) -> str:
    """Sixteen hex digits of a weights file's content; arguments and errors as in `create_model`."""
    return hashlib.sha256(find_weights(weights).read_bytes()).hexdigest()[:16]


def _made_with(name: str, scale: str, weights: str | Path, path: Path) -> dict[str, Any]:
    """The options that belong to a weights file, after checking that it is for this network."""
    if path.suffix != ".safetensors":
        released = RELEASED.get(path.stem, {})
        if released and not path.stem.startswith(f"{name}_"):
            raise ValueError(f"weights {str(weights)!r} are for {path.stem.rpartition('_')[0]}, not for {name}: "
                             "build that network, or choose other weights")
        return dict(released)
    made = read_record(path)
    if made["name"] is not None and (made["name"], made["scale"]) != (name, scale):
        raise ValueError(f"weights {str(weights)!r} are for {made['name']} at scale {made['scale']!r}, not for "
                         f"{name} at scale {scale!r}: build that network, or choose other weights")
    return made["overrides"]
