"""What a teacher knows, besides the labels or in their place.

Its answers (Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network"): the
divergence from the teacher's to the student's, both softened by a temperature T, times T^2 so that
gradients keep their size. Its hidden states, block for block (Sun et al. 2019, "Patient Knowledge
Distillation"; Jiao et al. 2020, equation 8, without their learned map, so that widths are equal).
What its last block looks at, and how its values relate to each other (Wang et al. 2020, "MiniLM",
equations 6 to 9), which needs as many heads and no equal widths.

Shapes: B rows, U unlabelled rows, N labelled rows of the data, T tokens of all rows, D width, C
classes, H heads, L tokens in the longest row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.clock import part
from headstart.data.batches import Batch
from headstart.models.opened import Opened, Seen
from headstart.nn.attention import Form, attention_weights
from headstart.nn.ragged import Layout
from headstart.objectives.beside import Beside, mean_over
from headstart.tasks.classify import Classify


@dataclass(frozen=True)
class Weights:
    """What counts how much.

    Attributes:
        labels: of the task's own loss.
        logits: of the divergence from the teacher's answers.
        temperature: T.
        hidden: of the squared difference of hidden states.
        attention: of the divergence of what the last blocks look at.
        relations: of the divergence of how the values of the last blocks relate.
    """

    labels: float = 1.0
    logits: float = 1.0
    temperature: float = 2.0
    hidden: float = 0.0
    attention: float = 0.0
    relations: float = 0.0

    @property
    def inside(self) -> bool:
        """Whether it matters what happens inside the teacher."""
        return bool(self.hidden or self.attention or self.relations)


class Distill:
    """The task's loss, and the distance from a teacher's answers.

    Args:
        task: classifies.
        propagate: sends a scalar loss back.
        weights: what counts how much.
        labelled: (N, C) the teacher's logits of the rows with labels.
        unlabelled: (U, C) of those without; None where there are none.
    """

    def __init__(
        self,
        task: Classify,
        propagate: Callable[[Tensor], None],
        weights: Weights,
        labelled: Tensor,
        unlabelled: Tensor | None = None,
    ) -> None:
        self.task, self.propagate, self.weights = task, propagate, weights
        self.labelled, self.unlabelled = labelled, unlabelled

    def backward(self, network: Any, batch: Beside) -> dict[str, float]:
        """Leave the gradients of all parts."""
        losses, distances = [], []
        for one in batch.labelled:
            with part("forward"):
                logits, distance = self.compared(network, one, self.labelled)
                loss = self.weights.labels * self.task.loss_of(logits, one.target)
            with part("backward"):
                self.propagate((loss + distance) * one.weight)
            losses.append(float((loss + distance).detach()))
            distances.append(float(distance.detach()))
        for one in batch.unlabelled:
            assert self.unlabelled is not None
            with part("forward"):
                _, distance = self.compared(network, one, self.unlabelled)
            with part("backward"):
                self.propagate(distance * one.weight)
        return {
            "loss": mean_over(losses, batch.labelled),
            "distance": mean_over(distances, batch.labelled),
        }

    def compared(self, network: Any, batch: Batch, known: Tensor) -> tuple[Tensor, Tensor]:
        """The student's logits (B, C), and its weighted distance from the teacher, a scalar."""
        logits = network(batch.inputs, batch.segments)
        return logits, self.answers(logits, batch, known)

    def answers(self, logits: Tensor, batch: Batch, known: Tensor) -> Tensor:
        """The weighted distance of the answers (B, C) from the teacher's."""
        teacher = known[batch.rows.to(known.device)].to(logits.device)
        return self.weights.logits * softened(teacher, logits, self.weights.temperature)


class DistillInside(Distill):
    """As `Distill`, and the distance from what happens inside the teacher.

    Args:
        teacher: reads the same tokens; in eval mode.
        The others are those of `Distill`.
    """

    def __init__(self, teacher: Opened, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.teacher = teacher

    def compared(self, network: Any, batch: Batch, known: Tensor) -> tuple[Tensor, Tensor]:
        """The student's logits (B, C), and its weighted distance from the teacher, a scalar."""
        own: Seen = network.see(batch.inputs, batch.segments)
        with torch.no_grad():
            theirs = self.teacher.to(own.logits.device).see(batch.inputs, batch.segments)
        distance = self.answers(own.logits, batch, known)
        layout, weights = batch.inputs.layout, self.weights
        if weights.hidden:
            distance = distance + weights.hidden * hidden_distance(theirs, own)
        if weights.attention:
            found = looked_apart(theirs.attention, own.attention, layout)
            distance = distance + weights.attention * found
        if weights.relations:
            heads = own.attention.shape[1]
            found = looked_apart(relations(theirs, heads), relations(own, heads), layout)
            distance = distance + weights.relations * found
        return own.logits, distance


def softened(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), a mean over the rows (B, C)."""
    known = F.log_softmax(teacher.float() / temperature, -1)
    own = F.log_softmax(student.float() / temperature, -1)
    return temperature**2 * (known.exp() * (known - own)).sum(-1).mean()


def hidden_distance(teacher: Seen, student: Seen) -> Tensor:
    """Mean squared difference of hidden states, each block of the student with the teacher's that
    is as far up."""
    many, few = len(teacher.states), len(student.states)
    pairs = [
        F.mse_loss(own.float(), teacher.states[(number + 1) * many // few - 1].float())
        for number, own in enumerate(student.states)
    ]
    return torch.stack(pairs).mean()


def looked_apart(teacher: Tensor, student: Tensor, layout: Layout) -> Tensor:
    """KL(teacher || student) of what is looked at (B, H, L, L), a mean over heads and tokens."""
    tiny = 1e-12  # what is not seen weighs nothing in both
    known, own = teacher.float(), student.float()
    apart = (known * (known.clamp_min(tiny).log() - own.clamp_min(tiny).log())).sum(-1)
    return apart.transpose(1, 2)[layout.mask].mean()


def relations(seen: Seen, heads: int) -> Tensor:
    """softmax(V V^T / sqrt(d)) in each head, (B, H, L, L)."""
    return attention_weights(seen.values, seen.values, Form(heads))
