"""Images as rows of patches (Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929).

Shapes: B images, C channels, H x W pixels, p side of a patch, T patches of all images, D width,
S tokens put before the patches of each image, N = g * g patches of an image in pre-training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.nn.dropout import Dropout
from headstart.nn.ragged import Layout, Ragged

Grid = tuple[int, int]
"""Rows and columns of patches."""

Resize = Callable[[Tensor, Grid], Tensor]
"""(1, D, g, g) vectors on a grid, and another grid, to (1, D, rows, columns)."""


class PatchLayout(Layout):
    """Rows that are images: row b is a grid of patches, read line by line.

    Args:
        grids: of each of the B images.
        device: where the index tensors live.
    """

    def __init__(self, grids: Iterable[Grid], device: torch.device | str = "cpu") -> None:
        self.grids = tuple(grids)
        super().__init__([rows * columns for rows, columns in self.grids], device)

    def to(self, device: torch.device | str) -> PatchLayout:
        """The same images on another device."""
        return PatchLayout(self.grids, device)


def patches(pixels: Tensor | Sequence[Tensor], side: int) -> Ragged:
    """Cut images into patches; what is left of less than a patch, right and below, is dropped.

    Args:
        pixels: (B, C, H, W), or B images (C, H_b, W_b) of unequal sizes.
        side: p, in pixels.

    Returns:
        (T, C * p * p), each patch channel by channel and line by line, in a `PatchLayout`.

    Raises:
        ValueError: an image is smaller than a patch.
    """
    grids = [(image.shape[1] // side, image.shape[2] // side) for image in pixels]
    for image, grid in zip(pixels, grids, strict=True):
        if 0 in grid:
            raise ValueError(
                f"an image must be at least one patch of {side} x {side} pixels; "
                f"got {tuple(image.shape[1:])}."
            )
    cut = [_cut(image, side, grid) for image, grid in zip(pixels, grids, strict=True)]
    return Ragged(torch.cat(cut), PatchLayout(grids, cut[0].device))


def _cut(image: Tensor, side: int, grid: Grid) -> Tensor:
    """(C, H, W) to (rows * columns, C * p * p)."""
    rows, columns = grid
    kept = image[:, : rows * side, : columns * side]
    lines = kept.reshape(len(kept), rows, side, columns, side)
    return lines.permute(1, 3, 0, 2, 4).reshape(rows * columns, -1)


class PatchProjection(nn.Module):
    """A linear map of patches, kept as the convolution that others write it as.

    A convolution whose stride is its width reads each patch once, so the two are one function.

    Args:
        channels: C.
        side: p, in pixels.
        width: D.
        bias: whether it adds one.
    """

    def __init__(self, channels: int, side: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, channels, side, side))
        self.bias: nn.Parameter | None
        self.register_parameter("bias", nn.Parameter(torch.zeros(width)) if bias else None)

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, C * p * p) to (T, D)."""
        return F.linear(values, self.weight.flatten(1), self.bias)


def bicubic(table: Tensor, grid: Grid) -> Tensor:
    """Resize (1, D, g, g) to (1, D, rows, columns) by cubic convolution."""
    return F.interpolate(table, grid, mode="bicubic", align_corners=False)


def smoothed_bicubic(table: Tensor, grid: Grid) -> Tensor:
    """As `bicubic`, smoothed first where the new grid is coarser (DINOv2 with registers)."""
    return F.interpolate(table, grid, mode="bicubic", align_corners=False, antialias=True)


class GridPositions(nn.Module):
    """A trained vector for each place on a g x g grid; resized where an image has another.

    Args:
        shape: of the table, (..., D), that holds a vector for each token before the patches that
            has a place, and one for each of the N places of the grid, line by line.
        side: g.
        resize: makes one grid of vectors from another.
    """

    def __init__(self, shape: tuple[int, ...], side: int, resize: Resize = bicubic) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))
        self.side, self.resize = side, resize

    def forward(self, layout: Layout) -> Tensor:
        """Vectors (T, D) of the places of all patches.

        Raises:
            ValueError: the layout knows no grids, and a row is no image of the usual size.
        """
        grids = self._grids(layout)
        tables = {grid: self._table(grid) for grid in dict.fromkeys(grids)}
        return torch.cat([tables[grid] for grid in grids])

    def before(self) -> Tensor:
        """Vectors (up to S, D) of the tokens before the patches."""
        flat = self.weight.flatten(0, -2)
        return flat[: len(flat) - self.side**2]

    def _grids(self, layout: Layout) -> tuple[Grid, ...]:
        if isinstance(layout, PatchLayout):
            return layout.grids
        usual = self.side**2
        if layout.uniform and layout.longest == usual:
            return ((self.side, self.side),) * layout.num_rows
        raise ValueError(
            f"rows of {layout.lengths.tolist()} patches without their grids; only images of "
            f"{self.side} x {self.side} patches can do without. Cut them with `patches`."
        )

    def _table(self, grid: Grid) -> Tensor:
        """(rows * columns, D)."""
        flat = self.weight.flatten(0, -2)
        table = flat[len(flat) - self.side**2 :]
        if grid == (self.side, self.side):
            return table
        # Channels last: in any other order torch 2.13 resizes wrongly, antialiased, to one column.
        square = table.reshape(1, self.side, self.side, -1).permute(0, 3, 1, 2)
        return self.resize(square, grid)[0].flatten(1).T


