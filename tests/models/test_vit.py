from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
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

from headstart.errors import RecipeError
from headstart.models.checkpoint import open_checkpoint, open_network
from headstart.models.vit import DEIT_KEYS, KEYS, Vit, VitConfig
from headstart.nn.dropout import Dropout
from headstart.nn.patches import patches
from headstart.nn.ragged import Ragged
from headstart.report.models import describe
from headstart.training.stage import Workshop

KINDS = ["ViT", "DeiT"]


@pytest.fixture
def save(hf, tmp_path):
    def write(kind: str, name: str = "Model", **settings: object):
        model = make(hf, kind + name, f"{kind}Config", **settings)
        model.save_pretrained(tmp_path / name)
        return model, tmp_path / name

    return write


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{}, {"hidden_act": "relu"}, {"qkv_bias": False}])
def test_hidden_states_match_transformers_at_every_layer(hf, kind, settings):
    theirs = make(hf, f"{kind}Model", f"{kind}Config", **settings)
    assert_layers_match(theirs, images())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(21, 33), (33, 21), (30, 30), (10, 5), (45, 5)])
def test_positions_are_interpolated_to_other_sizes(hf, kind, size):
    """Not square, finer, coarser, and a grid (9 x 1) of as many patches as in pre-training."""
    theirs = make(hf, f"{kind}Model", f"{kind}Config")
    assert_layers_match(theirs, images(*size), interpolate_pos_encoding=True)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_images_of_unequal_sizes_share_a_batch(hf, kind):
    theirs = make(hf, f"{kind}Model", f"{kind}Config")
    ours, _ = backbone_and_rest(theirs)
    pixels = [images(*size)[0] for size in ((15, 15), (21, 33), (10, 5))]
    got = ours(patches(pixels, 5)).split()
    for image, states in zip(pixels, got, strict=True):
        want = theirs(image[None], interpolate_pos_encoding=True).last_hidden_state[0]
        torch.testing.assert_close(states, want, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_match_transformers(hf, kind):
    theirs = make(hf, f"{kind}ForImageClassification", f"{kind}Config", num_labels=3)
    assert_gradients_match(theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["family", "cls", "mean"])
def test_saved_is_opened_here_and_by_transformers(hf, save, tmp_path, kind, pooling):
    _, source = save(kind)
    assert_saved_is_opened(hf, source, tmp_path / "model", pooling)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_gives_its_own_logits(save, kind):
    theirs, folder = save(kind, "ForImageClassification", id2label=dict(enumerate(LABELS)),
                          label2id={label: i for i, label in enumerate(LABELS)})  # fmt: skip
    network = open_network(folder)
    torch.testing.assert_close(network(patches(images(), 5)), theirs(images()).logits, **CLOSE)
    assert open_checkpoint(folder).labels == LABELS


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_runs_once(save, kind):
    _, folder = save(kind)
    assert_freezing_works(folder, 2, "family")
    assert_freezing_works(folder, 4, "mean")


@pytest.mark.parametrize(
    ("kind", "name", "dropped"),
    [
        ("ViT", "Model", ("pooler.dense.bias", "pooler.dense.weight")),
        ("ViT", "ForMaskedImageModeling",
         ("decoder.0.bias", "decoder.0.weight", "vit.embeddings.mask_token")),
        ("DeiT", "ForImageClassificationWithTeacher",
         ("cls_classifier.bias", "cls_classifier.weight",
          "distillation_classifier.bias", "distillation_classifier.weight")),
    ],
)  # fmt: skip
@torch.no_grad()
def test_heads_of_other_tasks_are_dropped_by_name(save, kind, name, dropped):
    theirs, folder = save(kind, name, encoder_stride=5)
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.dropped, checkpoint.head, checkpoint.fresh) == (dropped, None, ())
    want = theirs.base_model(images()).last_hidden_state
    torch.testing.assert_close(checkpoint.backbone(patches(images(), 5)).padded(), want, **CLOSE)


