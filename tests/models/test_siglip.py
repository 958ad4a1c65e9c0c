from __future__ import annotations

import json

import pytest
import torch
from tests.models.image_parity import (
    IMAGE,
    assert_freezing_works,
    assert_layers_match,
    assert_saved_is_opened,
    images,
    make,
)
from tests.models.parity import CLOSE, assert_gradients_are, backbone_and_rest
from torch.nn import functional as F

from headstart.errors import CheckpointError
from headstart.models.checkpoint import open_checkpoint
from headstart.models.families import FAMILIES
from headstart.models.pair import open_pair, save_pair
from headstart.models.sides import ShiftedTemperature
from headstart.models.siglip import SiglipTextConfig, SiglipVisionConfig
from headstart.nn.attention import kernel
from headstart.nn.patches import patches
from headstart.nn.ragged import Ragged

TEXT = {
    "vocab_size": 101,
    "hidden_size": 26,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 37,
    "max_position_embeddings": 13,
    "pad_token_id": 1,
    "bos_token_id": 5,
    "eos_token_id": 7,
}
LENGTHS = [11, 7, 1, 13, 5]


@pytest.fixture
def texts() -> Ragged:
    generator = torch.Generator().manual_seed(9)
    return Ragged.from_rows([torch.randint(2, 101, (n,), generator=generator) for n in LENGTHS])


@pytest.fixture
def pair(hf, tmp_path):
    """A randomised SiglipModel and its folder."""

    def write(**text: object):
        model = make(hf, "SiglipModel", "SiglipConfig",
                     text_config=TEXT | {"projection_size": 22} | text,
                     vision_config=IMAGE)  # fmt: skip
        model.save_pretrained(tmp_path / "SigLIP")
        return model, tmp_path / "SigLIP"

    return write


def filled(texts: Ragged) -> torch.Tensor:
    """(B, 13) as their processor has it with padding="max_length", which they trained with."""
    return F.pad(texts.padded().masked_fill(~texts.layout.mask, 1),
                 (0, 13 - texts.layout.longest), value=1)  # fmt: skip


@pytest.mark.parametrize("size", [(15, 15), (21, 33), (10, 5)])
def test_the_image_tower_matches_at_every_layer(hf, size):
    theirs = make(hf, "SiglipVisionModel", "SiglipVisionConfig", vision_use_head=False)
    assert_layers_match(theirs, images(*size), interpolate_pos_encoding=True)


@torch.no_grad()
def test_the_text_tower_matches_at_every_layer(hf, texts):
    theirs = make(hf, "SiglipTextModel", "SiglipTextConfig", **TEXT,
                  image_size=None, patch_size=None)  # fmt: skip
    ours, rest = backbone_and_rest(theirs)
    assert not rest
    mask = texts.layout.mask
    given = {"input_ids": texts.padded(), "attention_mask": mask.long()}
    want = theirs(**given, output_hidden_states=True)
    states = [*want.hidden_states[:-1], want.last_hidden_state]
    for name in ("sdpa", "eager"):
        with kernel(name):
            got = ours.hidden_states(texts)
        assert len(got) == len(states) == 4
        for g, w in zip(got, states, strict=True):
            torch.testing.assert_close(g.values, texts.layout.pack(w), **CLOSE)
    assert not ours.causal


