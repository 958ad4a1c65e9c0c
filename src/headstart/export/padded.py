"""A network over padded batches, as a graph for other runtimes has to be.

All other code packs tokens; what is packed depends on the lengths, and no exporter follows that.
Here a batch stays the rectangle that it came as: every row is L tokens long, and a mask says which
are real. The modules see the same names and are the same modules.

Shapes: B rows, L tokens in a row, T = B * L, D width, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headstart.models.network import Network
from headstart.nn.ragged import Layout, Ragged


class PaddedLayout(Layout):
    """Rows of L tokens each, padding among them; nothing here depends on the mask's values.

    Args:
        mask: (B, L) bool: True where there is a token. The padding comes last.
    """

    def __init__(self, mask: Tensor) -> None:
        self.num_rows, self.longest = mask.shape
        self.total = self.num_rows * self.longest
        self.device = mask.device
        self.uniform = False  # the mask is to be looked at
        self.starts = None
        self.mask = mask
        self.lengths = mask.sum(1)
        row = torch.arange(self.num_rows, device=self.device)[:, None]
        place = torch.arange(self.longest, device=self.device)[None, :]
        self.rows = row.expand(mask.shape).flatten()
        self.offsets = torch.arange(self.num_rows + 1, device=self.device) * self.longest
        self._places = place.expand(mask.shape).flatten()
        self._memory = {}

    def pad(self, values: Tensor) -> Tensor:
        """(T, ...) to (B, L, ...); what lies behind the end of a row means nothing."""
        return values.view(self.num_rows, self.longest, *values.shape[1:])

    def pack(self, padded: Tensor) -> Tensor:
        """(B, L, ...) to (T, ...): the inverse of `pad`."""
        return padded.flatten(0, 1)


class PaddedRagged(Ragged):
    """Rows in a `PaddedLayout`."""

    def replace(self, values: Tensor) -> PaddedRagged:
        """The same rows with other values, (T, ...)."""
        return PaddedRagged(values, self.layout)

    def last(self) -> Tensor:
        """(B, ...) the last real token of each row."""
        return self.values.index_select(0, self.layout.offsets[:-1] + self.lengths - 1)

    def mean(self) -> Tensor:
        """(B, D) the mean over the real tokens of each row, from (T, D)."""
        real = self.layout.mask[:, :, None].to(self.values.dtype)
        return (self.padded() * real).sum(1) / real.sum(1)


class PaddedNetwork(nn.Module):
    """Logits from padded token ids and their mask.

    Args:
        network: backbone, pooling and head.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B, C) of tokens (B, L) int64 with a mask (B, L) int64, 1 where there is one."""
        return logits(self.network, input_ids, attention_mask, None)


class PaddedPairs(PaddedNetwork):
    """Likewise, for a family that tells the texts of a pair apart."""

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> Tensor:
        """Logits (B, C); `token_type_ids` (B, L) int64 is 1 for the second text of a pair."""
        return logits(self.network, input_ids, attention_mask, token_type_ids.flatten())


def logits(network: Network, tokens: Tensor, mask: Tensor, segments: Tensor | None) -> Tensor:
    """Logits (B, C) of tokens (B, L) int64 with a mask (B, L) and segments (T,) int64."""
    x = PaddedRagged(tokens.flatten(), PaddedLayout(mask.bool()))
    return network.head(network.pool(network.backbone(x, segments)))
