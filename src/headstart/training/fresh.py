"""New weights for the last blocks (Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning").

What the last blocks learned serves the pre-training task; with few labels they can be a worse
beginning than new weights, as that paper found for BERT and its pooler on small GLUE tasks.
"""

from __future__ import annotations

import torch
from torch import nn

from headstart.data.batches import derive_seed
from headstart.errors import RecipeError
from headstart.models.backbone import draw
from headstart.models.network import Network
from headstart.recipe import Stage
from headstart.tasks.classify import INITIAL_STD
from headstart.training.trainable import groups


def renew_blocks(network: Network, stage: Stage, seed: int) -> None:
    """Draw the last `stage.fresh_blocks` blocks anew, and the pooler with them.

    Linear maps as BERT draws them, biases zero, norms the identity.

    Raises:
        RecipeError: the backbone has fewer blocks, or a parameter of them would not move.
    """
    count, blocks = stage.fresh_blocks, list(network.backbone.blocks)
    if not count:
        return
    place = f"stage {stage.name!r}, fresh_blocks"
    if count > len(blocks):
        raise RecipeError(
            f"{place}: {count} are asked for; the backbone has {len(blocks)}. Use "
            f"{len(blocks)} or less."
        )
    chosen = blocks[len(blocks) - count :]
    moving = {n for rule in groups(network, stage) if rule.learning_rate > 0 for n in rule.names}
    inside = {id(p) for block in chosen for p in block.parameters()}
    still = [n for n, p in network.named_parameters() if id(p) in inside and n not in moving]
    if still:
        raise RecipeError(
            f"{place}: {still[0]} would get new weights and then not move. Let it move, as in "
            f'train = "all" or "top:{count}", or ask for fewer.'
        )
    torch.manual_seed(derive_seed("fresh", seed))
    for module in (*chosen, network.pool):
        draw(module, INITIAL_STD)
        _reset_norms(module)


def _reset_norms(module: nn.Module) -> None:
    """Scales one, shifts zero: every vector in a block that belongs to no linear map."""
    linear = {id(p) for part in module.modules() if isinstance(part, nn.Linear | nn.Embedding)
              for p in part.parameters()}  # fmt: skip
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim == 1 and id(parameter) not in linear:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
