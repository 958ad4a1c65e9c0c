"""The contract of an image family: the same function as in transformers, in and out.

Sizes are distinct primes where the heads allow: images of 15 x 15 pixels in 3 channels, patches of
5 x 5, width 22, 3 blocks, 2 heads, inner width 31; 4 images. Other sizes: 21 x 33 pixels, which is
4 x 6 patches and something over.

Shapes: B images, C channels, H x W pixels, T patches of all images.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.models.parity import CLOSE, LABELS, assert_gradients_are, backbone_and_rest
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.errors import CheckpointError
from headstart.models.backbone import Backbone
from headstart.models.checkpoint import open_checkpoint, open_network, save_network
from headstart.models.families import FAMILIES
from headstart.models.network import POOLS, Network
from headstart.nn.attention import kernel
from headstart.nn.patches import patches

IMAGE = {
    "hidden_size": 22,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 31,
    "image_size": 15,
    "patch_size": 5,
}


def make(hf, name: str, config: str, **settings: object) -> nn.Module:
    """A randomised model of one of transformers' image classes, in eval mode."""
    torch.manual_seed(0)
    settings.setdefault("attn_implementation", "eager")
    model = getattr(hf, name)(getattr(hf, config)(**(IMAGE | settings))).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def images(*size: int) -> Tensor:
    """(4, 3, H, W) pixels about as large as normalised ones are."""
    return torch.randn(4, 3, *(size or (15, 15)), generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def assert_layers_match(
    theirs: nn.Module, pixels: Tensor, finished: Tensor | None = None, **more: object
) -> Backbone:
    """The same hidden states after the embeddings and after each block, in both kernels.

    Args:
        theirs: a bare model.
        pixels: (4, 3, H, W).
        finished: (4, L, D) what the last states must be; by default their last hidden state.
        more: given to theirs.
    """
    ours, _ = backbone_and_rest(theirs)
    want = theirs(pixel_values=pixels, output_hidden_states=True, **more)
    last = want.last_hidden_state if finished is None else finished
    states = [*want.hidden_states[:-1], last]
    given = patches(pixels, 5)
    for name in ("sdpa", "eager"):
        with kernel(name):
            got = ours.hidden_states(given)
            assert torch.equal(ours(given).values, got[-1].values)
        assert len(got) == len(states) == 4
        for layer, (g, w) in enumerate(zip(got, states, strict=True)):
            torch.testing.assert_close(
                g.padded(), w, **CLOSE, msg=lambda m, n=layer: f"layer {n}: {m}"
            )
    return ours


def assert_gradients_match(theirs: nn.Module) -> None:
    """One step of fine-tuning a classifier moves every parameter the same way, dropout off."""
    family = FAMILIES[theirs.config.model_type]
    backbone, rest = backbone_and_rest(theirs)
    said = family.classifier
    head = nn.Linear(said.pooled_widths * backbone.width, theirs.config.num_labels)
    head.load_state_dict({n.removeprefix("head."): t for n, t in rest.items() if "head." in n})
    network = Network(backbone, said.pooler(theirs.config.to_dict()), head, 0.0).eval()
    target = torch.tensor([2, 0, 1, 1])
    logits = network(patches(images(), 5))
    want = theirs(pixel_values=images(), labels=target)
    torch.testing.assert_close(logits, want.logits, **CLOSE)
    F.cross_entropy(logits, target).backward()
    want.loss.backward()
    ours = {
        name.removeprefix("backbone."): parameter.grad
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    given = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    assert_gradients_are(ours, family.keys.read(family.keys.match(given), given))


def a_network(folder: Path, pooling: str) -> Network:
    """A network on a folder's backbone, with a new head, everything randomised."""
    checkpoint = open_checkpoint(folder)
    torch.manual_seed(1)
    pool = checkpoint.fresh_pooler() if pooling == "family" else POOLS[pooling]()
    widths = checkpoint.classifier.pooled_widths if pooling == "family" else 1
    head = nn.Linear(widths * checkpoint.backbone.width, len(LABELS))
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.2)
    return Network(checkpoint.backbone, pool, head, 0.0).eval()


@torch.no_grad()
def assert_comes_back(source: Path, folder: Path, pooling: str) -> Network:
    """What is saved comes back bit for bit."""
    network, given = a_network(source, pooling), patches(images(), 5)
    folder.mkdir()
    save_network(folder, network, source=source, labels=LABELS, pooling=pooling, max_length=9)
    opened = open_network(folder)
    before, after = network.state_dict(), opened.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(opened(given), network(given))
    assert open_checkpoint(folder).labels == LABELS
    return network


@torch.no_grad()
def assert_saved_is_opened(hf, source: Path, folder: Path, pooling: str) -> None:
    """What is saved comes back bit for bit, and transformers computes the same from it."""
    network, given = assert_comes_back(source, folder, pooling), patches(images(), 5)
    auto = hf.AutoModelForImageClassification if pooling == "family" else hf.AutoModel
    theirs, said = auto.from_pretrained(folder, output_loading_info=True)
    theirs.eval()
    if pooling == "family":
        assert not any(said.values()), said
        assert theirs.config.id2label == dict(enumerate(LABELS))
        torch.testing.assert_close(network(given), theirs(images()).logits, **CLOSE)
        return
    assert all(name.startswith("pooler.") for name in said["missing_keys"])
    want = theirs(images()).last_hidden_state
    torch.testing.assert_close(network.backbone(given).padded(), want, **CLOSE)


def assert_freezing_works(folder: Path, depth: int, pooling: str) -> None:
    """The frozen prefix on its own, then the suffix, is the whole; what is frozen stays."""
    network, given = a_network(folder, pooling), patches(images(), 5)
    whole = network(given)
    for part in range(1, network.depth + 1):
        torch.testing.assert_close(network.suffix(network.prefix(given, None, part), part), whole)
    for part in range(depth):
        for module in network.part_modules(part):
            module.requires_grad_(False)
    network.pin_frozen_parts()
    network.train()
    assert [network.moves(part) for part in range(depth + 1)] == [False] * depth + [True]
    network(given).sum().backward()
    moved = {name for name, p in network.named_parameters() if p.grad is not None}
    assert "head.weight" in moved
    assert not any(name.startswith("backbone.embeddings") for name in moved)


def faults_of(folder: Path, **values: object) -> list[str]:
    """What is said against a folder with other values in its config.json, place cut off."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    return [fault.removeprefix(f"{file}, ") for fault in caught.value.faults]