def test_names_of_transformers_5_are_read_as_well(save):
    theirs, folder = save("ViT", "ForImageClassification")
    before = open_network(folder).state_dict()
    file = folder / "model.safetensors"
    written = load_file(file)
    save_file({n: t.clone() for n, t in theirs.state_dict().items()}, file, {"format": "pt"})
    assert load_file(file).keys() != written.keys()
    after = open_network(folder).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_names_go_there_and_back(hf):
    for kind, keys in (("ViT", KEYS), ("DeiT", DEIT_KEYS)):
        theirs = make(hf, f"{kind}ForImageClassification", f"{kind}Config")
        ours, rest = backbone_and_rest(theirs)
        written = keys.write(ours.state_dict() | rest, lambda name: "")
        match = keys.match(written)
        assert len(match.ours) == len(written) == len(theirs.state_dict())
        assert not match.unknown


def test_config_goes_there_and_back(hf):
    theirs = make(hf, "ViTModel", "ViTConfig", hidden_act="relu", qkv_bias=False).config
    ours = VitConfig.from_hf(theirs.to_dict())
    assert VitConfig.from_hf(ours.to_hf()) == ours
    for key, value in ours.to_hf().items():
        assert value == getattr(theirs, key), key


def test_values_that_are_not_honoured_come_all_at_once(save):
    _, folder = save("ViT")
    assert faults_of(
        folder,
        quantization_config={"bits": 4},
        head_dim=13,
        num_hidden_layers=0,
        image_size=[15, 15],
        hidden_dropout_prob=1,
        hidden_act="gleu",
        qkv_bias="yes",
    ) == [
        "quantization_config: {'bits': 4} is not supported, only None.",
        "head_dim: 13 is not supported, only None.",
        "num_hidden_layers: must be a whole number, 1 or more; got 0.",
        "image_size: must be a whole number, 1 or more; got [15, 15].",
        "hidden_dropout_prob: must be at least 0 and below 1; got 1.",
        "hidden_act: 'gleu' is not supported. Did you mean 'gelu'? Known: gelu, gelu_new, "
        "gelu_pytorch_tanh, relu, silu, swish.",
        "qkv_bias: must be true or false; got 'yes'.",
    ]


def test_a_patch_larger_than_the_image(save):
    _, folder = save("DeiT")
    assert faults_of(folder, patch_size=17) == [
        "patch_size: must be at most image_size 15; got 17."
    ]


def test_a_shape_that_differs_is_told_as_theirs(save):
    _, folder = save("ViT")
    assert [fault.split(", ", 1)[1] for fault in faults_of(folder, patch_size=3)] == [
        "embeddings.patch_embeddings.projection.weight: has shape (22, 3, 5, 5); "
        "config.json says (22, 3, 3, 3).",
        "embeddings.position_embeddings: has shape (1, 10, 22); config.json says (1, 26, 22).",
    ]


def test_dropout_is_where_vit_has_it():
    config = VitConfig(22, 2, 2, 31, image_size=15, patch_size=5, dropout=0.13,
                       attention_dropout=0.17)  # fmt: skip
    ours = Vit(config)
    rates = {name: m.p for name, m in ours.named_modules() if isinstance(m, Dropout) and m.p}
    assert rates == dict.fromkeys(("embeddings.dropout", "blocks.0.dropout", "blocks.1.dropout"),
                                  0.13)  # fmt: skip
    assert {block.attention.dropout for block in ours.blocks} == {0.17}


@torch.no_grad()
def test_rows_without_grids_are_images_of_the_usual_size(hf):
    ours, _ = backbone_and_rest(make(hf, "ViTModel", "ViTConfig"))
    given = patches(images(), 5)
    plain = Ragged.from_rows(given.split())
    assert torch.equal(ours(plain).values, ours(given).values)
    with pytest.raises(ValueError, match="only images of 3 x 3 patches"):
        ours(Ragged.from_rows([row[:4] for row in given.split()]))


def test_what_trains_on_texts_says_that_it_reads_images(save):
    """And what a model takes to train is told for images as well."""
    _, folder = save("ViT")
    with pytest.raises(RecipeError, match="a vit reads images, and stages read texts"):
        Workshop().checkpoint(str(folder))
    said = describe(folder)
    assert said["positions"] == "learned on a grid that is resized"
    assert said["memory"]["length"] == 9
    assert min(said["memory"]["bytes"].values()) > 0


def test_how_images_are_prepared_goes_along(hf, save, tmp_path):
    _, source = save("ViT")
    (source / "preprocessor_config.json").write_text('{"do_rescale": false, "size": 17}')
    assert_saved_is_opened(hf, source, tmp_path / "model", "family")
    kept = (tmp_path / "model" / "preprocessor_config.json").read_text()
    assert kept == '{"do_rescale": false, "size": 17}'
