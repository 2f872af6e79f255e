"""Weights in files: safetensors with a record of what they are, and other people's checkpoints, read safely.

A file written here knows its network (name, scale, options) and how it was trained, so that `build_from(path)`
needs nothing else. Foreign checkpoints are pickles and are only ever read as plain tensors
(``torch.load(weights_only=True)``). Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import json
import os
import pickle
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mdelib.data import weights_file
from mdelib.store import atomic_write

if TYPE_CHECKING:
    from mdelib.models.base import DepthNetwork

__all__ = ["build_from", "find_weights", "load_weights", "read_record", "save_weights", "weights_root"]

RELEASED_NAMES = ("meter_xxs_nyu", "meter_xxs_kitti")
FORMAT = "mdelib-weights-1"
Network = TypeVar("Network", bound=nn.Module)


def weights_root() -> Path:
    """The folder of the pack's trained networks: $MDE_WEIGHTS, or `weights/` beside the library."""
    return Path(os.environ.get("MDE_WEIGHTS") or Path(__file__).resolve().parent.parent / "weights")


def find_weights(weights: str | Path) -> Path:
    """The file behind a path, a name in the weights folder, or the name of released weights.

    Raises:
        FileNotFoundError: there is none; says which names there are, or the command that fetches it.
    """
    if isinstance(weights, str) and weights in RELEASED_NAMES:
        return weights_file(weights)
    path = Path(weights).expanduser()
    if isinstance(weights, str) and path.name == weights and not path.suffix:
        path = weights_root() / f"{weights}.safetensors"
        if not path.is_file():
            names = [*sorted(file.stem for file in weights_root().glob("*.safetensors")), *RELEASED_NAMES]
            near = get_close_matches(weights, names, n=1)
            raise FileNotFoundError(f"there are no weights {weights!r} in {weights_root()}"
                                    f"{f' (did you mean {near[0]}?)' if near else ''}: choose one of "
                                    f"{', '.join(names)}, or give the path of a file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}: check the path, or train the network first")
    return path


def save_weights(network: nn.Module, path: Path | str, *, record: dict[str, Any] | None = None,
                 half: bool = False) -> Path:
    """Write a network's weights with what they are, so that a reader sees the old file or the new, never a part.

    Args:
        network: any module; one from `create_model` can be rebuilt from the file alone.
        path: ends in ``.safetensors``; its folder is made.
        record: how the weights came to be (training settings, data, scores), anything JSON can hold.
        half: store parameters in float16, half the size; statistics of batch norms and of images stay exact.

    Raises:
        ValueError: a weight that is not finite or, with `half`, beyond float16's 65504; a record that is not JSON.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"cannot write weights to {path.name!r}: the name must end in .safetensors")
    parameters = {name for name, _ in network.named_parameters()}
    tensors = {}
    for name, value in network.state_dict().items():
        value = value.detach().cpu()
        if half and name in parameters and value.is_floating_point():
            value = value.half()
        if not torch.isfinite(value).all():
            raise ValueError(f"weight {name!r} holds values that are not finite{' in float16' if half else ''}: the "
                             f"training diverged{', or half=False is needed' if half else ''}; nothing was written")
        tensors[name] = value.contiguous().clone()
    recipe = getattr(network, "recipe", None) or {"name": None, "scale": None, "overrides": {}}
    try:
        text = json.dumps({"format": FORMAT, **recipe, "record": record or {}}, sort_keys=True)
    except TypeError as error:
        raise ValueError(f"the record of {path.name!r} cannot be written as JSON ({error}): use numbers, text, lists "
                         "and dictionaries") from error
    atomic_write(path, save(tensors, metadata={"mdelib": text}))
    return path


def read_record(path: Path | str) -> dict[str, Any]:
    """What a weights file says of itself: name, scale, overrides, record (name None for files of other makers).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    path = find_weights(Path(path))
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("mdelib")
        found = json.loads(text) if text else {}
    except (SafetensorError, ValueError, OSError) as error:
        raise _damaged(path, error) from error
    return {"name": None, "scale": None, "overrides": {}, "record": {}, **found}


def load_weights(network: Network, path: Path | str) -> Network:
    """Put the weights of a file into a network, all of them and nothing else, and return the network.

    Args:
        network: float16 weights are raised to its own precision.
        path: ``.safetensors``, or a PyTorch state dict with any other ending.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or weights are missing, left over or of another shape; nothing is loaded then.
    """
    path = find_weights(Path(path))
    tensors = _read(path)
    wanted = network.state_dict()
    shapes = [f"{name} is {tuple(tensors[name].shape)} and should be {tuple(wanted[name].shape)}"
              for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]
    wrong = [_some("missing", [name for name in wanted if name not in tensors]),
             _some("left over", [name for name in tensors if name not in wanted]), _some("of another shape", shapes)]
    if any(wrong):
        raise ValueError(f"the weights in {path} do not fit this {type(network).__name__}: "
                         f"{'; '.join(filter(None, wrong))}; build the network with the name, scale and options that "
                         "they were trained with")
    network.load_state_dict(tensors)
    return network


def build_from(path: Path | str) -> DepthNetwork:
    """The network that a file of `save_weights` describes, with its weights, in evaluation mode.

    Raises:
        FileNotFoundError, ValueError: as `load_weights`; a file that does not name its network.
    """
    from mdelib.models import create_model  # the networks import this module

    made = read_record(path)
    if made["name"] is None:
        raise ValueError(f"{path} does not say which network it is for: build one with mdelib.models.create_model "
                         "and use load_weights")
    return create_model(made["name"], scale=made["scale"], weights=Path(path))


def _read(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise _damaged(path, error) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict but a {type(state).__name__}: save network.state_dict() alone")
    return state


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
    return ValueError(f"{path} is cut off, damaged or no weights file ({reason}): delete it, then fetch it or train "
                      "the network again")


def _some(what: str, names: list[str]) -> str:
    """The first few of what is wrong, and how many more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what}: {', '.join(names[:3])}{more}" if names else ""
