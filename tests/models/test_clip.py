from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.image_parity import (
    IMAGE,
    assert_comes_back,
    assert_freezing_works,
    assert_layers_match,
    faults_of,
    images,
    make,
)
from tests.models.parity import CLOSE, assert_gradients_are, backbone_and_rest

from headstart.errors import CheckpointError
from headstart.models.checkpoint import open_checkpoint
from headstart.models.clip import ClipTextConfig, FirstToken, HighestToken
from headstart.models.families import FAMILIES
from headstart.models.pair import open_pair, save_pair
from headstart.models.sides import Temperature
from headstart.models.towers import ImageTowerConfig
from headstart.nn.attention import kernel
from headstart.nn.patches import patches
from headstart.nn.ragged import Ragged

END = 97
TEXT = {
    "vocab_size": 101,
    "hidden_size": 26,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 37,
    "max_position_embeddings": 13,
    "eos_token_id": END,
    "bos_token_id": 5,
    "pad_token_id": 1,
}
LENGTHS = [11, 7, 2, 13, 5]


@pytest.fixture
def texts() -> Ragged:
    """Five texts, each ended by its only end token, which is the highest of all."""
    generator = torch.Generator().manual_seed(9)
    rows = [torch.randint(2, END, (n,), generator=generator) for n in LENGTHS]
    for row in rows:
        row[-1] = END
    return Ragged.from_rows(rows)


@pytest.fixture
def pair(hf, tmp_path):
    """A randomised CLIPModel and its folder."""

    def write(**text: object):
        model = make(hf, "CLIPModel", "CLIPConfig", text_config=TEXT | text,
                     vision_config=IMAGE, projection_dim=17)  # fmt: skip
        model.save_pretrained(tmp_path / "CLIP")
        return model, tmp_path / "CLIP"

    return write


def padded(texts: Ragged) -> dict[str, torch.Tensor]:
    mask = texts.layout.mask
    return {"input_ids": texts.padded().masked_fill(~mask, 1), "attention_mask": mask.long()}


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("size", [(15, 15), (21, 33), (10, 5)])
def test_the_image_tower_matches_at_every_layer(hf, size, activation):
    theirs = make(hf, "CLIPVisionModel", "CLIPVisionConfig", hidden_act=activation)
    more = {"interpolate_pos_encoding": True}
    with torch.no_grad():
        want = theirs(images(*size), **more)
        finished = theirs.post_layernorm(want.last_hidden_state)
    ours = assert_layers_match(theirs, images(*size), finished, **more)
    with torch.no_grad():
        first = ours(patches(images(*size), 5)).first()
    torch.testing.assert_close(first, want.pooler_output, **CLOSE)


@torch.no_grad()
def test_the_text_tower_matches_at_every_layer(hf, texts):
    theirs = make(hf, "CLIPTextModel", "CLIPTextConfig", **TEXT, image_size=None, patch_size=None)
    ours, _ = backbone_and_rest(theirs)
    want = theirs(**padded(texts), output_hidden_states=True)
    states = [*want.hidden_states[:-1], want.last_hidden_state]
    for name in ("sdpa", "eager"):
        with kernel(name):
            got = ours.hidden_states(texts)
        assert len(got) == len(states) == 4
        for g, w in zip(got, states, strict=True):
            torch.testing.assert_close(g.values, texts.layout.pack(w), **CLOSE)
    torch.testing.assert_close(got[-1].last(), want.pooler_output, **CLOSE)
    assert ours.causal


@torch.no_grad()
@pytest.mark.parametrize("end", [END, 2])
def test_scores_and_embeddings_match_transformers(pair, texts, end):
    """Both rules of where a text ends; the old one is for config.json files that say 2."""
    theirs, folder = pair(eos_token_id=end)
    ours = open_pair(folder).model
    want = theirs(pixel_values=images(), **padded(texts))
    given = patches(images(), 5)
    for name in ("sdpa", "eager"):
        with kernel(name):
            scores = ours.image_text_scores(given, texts)
        torch.testing.assert_close(scores, want.logits_per_image, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(ours.image_embeddings(given), want.image_embeds, **CLOSE)
    torch.testing.assert_close(ours.text_embeddings(texts), want.text_embeds, **CLOSE)


def test_loss_and_gradients_match_transformers(pair, texts):
    theirs, folder = pair()
    ours = open_pair(folder).model
    four = Ragged.from_rows(texts.split()[:4])
    want = theirs(pixel_values=images(), **padded(four), return_loss=True).loss
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
        FAMILIES["clip"].their_weights(gradients, whole=False),
        {name: p.grad for name, p in theirs.named_parameters()},
    )


@torch.no_grad()
def test_a_pair_comes_back_here_and_in_transformers(hf, pair, texts, tmp_path):
    _, source = pair()
    (source / "preprocessor_config.json").write_text("{}")
    model, folder = open_pair(source).model, tmp_path / "again"
    folder.mkdir()
    save_pair(folder, model, source=source)
    assert (folder / "preprocessor_config.json").exists()
    again = open_pair(folder)
    assert (again.family, again.max_length, again.dropped) == ("clip", 13, ())
    before, after = model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for half in (hf.CLIPTextModelWithProjection, hf.CLIPVisionModelWithProjection):
        theirs, said = half.from_pretrained(folder, output_loading_info=True)
        assert not said["missing_keys"]
    for auto in (hf.AutoModel, hf.CLIPModel):
        theirs, said = auto.from_pretrained(folder, output_loading_info=True)
        assert not any(said.values()), said
        want = theirs.eval()(pixel_values=images(), **padded(texts)).logits_per_image
        got = model.image_text_scores(patches(images(), 5), texts)
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-5)


