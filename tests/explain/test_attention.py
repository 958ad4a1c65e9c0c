"""Attention of every layer and head equals what transformers shows of the same random weights."""

from __future__ import annotations

import pytest
import torch
from tests.models.parity import backbone_and_rest, inputs, language_model
from torch import nn

from headstart.errors import CheckpointError
from headstart.explain.attention import encoder_attention, rollout, text_to_text_attention
from headstart.nn.patches import patches
from headstart.nn.ragged import Layout, Ragged

hf = pytest.importorskip("transformers")
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
LENGTHS = [11, 7, 1, 13]
SIZES = {"vocab_size": 101, "hidden_size": 22, "num_hidden_layers": 3, "num_attention_heads": 2,
         "intermediate_size": 31, "max_position_embeddings": 23, "pad_token_id": 0}  # fmt: skip
ROTARY = SIZES | {"num_key_value_heads": 1, "head_dim": 10}
T5 = {"vocab_size": 101, "d_model": 23, "d_kv": 5, "d_ff": 31, "num_layers": 3,
      "num_decoder_layers": 2, "num_heads": 3, "relative_attention_num_buckets": 13,
      "relative_attention_max_distance": 11, "decoder_start_token_id": 0}  # fmt: skip
ENCODERS = {
    "Bert": SIZES,
    "Roberta": SIZES | {"pad_token_id": 1},
    "DistilBert": {"vocab_size": 101, "dim": 22, "n_layers": 3, "n_heads": 2, "hidden_dim": 31,
                   "max_position_embeddings": 23},
    "GPT2": {"vocab_size": 101, "n_embd": 22, "n_layer": 3, "n_head": 2, "n_positions": 17,
             "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
    "Llama": ROTARY,
    "Mistral": ROTARY | {"sliding_window": 3},
    "ModernBert": SIZES | {"hidden_size": 28, "local_attention": 6, "bos_token_id": 3,
                           "eos_token_id": 5, "cls_token_id": 3, "sep_token_id": 5},
    "DebertaV2": SIZES | {"relative_attention": True, "pos_att_type": "p2c|c2p",
                          "position_buckets": 7, "type_vocab_size": 0, "norm_rel_ebd": "layer_norm",
                          "position_biased_input": False},
}  # fmt: skip


def make(name: str, config: str, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    values = getattr(hf, config)(**settings, attn_implementation="eager")
    model = getattr(hf, name)(values).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def rows(lengths: list[int], seed: int = 1) -> Ragged:
    torch.manual_seed(seed)
    return Ragged(torch.randint(2, 101, (sum(lengths),)), Layout(lengths))


def assert_equal(got: list[torch.Tensor], want: tuple[torch.Tensor, ...],
                 queries: Layout, keys: Layout) -> None:  # fmt: skip
    assert len(got) == len(want)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.shape == theirs.shape
        for row, (asking, seen) in enumerate(
            zip(queries.lengths.tolist(), keys.lengths.tolist(), strict=True)
        ):
            mine = ours[row, :, :asking, :seen]
            torch.testing.assert_close(mine, theirs[row, :, :asking, :seen], **CLOSE)
            torch.testing.assert_close(mine.sum(-1), torch.ones_like(mine[..., 0]), **CLOSE)


@pytest.mark.parametrize("family", ENCODERS)
@torch.no_grad()
def test_every_layer_and_head_equals_transformers(family):
    theirs = make(f"{family}Model", f"{family}Config", **ENCODERS[family])
    backbone, _ = backbone_and_rest(theirs)
    tokens = rows(LENGTHS)
    want = theirs(**inputs(theirs, tokens), output_attentions=True).attentions
    assert_equal(encoder_attention(backbone, tokens), want, tokens.layout, tokens.layout)


@torch.no_grad()
def test_an_encoder_with_a_decoder_shows_both_and_the_cross_attention():
    theirs = make("T5ForConditionalGeneration", "T5Config", **T5)
    source, target = rows(LENGTHS), rows([3, 5, 2, 7], 2)
    want = theirs(
        **inputs(theirs, source), decoder_input_ids=target.padded(), output_attentions=True
    )
    got = text_to_text_attention(language_model(theirs), source, target)
    assert_equal(got.encoder, want.encoder_attentions, source.layout, source.layout)
    assert_equal(got.decoder, want.decoder_attentions, target.layout, target.layout)
    assert_equal(got.cross, want.cross_attentions, target.layout, source.layout)


@torch.no_grad()
def test_patches_of_an_image_look_at_each_other():
    sizes = {"hidden_size": 22, "num_hidden_layers": 3, "num_attention_heads": 2,
             "intermediate_size": 31, "image_size": 15, "patch_size": 5}  # fmt: skip
    theirs = make("ViTModel", "ViTConfig", **sizes)
    backbone, _ = backbone_and_rest(theirs)
    pixels = torch.randn(4, 3, 15, 15)
    want = theirs(pixels, output_attentions=True).attentions
    got = encoder_attention(backbone, patches(pixels, 5))
    layout = Layout([1 + 9] * 4)
    assert_equal(got, want, layout, layout)


def test_what_is_computed_elsewhere_is_said_to_be():
    from headstart.models.bridge import bridged_family

    values = hf.ElectraConfig(**SIZES).to_dict()
    backbone = bridged_family(values).build(values).eval()
    with pytest.raises(CheckpointError, match="electra opens by the bridge"):
        encoder_attention(backbone, rows([5]))


def test_rollout_by_hand():
    """Two layers of one head on two tokens; 0.5 A + 0.5 I, the second times the first."""
    first = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    second = torch.tensor([[[1.0, 0.0], [0.6, 0.4]]])
    # (1 0; .3 .7) (.75 .25; 0 1)
    want = torch.tensor([[0.75, 0.25], [0.225, 0.775]])
    torch.testing.assert_close(rollout([first, second]), want)


def test_rollout_averages_heads_and_keeps_rows_at_one():
    torch.manual_seed(0)
    weights = [torch.randn(2, 3, 7, 7).softmax(-1) for _ in range(5)]
    rolled = rollout(weights)
    torch.testing.assert_close(rolled.sum(-1), torch.ones(2, 7))
    alone = rollout([layer[1].mean(0, keepdim=True) for layer in weights])
    torch.testing.assert_close(rolled[1], alone)
