"""AdamW that leaves alone the rows of an embedding that no token of the batch asked for.

A batch of a thousand tokens asks for some three hundred of thirty thousand words. Dense AdamW
(Loshchilov & Hutter 2019) fills, measures and walks the whole table for them at each update, which
was measured at a tenth of the time of training a small encoder.

Shapes: V words, D width, R rows of the table that a batch asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class RowwiseAdamW(torch.optim.AdamW):
    """AdamW, updating of a table with sparse gradients only the rows that have one.

    A row that is not asked for keeps its place. Where it is asked for again, its moments have
    decayed, and its weights too, by as many updates as it missed, so that it is where dense AdamW
    would have it but for one thing: dense AdamW moves a row on by its fading momentum while nothing
    asks for it. `finish` decays the weights of all rows to the present; call it when training ends.

    Args:
        groups: as torch.optim.AdamW takes them.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(groups, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of everything that has a gradient."""
        assert closure is None, "the loop computes gradients before it steps"
        tables = []
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None and table.grad.is_sparse:
                    tables.append((group, table, table.grad.coalesce()))
                    table.grad = None
        super().step()
        for group, table, gradient in tables:
            self._update(group, table, gradient.indices()[0], gradient.values())
            table.grad = gradient

    @torch.no_grad()
    def finish(self) -> None:
        """Decay the weights of all rows by what they missed."""
        for group in self.param_groups:
            for table in group["params"]:
                state = self.state.get(table, {})
                if "missed" in state:
                    table.mul_((state["decayed"] - state["missed"]).exp_()[:, None])
                    state["missed"].fill_(state["decayed"])

    def _update(self, group: dict[str, Any], table: Tensor, rows: Tensor, gradient: Tensor) -> None:
        """Move R rows of a table (V, D) by their gradients (R, D)."""
        state = self.state[table]
        if not state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["decayed"] = 0.0  # log of the weights' decay so far
            state["missed"] = torch.zeros(len(table), device=table.device)  # where a row's is
            state["seen"] = torch.zeros(len(table), device=table.device)
        rate, (beta_1, beta_2) = group["lr"], group["betas"]
        state["step"] += 1
        state["decayed"] += math.log1p(-rate * group["weight_decay"])
        step = float(state["step"])
        idle = step - state["seen"][rows]  # updates since the moments were last decayed
        mean = state["exp_avg"][rows] * (beta_1**idle)[:, None] + gradient * (1 - beta_1)
        square = state["exp_avg_sq"][rows] * (beta_2**idle)[:, None]
        square.addcmul_(gradient, gradient, value=1 - beta_2)
        kept = (state["decayed"] - state["missed"][rows]).exp()[:, None]
        width = (square / (1 - beta_2**step)).sqrt_().add_(group["eps"])
        table[rows] = table[rows] * kept - mean / width * (rate / (1 - beta_1**step))
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = mean, square
        state["missed"][rows], state["seen"][rows] = state["decayed"], step


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale all gradients together so that their norm is `limit` at most (Pascanu et al. 2013).

    Args:
        parameters: those without a gradient are left out; a sparse gradient counts by its rows.
        limit: largest norm.

    Returns:
        The norm before, a scalar.
    """
    owners = [parameter for parameter in parameters if parameter.grad is not None]
    for parameter in owners:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
    gradients = [_values(parameter) for parameter in owners]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
    return norm


def _values(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad._values() if parameter.grad.is_sparse else parameter.grad


def ask_for_rows(network: nn.Module, tables: Iterable[nn.Embedding]) -> None:
    """Let the gradients of some tables be sparse from here on, and of no other in the network."""
    chosen = set(tables)
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            module.sparse = module in chosen
