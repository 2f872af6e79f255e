"""What attends to what inside a network: every encoder layer's attention of one forward pass, in order.

Fused attention never forms its weights. `recorded_attention` switches it off inside a ``with`` block and on again
afterwards, also after an exception, and reads the weights where each kind of layer has them.
Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from segmentation_models_pytorch.encoders.mix_transformer import Attention as ReducedAttention
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from mdelib.attribution.tokens import Grid, TokenAttention, patch_tokens, token_grid, window_tokens
from mdelib.models.meter import MobileViTBlock
from mdelib.models.pixelformer import CrossWindowAttention
from mdelib.models.swin import SwinBlock

__all__ = ["attention_layers", "recorded_attention", "unfused_attention"]

Keep = Callable[[str, TokenAttention], None]


def attention_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers among whose tokens rollout can go, by name; those of ``encoder`` alone if it has any.

    Known are Swin's blocks (of this library and of timm), METER's blocks, MiT's reduced attention, every layer that
    drops its weights through an ``attn_drop`` as timm's do, `torch.nn.MultiheadAttention`, and the
    self-attention of Hugging Face's Transformers.
    """
    found: dict[str, nn.Module] = {}
    inside: list[str] = []
    for name, module in model.named_modules():
        if any(name.startswith(f"{outer}.") for outer in inside):
            continue  # a block's own attention is the block's affair
        if _attach_for(module) is not None:
            found[name] = module
            inside.append(name)
    encoders = {name: module for name, module in found.items() if "encoder" in name.split(".")[:-1]}
    return encoders or found


@contextmanager
def unfused_attention(model: nn.Module) -> Iterator[None]:
    """Attention that forms its weights, inside the block; afterwards everything is as it was, whatever happened.

    Explained in notebooks/13_attribution.ipynb.
    """
    switched = [module for module in model.modules() if getattr(module, "fused_attn", False)]
    configs = {id(module.config): module.config for module in model.modules()
               if hasattr(getattr(module, "config", None), "_attn_implementation")}
    before = [(config, config._attn_implementation) for config in configs.values()]
    try:
        for module in switched:
            module.fused_attn = False
        for config, _ in before:
            config._attn_implementation = "eager"
        yield
    finally:
        for module in switched:
            module.fused_attn = True
        for config, implementation in before:
            config._attn_implementation = implementation


@contextmanager
def recorded_attention(model: nn.Module, size: Grid) -> Iterator[list[tuple[str, TokenAttention]]]:
    """Fill a list with (name, attention) of every layer of `attention_layers` during the forward passes inside.

    Args:
        size: (height, width) of the image that the network itself works at, which says how tokens are laid out.

    Explained in notebooks/13_attribution.ipynb.
    """
    kept: list[tuple[str, TokenAttention]] = []
    modules = dict(model.named_modules())
    with ExitStack() as stack:
        stack.enter_context(unfused_attention(model))
        for name, layer in attention_layers(model).items():
            around = [modules[".".join(name.split(".")[:end])] for end in range(name.count(".") + 1)]
            prefix = next((m.num_prefix_tokens for m in around[::-1] if hasattr(m, "num_prefix_tokens")), None)
            attach = _attach_for(layer)
            for hook in attach(layer, lambda one, name=name: kept.append((name, one)), size, prefix):
                stack.callback(hook.remove)
        yield kept


def _attach_for(module: nn.Module) -> Callable[..., list[Any]] | None:
    """How to read the attention of a layer of this kind: (layer, keep, size, prefix) -> hooks."""
    if isinstance(module, CrossWindowAttention):
        return None  # its queries and its keys are tokens of different maps
    for kind, attach in ((SwinTransformerBlock, _swin), (MobileViTBlock, _meter), (ReducedAttention, _reduced),
                         (nn.MultiheadAttention, _torch)):
        if isinstance(module, kind):
            return attach
    if type(module).__module__.startswith("transformers.") and type(module).__name__.endswith("Attention"):
        inner = any(type(one).__name__.endswith("Attention") for one in module.modules() if one is not module)
        return None if inner else _transformers  # some versions wrap the layer that attends in another one
    return _plain if isinstance(getattr(module, "attn_drop", None), nn.Module) else None


