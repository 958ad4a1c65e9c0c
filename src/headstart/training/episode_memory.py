"""What going through an episode's steps takes, before anything is trained.

Gradients through the steps need all that every step saw. What autograd keeps is measured on
episodes of one and two rows a class, and of one and two steps; it grows with tokens and with steps

    bytes = a + b * query + c * support + steps * (d + e * support)

so that five small episodes tell what the real one needs.

Shapes: B rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from headstart.data.batches import Batch
from headstart.data.episodes import Episode
from headstart.errors import RecipeError
from headstart.nn.ragged import Ragged
from headstart.objectives.maml import Maml
from headstart.recipe.objectives import Inner
from headstart.training.episodic import EpisodicModel
from headstart.training.footprint import free_bytes

SHARE = 0.9
"""Of the free memory that an episode may take."""


@dataclass(frozen=True)
class EpisodeMemory:
    """What autograd keeps of an episode.

    Attributes:
        coefficients: (5,) of 1, query tokens, support tokens, steps, steps * support tokens.
        query: tokens.
        support: tokens.
    """

    coefficients: np.ndarray
    query: int
    support: int

    def total(self, steps: int, *, support: float = 1.0, query: float = 1.0) -> int:
        """Bytes, about.

        Args:
            steps: inside the episode; 0 stands for the first order, which keeps none of them.
            support: share of the support that is left.
            query: likewise.
        """
        asked, learned = self.query * query, self.support * support
        terms = np.array([1, asked, learned, steps, steps * learned])
        return int(self.coefficients @ terms)


def check_episode_memory(model: EpisodicModel, episode: Episode, stage: str) -> None:
    """Refuse what does not fit, if gradients go through an episode's steps.

    Args:
        model: about to be trained.
        episode: one of those that it is trained on, of the store that the network reads.
        stage: its name.

    Raises:
        RecipeError: says what it takes, what there is, and which smaller choices fit.
    """
    values, free = model.values, free_bytes()
    second_order = isinstance(model.learner(_kept), Maml)
    if not second_order or not isinstance(values, Inner) or free is None:
        return
    memory, most = episode_memory(model, episode), int(SHARE * free)
    needed = memory.total(values.inner_steps)
    if needed <= most:
        return
    fitting = smaller_choices(memory, values, most)
    raise RecipeError(
        f"stage {stage!r}, objective: an episode through {values.inner_steps} steps takes about "
        f"{needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free. "
        + (f"What fits: {'; '.join(fitting)}." if fitting else "Take a smaller backbone, or shorter"
           " texts (max_length).")
    )  # fmt: skip


def smaller_choices(memory: EpisodeMemory, values: Inner, most: int) -> list[str]:
    """Changes of one key each after which an episode takes no more than so many bytes."""
    steps, shots = values.inner_steps, max(values.shot_counts)
    found = []
    fewer = next((n for n in range(steps - 1, 0, -1) if memory.total(n) <= most), None)
    if fewer is not None:
        found.append(f"inner_steps = {fewer}")
    fewer = next((n for n in range(shots - 1, 0, -1)
                  if memory.total(steps, support=n / shots) <= most), None)  # fmt: skip
    if fewer is not None:
        found.append(f"shots = {fewer}")
    fewer = next((n for n in range(values.queries - 1, 0, -1)
                  if memory.total(steps, query=n / values.queries) <= most), None)  # fmt: skip
    if fewer is not None:
        found.append(f"queries = {fewer}")
    if memory.total(0) <= most:
        found += ['kind = "fomaml"', 'inner = "head"']
    return found


def episode_memory(model: EpisodicModel, episode: Episode) -> EpisodeMemory:
    """Measure on small episodes what autograd keeps; the model is left as it is."""
    assert isinstance(model.values, Inner)
    device = next(model.network.parameters()).device
    small = [(1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 1, 2), (2, 1, 2)]  # support, query, steps
    rows, kept = [], []
    for support, query, steps in small:
        few = replace(episode, support=_few(episode.support, support),
                      query=_few(episode.query, query)).to(device)  # fmt: skip
        kept.append(_saved(model, few, steps))
        learned = few.support.num_tokens
        rows.append([1, few.query.num_tokens, learned, steps, steps * learned])
    solved = np.linalg.lstsq(np.array(rows, float), np.array(kept, float), rcond=None)[0]
    return EpisodeMemory(solved, episode.query.num_tokens, episode.support.num_tokens)


def _few(batch: Batch, count: int) -> Batch:
    """The longest row of each class, so often."""
    assert batch.target is not None
    lengths, split = batch.inputs.lengths, batch.inputs.split()
    chosen = []
    for name in sorted(set(batch.target.tolist())):
        mine = torch.nonzero(batch.target == name).flatten().cpu()
        chosen += [int(mine[lengths[mine].argmax()])] * count
    inputs = Ragged.from_rows([split[place] for place in chosen])
    return Batch(inputs, batch.rows[chosen], batch.target[chosen])


def _kept(loss: Tensor) -> None:
    """The graph is looked at, not sent back."""


def _saved(model: EpisodicModel, episode: Episode, steps: int) -> int:
    """Bytes that autograd keeps of one episode, the network's own parameters not counted."""
    values = model.values.model_copy(update={"inner_steps": steps})
    learner = replace(model, values=values).learner(_kept)
    own = {p.untyped_storage().data_ptr() for p in model.network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address recurs
        return tensor

    with torch.random.fork_rng([]), saved_tensors_hooks(keep, lambda tensor: tensor):
        learner.backward(model.functional(), episode)
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own)