@torch.no_grad()
def test_scores_and_embeddings_match_transformers(pair, texts):
    theirs, folder = pair()
    ours = open_pair(folder).model
    want = theirs(pixel_values=images(), input_ids=filled(texts))
    given = patches(images(), 5)
    for name in ("sdpa", "eager"):
        with kernel(name):
            scores = ours.image_text_scores(given, texts)
        torch.testing.assert_close(scores, want.logits_per_image, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(ours.image_embeddings(given), want.image_embeds, **CLOSE)
    torch.testing.assert_close(ours.text_embeddings(texts), want.text_embeds, **CLOSE)
    whole = Ragged.from_padded(filled(texts), [13] * 5)
    assert torch.equal(ours.text_embeddings(whole), ours.text_embeddings(texts))


@torch.no_grad()
def test_images_of_unequal_sizes_are_pooled_apart(pair):
    theirs, folder = pair()
    ours = open_pair(folder).model
    pixels = [images(*size)[0] for size in ((15, 15), (21, 33), (10, 5))]
    got = ours.image_embeddings(patches(pixels, 5))
    for image, vector in zip(pixels, got, strict=True):
        want = theirs.vision_model(image[None], interpolate_pos_encoding=True).pooler_output
        torch.testing.assert_close(vector[None], F.normalize(want, dim=1), **CLOSE)


def test_loss_and_gradients_match_transformers(pair, texts):
    theirs, folder = pair()
    ours = open_pair(folder).model
    four = Ragged.from_rows(texts.split()[:4])
    want = theirs(pixel_values=images(), input_ids=filled(four), return_loss=True).loss
    got = ours.loss(patches(images(), 5), four)
    torch.testing.assert_close(got, want, **CLOSE)
    got.backward()
    want.backward()
    gradients = {
        start + name: parameter.grad
        for start, module in ours.parts().items()
        for name, parameter in module.named_parameters()
    }
    assert_gradients_are(
        FAMILIES["siglip"].their_weights(gradients, whole=False),
        {name: p.grad for name, p in theirs.named_parameters()},
    )


@torch.no_grad()
def test_a_pair_comes_back_here_and_in_transformers(hf, pair, texts, tmp_path):
    _, source = pair()
    model, folder = open_pair(source).model, tmp_path / "again"
    folder.mkdir()
    save_pair(folder, model, source=source)
    again = open_pair(folder)
    assert (again.family, again.max_length, again.dropped) == ("siglip", 13, ())
    before, after = model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    theirs, said = hf.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(said.values()), said
    want = theirs.eval()(pixel_values=images(), input_ids=filled(texts)).logits_per_image
    got = model.image_text_scores(patches(images(), 5), texts)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("source", ["SigLIP", "tower"])
def test_a_pair_is_its_image_tower_where_a_backbone_is_asked_for(hf, pair, tmp_path, source):
    _, folder = pair()
    if source == "tower":
        folder = tmp_path / source
        make(hf, "SiglipVisionModel", "SiglipVisionConfig").save_pretrained(folder)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.default_pooling == "mean"
    assert any("head.probe" in name for name in checkpoint.dropped)
    assert_saved_is_opened(hf, folder, tmp_path / "model", "mean")
    assert_freezing_works(folder, 3, "mean")


@torch.no_grad()
def test_a_text_tower_is_a_backbone(hf, texts, tmp_path):
    theirs = make(hf, "SiglipTextModel", "SiglipTextConfig", **TEXT,
                  image_size=None, patch_size=None)  # fmt: skip
    theirs.save_pretrained(tmp_path / "text")
    checkpoint = open_checkpoint(tmp_path / "text")
    assert (checkpoint.dropped, checkpoint.max_length) == (("head.bias", "head.weight"), 13)
    whole = Ragged.from_padded(filled(texts), [13] * 5)
    want = theirs(filled(texts)).last_hidden_state
    torch.testing.assert_close(checkpoint.backbone(whole).padded(), want, **CLOSE)


def test_a_text_that_is_too_long(pair):
    model = open_pair(pair()[1]).model
    with pytest.raises(ValueError, match="at most 13 tokens; got 14"):
        model.text_embeddings(Ragged.from_rows([torch.full((14,), 3)]))


def test_the_loss_by_hand():
    """Own pairs at 2, others at -1: log(1 + e^-2) + log(1 + e^-1) for each image."""
    scores = torch.tensor([[2.0, -1.0], [-1.0, 2.0]])
    want = torch.log1p(torch.tensor([-2.0, -1.0]).exp()).sum()
    torch.testing.assert_close(ShiftedTemperature().loss(scores), want)


def test_defaults_are_those_of_transformers(hf):
    """A config.json of a pair names only what differs from them."""
    for ours, theirs in ((SiglipVisionConfig(), hf.SiglipVisionConfig()),
                         (SiglipTextConfig(), hf.SiglipTextConfig())):  # fmt: skip
        for key, value in ours.to_hf().items():
            if key not in ("initializer_range", "projection_size"):  # None: as hidden_size
                assert value == getattr(theirs, key), key


def test_values_that_are_not_honoured_come_all_at_once(pair):
    _, folder = pair()
    file = folder / "config.json"
    values = json.loads(file.read_text())

    def faults(vision: dict, text: dict) -> list[str]:
        said = {"vision_config": values["vision_config"] | vision,
                "text_config": values["text_config"] | text}  # fmt: skip
        file.write_text(json.dumps(values | said))
        with pytest.raises(CheckpointError) as caught:
            open_pair(folder)
        return [fault.removeprefix(f"{file}, ") for fault in caught.value.faults]

    assert faults({"vision_use_head": False}, {"projection_size": 0, "hidden_act": "gleu"}) == [
        "vision_config.vision_use_head: False is not supported, only True.",
        "text_config.hidden_act: 'gleu' is not supported. Did you mean 'gelu'? Known: gelu, "
        "gelu_new, gelu_pytorch_tanh, relu, silu, swish, quick_gelu.",
        "text_config.projection_size: must be a whole number, 1 or more; got 0.",
    ]
    assert faults({}, {"projection_size": 26}) == [
        "text_config.projection_size: must be vision_config.hidden_size 22; got 26."
    ]
    assert faults({}, {"pad_token_id": None}) == ["text_config.pad_token_id: must be a token; "
                                                  "got None."]  # fmt: skip
