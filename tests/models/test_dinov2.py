from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tests.models.image_parity import (
    assert_freezing_works,
    assert_gradients_match,
    assert_layers_match,
    assert_saved_is_opened,
    faults_of,
    images,
    make,
)
from tests.models.parity import CLOSE, LABELS, backbone_and_rest

from headstart.models.checkpoint import open_checkpoint, open_network
from headstart.models.dinov2 import ClassAndPatches, Dinov2Config, RegisterConfig
from headstart.nn.patches import (
    GridPositions,
    PatchLayout,
    bicubic,
    patches,
    smoothed_bicubic,
)
from headstart.nn.ragged import Ragged

KINDS = {"Dinov2": {}, "Dinov2WithRegisters": {"num_register_tokens": 2}}


def dino(hf, kind: str, name: str = "Model", **settings: object):
    return make(hf, kind + name, f"{kind}Config", mlp_ratio=3, **(KINDS[kind] | settings))


@pytest.fixture
def save(hf, tmp_path):
    def write(kind: str, name: str = "Model", **settings: object):
        model = dino(hf, kind, name, **settings)
        model.save_pretrained(tmp_path / name)
        return model, tmp_path / name

    return write


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"hidden_act": "relu", "qkv_bias": False, "layerscale_value": 0.5},
     {"use_swiglu_ffn": True}],
)  # fmt: skip
def test_hidden_states_match_transformers_at_every_layer(hf, kind, settings):
    assert_layers_match(dino(hf, kind, **settings), images())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(21, 33), (33, 21), (30, 30), (10, 5), (45, 5)])
def test_positions_are_interpolated_to_other_sizes(hf, kind, size):
    """Not square, finer, coarser (where antialiasing shows), and as many patches as before."""
    assert_layers_match(dino(hf, kind), images(*size))


@torch.no_grad()
@pytest.mark.parametrize("resize", [bicubic, smoothed_bicubic])
@pytest.mark.parametrize("count", [2, 9])
def test_one_column_is_one_row_on_its_side(resize, count):
    """torch 2.13 gets it wrong, antialiased, unless channels come last in memory."""
    position = GridPositions((9, 7), 3, resize)
    torch.nn.init.normal_(position.weight, generator=torch.Generator().manual_seed(3))
    row = position(PatchLayout([(1, count)]))
    position.weight.copy_(position.weight.view(3, 3, 7).transpose(0, 1).reshape(9, 7))
    torch.testing.assert_close(position(PatchLayout([(count, 1)])), row)


def test_registers_have_their_own_resizing(hf):
    """Coarser grids tell plain from antialiased cubic convolution."""
    plain, smoothed = (
        backbone_and_rest(dino(hf, kind, image_size=35))[0].embeddings.position for kind in KINDS
    )
    smoothed.weight = plain.weight
    layout = patches(images(10, 15), 5).layout
    assert (plain(layout) - smoothed(layout)).abs().max() > 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gated", [False, True])
def test_gradients_match_transformers(hf, kind, gated):
    theirs = dino(hf, kind, "ForImageClassification", num_labels=3, use_swiglu_ffn=gated)
    assert_gradients_match(theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("pooling", ["family", "cls", "mean"])
def test_saved_is_opened_here_and_by_transformers(hf, save, tmp_path, kind, pooling, gated):
    _, source = save(kind, use_swiglu_ffn=gated)
    assert_saved_is_opened(hf, source, tmp_path / "model", pooling)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_gives_its_own_logits(save, kind):
    theirs, folder = save(kind, "ForImageClassification", id2label=dict(enumerate(LABELS)),
                          label2id={label: i for i, label in enumerate(LABELS)})  # fmt: skip
    network = open_network(folder)
    torch.testing.assert_close(network(patches(images(), 5)), theirs(images()).logits, **CLOSE)
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.labels, checkpoint.dropped) == (LABELS, ())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_runs_once(save, kind):
    _, folder = save(kind)
    assert_freezing_works(folder, 2, "family")
    assert_freezing_works(folder, 4, "mean")


def test_the_mask_token_is_handed_on_where_there_is_one(save, hf):
    _, folder = save("Dinov2")
    kept = open_checkpoint(folder).backbone.embeddings.mask_token
    assert torch.equal(kept, load_file(folder / "model.safetensors")["embeddings.mask_token"])
    _, without = save("Dinov2", "ForImageClassification", use_mask_token=False)
    checkpoint = open_checkpoint(without)
    assert not hasattr(checkpoint.backbone.embeddings, "mask_token")
    assert checkpoint.backbone.hf_config()["use_mask_token"] is False


def test_class_and_patches_by_hand():
    rows = [[[1.0], [50.0], [2.0], [4.0]], [[7.0], [60.0], [5.0]]]
    x = Ragged.from_rows([torch.tensor(row) for row in rows])
    assert ClassAndPatches(2)(x).tolist() == [[1.0, 3.0], [7.0, 5.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_config_goes_there_and_back(hf, kind):
    theirs = dino(hf, kind, hidden_act="relu", use_swiglu_ffn=True).config
    read = {"Dinov2": Dinov2Config, "Dinov2WithRegisters": RegisterConfig}[kind].from_hf
    ours = read(theirs.to_dict())
    assert read(ours.to_hf()) == ours
    for key, value in ours.to_hf().items():
        assert value == getattr(theirs, key), key


def test_defaults_are_those_of_transformers(hf):
    for kind, config in (("Dinov2", Dinov2Config), ("Dinov2WithRegisters", RegisterConfig)):
        theirs = getattr(hf, f"{kind}Config")()
        ours = config(theirs.hidden_size, theirs.num_hidden_layers, theirs.num_attention_heads)
        for key, value in ours.to_hf().items():
            assert value == getattr(theirs, key), key


def test_the_inner_width_of_the_giant():
    """facebook/dinov2-giant: width 1536, SwiGLU with 4096 inside."""
    giant = Dinov2Config(1536, 40, 24, gated=True)
    assert (giant.inner_width, Dinov2Config(1536, 40, 24).inner_width) == (4096, 6144)


def test_values_that_are_not_honoured_come_all_at_once(save):
    _, folder = save("Dinov2WithRegisters")
    assert faults_of(
        folder,
        drop_path_rate=0.1,
        hidden_size=23,
        mlp_ratio=0,
        hidden_act="gleu",
        use_swiglu_ffn="yes",
        num_register_tokens=-1,
    ) == [
        "drop_path_rate: 0.1 is not supported, only 0.0.",
        "num_attention_heads: 2 does not divide hidden_size 23.",
        "mlp_ratio: must be a number above 0; got 0.",
        "hidden_act: 'gleu' is not supported. Did you mean 'gelu'? Known: gelu, gelu_new, "
        "gelu_pytorch_tanh, relu, silu, swish.",
        "use_swiglu_ffn: must be true or false; got 'yes'.",
        "num_register_tokens: must be a whole number, 0 or more; got -1.",
    ]


def test_a_patch_larger_than_the_image(save):
    _, folder = save("Dinov2")
    assert faults_of(folder, patch_size=17) == [
        "patch_size: must be at most image_size 15; got 17."
    ]
