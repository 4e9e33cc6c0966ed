"""Training a part of a pre-trained encoder: its last layers, or low-rank additions to all of them."""

import copy
from typing import Any

from torch import Tensor, nn

from ecgclip.errors import UserError


def tune_last(encoder: nn.Module, layers: int) -> None:
    """Let the last layers of an encoder train, with the norm after them, and nothing else of it.

    Args:
        encoder: Of transformers.
        layers: How many; 0 for none, which leaves what comes after the encoder.

    Raises:
        UserError: When it has fewer layers, or its layers cannot be told.
    """
    depth = int(encoder.config.num_hidden_layers)  # type: ignore[union-attr,arg-type]
    if not 0 <= layers <= depth:
        raise UserError(f"text tower: tune_layers {layers} is not one of 0 to {depth}, the layers of this model")
    stacks = [(name, module) for name, module in encoder.named_modules() if isinstance(module, nn.ModuleList) and len(module) == depth]
    if not stacks:
        raise UserError("text tower: tune_layers does not know the layers of this kind of model: set lora_rank, or leave both out")
    encoder.requires_grad_(False)
    if layers == 0:
        return
    name, stack = stacks[0]
    for module in list(stack)[depth - layers :]:
        module.requires_grad_(True)
    # What stands beside the stack and is no embedding: the norm that the last layer's output goes through.
    around = encoder.get_submodule(name.rpartition(".")[0])
    for module in around.children():
        if module is not stack and "norm" in type(module).__name__.lower():
            module.requires_grad_(True)


def add_lora(encoder: nn.Module, rank: int) -> nn.Module:
    """Add trainable low-rank matrices to all linear layers and freeze the rest: ``W x + 2 B A x`` (LoRA, arXiv 2106.09685, section 4.1).

    The factor is ``alpha / rank`` with ``alpha = 2 rank``, whatever the rank. ``B`` starts at zero, so that training starts from the
    pre-trained model.

    Raises:
        UserError: When the package peft is missing.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise UserError(f"text tower: lora_rank needs the package peft ({error}): pip install 'ecgclip[lora]'") from error
    wrapped: nn.Module = get_peft_model(encoder, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
    return wrapped


def merged_state(encoder: Any) -> dict[str, Tensor]:
    """Return the weights of the encoder that :func:`add_lora` was given, with the additions added in."""
    state: dict[str, Tensor] = copy.deepcopy(encoder).merge_and_unload().state_dict()
    return state