class PatchEmbeddings(nn.Module):
    """Projection plus position of each patch.

    Args:
        projection: maps (T, C * p * p) to (T, D).
        position: maps a layout to (T, D).
    """

    def __init__(self, projection: PatchProjection, position: GridPositions) -> None:
        super().__init__()
        self.projection, self.position = projection, position

    def forward(self, images: Ragged) -> Ragged:
        """Map patches (T, C * p * p) to (T, D)."""
        return images.replace(self.projection(images.values) + self.position(images.layout))


class LedPatchEmbeddings(nn.Module):
    """Class token, registers and the like, then the patches of an image.

    Args:
        projection: maps (T, C * p * p) to (T, D).
        position: maps a layout to (T, D); those of the first tokens before the patches, too.
        tokens: our name to shape (..., D) of the tokens before the patches, in their order.
        norm: maps (T + B * S, D) to the same shape; CLIP's, by default nothing.
        dropout: probability in [0, 1) of zeroing an element.
    """

    def __init__(
        self,
        projection: PatchProjection,
        position: GridPositions,
        tokens: Mapping[str, tuple[int, ...]],
        *,
        norm: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.projection, self.position = projection, position
        for name, shape in tokens.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        self._tokens = tuple(tokens)
        self.norm = nn.Identity() if norm is None else norm
        self.dropout = Dropout(dropout)

    def forward(self, images: Ragged) -> Ragged:
        """Map patches (T, C * p * p) to (T + B * S, D)."""
        values = self.projection(images.values) + self.position(images.layout)
        x = led(self._leaders(), images.replace(values))
        return x.replace(self.dropout(self.norm(x.values)))

    def _leaders(self) -> Tensor:
        """(S, D) what stands before the patches of every image; the first of them have places."""
        width = self.projection.weight.shape[0]
        tokens = torch.cat([self.get_parameter(name).reshape(-1, width) for name in self._tokens])
        places = self.position.before()
        return tokens + F.pad(places, (0, 0, 0, len(tokens) - len(places)))


def led(leaders: Tensor, x: Ragged) -> Ragged:
    """Put the same tokens (S, D) before every row of (T, D): (T + B * S, D)."""
    pieces = [piece for row in x.split() for piece in (leaders, row)]
    return Ragged(torch.cat(pieces), Layout(x.lengths + len(leaders), x.layout.device))


class LayerScale(nn.Module):
    """A trained factor for each element (Touvron et al. 2021, https://arxiv.org/abs/2103.17239).

    Args:
        width: D.
        start: of every factor.
    """

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), float(start)))

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, D) to (T, D)."""
        return values * self.weight


class ScaledPreNormBlock(nn.Module):
    """x + scale(update(norm(x))), twice: the block of CaiT and DINOv2.

    Args:
        attention: takes (T, D) twice, what asks and what is looked at; gives (T, D).
        feed_forward: maps (T, D) to (T, D).
        norms: two, applied to what attention and feed-forward read.
        scales: two, applied to what attention and feed-forward give.
    """

    def __init__(
        self,
        attention: nn.Module,
        feed_forward: nn.Module,
        *,
        norms: tuple[nn.Module, nn.Module],
        scales: tuple[LayerScale, LayerScale],
    ) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        self.norm_1, self.norm_2 = norms
        self.scale_1, self.scale_2 = scales

    def forward(self, x: Ragged) -> Ragged:
        """Map (T, D) to (T, D)."""
        read = x.replace(self.norm_1(x.values))
        values = x.values + self.scale_1(self.attention(read, read))
        return x.replace(values + self.scale_2(self.feed_forward(self.norm_2(values))))


def draw_patches(module: nn.Module, std: float) -> None:
    """Give projections, positions and tokens before patches new values: normal, biases zero."""
    for part in module.modules():
        if isinstance(part, PatchProjection | GridPositions):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, LedPatchEmbeddings):
            for token in part.parameters(recurse=False):
                nn.init.normal_(token, std=std)