def test_a_pair_is_its_image_tower_where_a_backbone_is_asked_for(hf, pair, tmp_path):
    theirs, folder = pair()
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.family, checkpoint.default_pooling) == ("clip", "cls")
    assert "text_projection.weight" in checkpoint.dropped
    assert "logit_scale" in checkpoint.dropped
    with torch.no_grad():
        want = theirs.vision_model(images()).pooler_output
        got = checkpoint.backbone(patches(images(), 5)).first()
    torch.testing.assert_close(got, want, **CLOSE)
    assert_freezing_works(folder, 3, "cls")
    assert checkpoint.backbone.hf_config()["model_type"] == "clip_vision_model"


@torch.no_grad()
@pytest.mark.parametrize("source", ["CLIP", "CLIPVisionModel", "CLIPVisionModelWithProjection"])
def test_an_image_tower_is_saved_and_opened_by_transformers(hf, pair, tmp_path, source):
    folder = tmp_path / source
    if source == "CLIP":
        pair()
    else:
        make(hf, source, "CLIPVisionConfig").save_pretrained(folder)
    opened = tmp_path / "model"
    assert_comes_back(folder, opened, "cls")
    theirs, said = hf.AutoModel.from_pretrained(opened, output_loading_info=True)
    assert (type(theirs).__name__, any(said.values())) == ("CLIPVisionModel", False)
    got = open_checkpoint(opened).backbone(patches(images(), 5)).first()
    torch.testing.assert_close(got, theirs.eval()(images()).pooler_output, **CLOSE)


def test_names_with_and_without_their_prefix_are_read(hf, tmp_path):
    folder = tmp_path / "tower"
    make(hf, "CLIPVisionModel", "CLIPVisionConfig").save_pretrained(folder)
    before = open_checkpoint(folder).backbone.state_dict()
    file = folder / "model.safetensors"
    old = {f"vision_model.{name}": tensor for name, tensor in load_file(file).items()}
    old["vision_model.embeddings.position_ids"] = torch.arange(10)[None]
    save_file(old, file, {"format": "pt"})
    checkpoint = open_checkpoint(folder)
    after = checkpoint.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert checkpoint.dropped == ("vision_model.embeddings.position_ids",)


def test_where_a_text_ends():
    rows = Ragged.from_rows([torch.tensor([3, 9, 9]), torch.tensor([9, 4]), torch.tensor([8])])
    assert HighestToken()(rows).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="the end token 9; row 2 does not"):
        FirstToken(9)(rows)
    assert FirstToken(8)(Ragged.from_rows([torch.tensor([3, 8, 8, 8])])).tolist() == [1]


def test_the_loss_by_hand():
    """Two images, two texts: -log(e^2 / (e^2 + e^0)) each way."""
    scores = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    want = torch.log1p(torch.exp(torch.tensor(-2.0)))
    torch.testing.assert_close(Temperature().loss(scores), want)


def test_defaults_are_those_of_transformers(hf):
    """A config.json of a pair names only what differs from them."""
    for ours, theirs in ((ImageTowerConfig(), hf.CLIPVisionConfig()),
                         (ClipTextConfig(), hf.CLIPTextConfig())):  # fmt: skip
        for key, value in ours.to_hf().items():
            assert value == getattr(theirs, key), key


def test_old_config_files_keep_towers_twice(pair):
    _, folder = pair()
    values = json.loads((folder / "config.json").read_text())
    text = values["text_config"] | {"hidden_size": 999}
    more = {"text_config": text, "text_config_dict": TEXT, "vision_config_dict": None}
    (folder / "config.json").write_text(json.dumps(values | more))
    assert open_pair(folder).model.text.backbone.width == 26


def test_values_that_are_not_honoured_come_all_at_once(pair):
    _, folder = pair()
    file = folder / "config.json"
    values = json.loads(file.read_text())
    values["vision_config"] |= {"hidden_act": "quick_gleu", "patch_size": 0}
    values["text_config"] |= {"num_attention_heads": 3, "eos_token_id": [1, 2]}
    file.write_text(json.dumps(values))
    with pytest.raises(CheckpointError) as caught:
        open_pair(folder)
    assert [fault.removeprefix(f"{file}, ") for fault in caught.value.faults] == [
        "vision_config.patch_size: must be a whole number, 1 or more; got 0.",
        "vision_config.hidden_act: 'quick_gleu' is not supported. Did you mean 'quick_gelu'? "
        "Known: gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish, quick_gelu.",
        "text_config.num_attention_heads: 3 does not divide hidden_size 26.",
        "text_config.eos_token_id: must be a token, 0 or more; got [1, 2].",
    ]
    assert faults_of(folder, vision_config=IMAGE | {"hidden_size": 21}) == [
        "num_attention_heads: 2 does not divide hidden_size 21."
    ]


def test_no_pair(hf, tmp_path):
    make(hf, "ViTModel", "ViTConfig").save_pretrained(tmp_path / "vit")
    with pytest.raises(CheckpointError, match=r"no pair of image and text towers is called 'vit'"):
        open_pair(tmp_path / "vit")


def test_a_pair_without_a_part(pair):
    _, folder = pair()
    file = folder / "model.safetensors"
    gone = ("logit_scale", "text_model.encoder.layers.2.mlp.fc1.bias")
    save_file({n: t for n, t in load_file(file).items() if n not in gone}, file, {"format": "pt"})
    with pytest.raises(CheckpointError) as caught:
        open_pair(folder)
    said = [fault.split(", ", 1)[1].split(":")[0] for fault in caught.value.faults]
    assert sorted(said) == sorted(gone)