def _swin(block: SwinTransformerBlock, keep: Keep, size: Grid, prefix: int | None) -> list[Any]:
    grids: list[Grid] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        grids[:] = [(inputs[0].shape[1], inputs[0].shape[2])]

    def read(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        tokens = window_tokens(grids[0], tuple(block.window_size), tuple(block.shift_size),
                               roll_first=not isinstance(block, SwinBlock)).to(inputs[0].device)
        weights = _over_heads(inputs[0]).unflatten(0, (-1, len(tokens)))  # (B, n, t, t)
        keep(TokenAttention(weights, tokens, tokens, grids[0]))

    return [block.register_forward_pre_hook(note), block.attn.attn_drop.register_forward_pre_hook(read)]


def _meter(block: MobileViTBlock, keep: Keep, size: Grid, prefix: int | None) -> list[Any]:
    grids: list[Grid] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        grids[:] = [tuple(inputs[0].shape[-2:])]

    def read(_: nn.Module, __: Any, output: Tensor) -> None:
        tokens = patch_tokens(grids[0]).to(output.device)
        keep(TokenAttention(output.detach().mean(2), tokens, tokens, grids[0]))  # (B, 4, heads, T, T) -> (B, 4, T, T)

    softmaxes = [module for module in block.transformer.modules() if isinstance(module, nn.Softmax)]
    return [block.register_forward_pre_hook(note), *(one.register_forward_hook(read) for one in softmaxes)]


def _reduced(layer: ReducedAttention, keep: Keep, size: Grid, prefix: int | None) -> list[Any]:
    grids: list[Grid] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        grids[:] = [(int(inputs[1]), int(inputs[2]))]

    def read(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        weights = _over_heads(inputs[0])[:, None]
        asking, seen = (torch.arange(side, device=weights.device)[None] for side in weights.shape[-2:])
        keep(TokenAttention(weights, asking, seen, grids[0], cell=layer.sr_ratio))

    return [layer.register_forward_pre_hook(note), layer.attn_drop.register_forward_pre_hook(read)]


def _plain(layer: nn.Module, keep: Keep, size: Grid, prefix: int | None) -> list[Any]:
    def read(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        keep(_global(inputs[0], size, prefix))

    return [layer.attn_drop.register_forward_pre_hook(read)]


def _torch(layer: nn.MultiheadAttention, keep: Keep, size: Grid, prefix: int | None) -> list[Any]:
    def ask(_: nn.Module, inputs: tuple[Any, ...], words: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return inputs, {**words, "need_weights": True, "average_attn_weights": False}

    def read(_: nn.Module, __: Any, output: tuple[Tensor, Tensor]) -> None:
        keep(_global(output[1], size, prefix))

    return [layer.register_forward_pre_hook(ask, with_kwargs=True), layer.register_forward_hook(read)]


def _transformers(layer: nn.Module, keep: Keep, size: Grid, prefix: int | None) -> list[Any]:
    def read(_: nn.Module, __: Any, output: Any) -> None:
        if not isinstance(output, tuple) or not isinstance(output[1], Tensor) or output[1].ndim != 4:
            raise ValueError(f"{type(layer).__name__} did not return its attention: this version of transformers is "
                             "not known to attention rollout; use another method")
        keep(_global(output[1], size, prefix))

    return [layer.register_forward_hook(read)]


def _global(attention: Tensor, size: Grid, prefix: int | None) -> TokenAttention:
    """Attention of all tokens to all, (B, heads, T, T)."""
    if attention.ndim != 4 or attention.shape[-1] != attention.shape[-2]:
        raise ValueError(f"a layer's attention has shape {tuple(attention.shape)}: attention rollout needs that of "
                         "all tokens among themselves, (B, heads, T, T); others have no known place")
    weights = _over_heads(attention)[:, None]
    grid, before = token_grid(weights.shape[-1], size, prefix)
    tokens = torch.arange(weights.shape[-1], device=weights.device)[None]
    return TokenAttention(weights, tokens, tokens, grid, before)


def _over_heads(attention: Tensor) -> Tensor:
    """Mean over heads in float32 or finer, (B, heads, q, k) -> (B, q, k)."""
    attention = attention.detach()
    return attention.to(torch.promote_types(attention.dtype, torch.float32)).mean(1)
