from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.parity import (
    CLOSE,
    assert_greedy_matches,
    assert_language_model_comes_back,
    assert_layers_match,
    assert_saved_is_opened,
    assert_text_to_text_matches,
    backbone_and_rest,
    faults_of,
    inputs,
    language_model,
)
from torch import nn

from headstart.errors import CheckpointError, RecipeError
from headstart.models.checkpoint import open_checkpoint, open_language_model
from headstart.models.families import FAMILIES
from headstart.models.language import TiedHead
from headstart.models.t5 import KEYS, T5
from headstart.models.t5_config import T5Config
from headstart.nn.dropout import Dropout
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.ragged import Ragged
from headstart.training.precision import PRECISIONS, choose_precision

FIRST = {}
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
KINDS = [FIRST, GATED, {"feed_forward_proj": "gated-silu"}]
SIZES = {"vocabulary": 101, "width": 23, "num_blocks": 3, "num_heads": 3, "head_width": 5,
         "inner_width": 31, "num_buckets": 13, "max_distance": 11}  # fmt: skip


def with_own_words(theirs: nn.Module) -> nn.Module:
    """Words scored by a table of their own, as the published T5 1.1 and mT5 have it."""
    theirs.lm_head.weight = nn.Parameter(torch.randn_like(theirs.shared.weight))
    theirs.all_tied_weights_keys.pop("lm_head.weight")
    return theirs


@pytest.fixture
def published(make, tmp_path):
    """A folder with words in a table of their own; its config.json says of ties what is given."""

    def write(name: str = "T5ForConditionalGeneration", **values: object) -> tuple[nn.Module, Path]:
        theirs, folder = with_own_words(make(name, **GATED)), tmp_path / name
        theirs.save_pretrained(folder)
        file = folder / "config.json"
        said = json.loads(file.read_text()) | values
        file.write_text(json.dumps({k: v for k, v in said.items() if v is not None}))
        return theirs, folder

    return write


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("name", ["T5EncoderModel", "MT5EncoderModel"])
def test_hidden_states_match_transformers_at_every_layer(make, tokens, name, settings):
    assert_layers_match(make(name, **settings), tokens)


@pytest.mark.parametrize("settings", [*KINDS, {"num_decoder_layers": None}])
@pytest.mark.parametrize("name", ["T5ForConditionalGeneration", "MT5ForConditionalGeneration"])
def test_words_and_gradients_match_transformers(make, tokens, targets, name, settings):
    assert_text_to_text_matches(make(name, **settings), tokens, targets)


@pytest.mark.parametrize("name", ["T5ForConditionalGeneration", "MT5ForConditionalGeneration"])
def test_words_of_their_own_match_transformers(make, tokens, targets, name):
    assert_text_to_text_matches(with_own_words(make(name, **GATED)), tokens, targets)


@pytest.mark.parametrize("settings", [FIRST, GATED])
def test_greedy_texts_are_those_of_transformers(make, tokens, settings):
    for name in ("T5ForConditionalGeneration", "MT5ForConditionalGeneration"):
        assert_greedy_matches(make(name, **settings), tokens)


def test_rows_end_where_they_end(make, tokens):
    """With the likeliest word made the end, some rows are over before others."""
    theirs = make("T5ForConditionalGeneration")
    said = theirs.generate(**inputs(theirs, tokens), max_new_tokens=5, do_sample=False)
    theirs.config.eos_token_id = theirs.generation_config.eos_token_id = int(said[0, 2])
    assert_greedy_matches(theirs, tokens)


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("name", ["T5", "MT5"])
def test_a_saved_encoder_is_opened_here_and_by_transformers(
    hf, save, tokens, tmp_path, name, settings
):
    _, source = save(f"{name}ForConditionalGeneration", **settings)
    opens = getattr(hf, f"{name}EncoderModel").from_pretrained
    assert_saved_is_opened(hf, source, tmp_path / "model", "mean", tokens, opens)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == [f"{name}EncoderModel"]


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("name", ["T5ForConditionalGeneration", "MT5ForConditionalGeneration"])
def test_a_saved_language_model_comes_back(hf, save, tokens, tmp_path, name, settings):
    _, source = save(name, **settings)
    assert_language_model_comes_back(hf, source, tmp_path / "again", tokens)


@pytest.mark.parametrize("name", ["T5ForConditionalGeneration", "MT5ForConditionalGeneration"])
def test_words_of_their_own_come_back(hf, published, tokens, tmp_path, name):
    _, source = published(name)
    assert_language_model_comes_back(hf, source, tmp_path / "again", tokens)
    said = json.loads((tmp_path / "again" / "config.json").read_text())
    assert (said["tie_word_embeddings"], said["scale_decoder_outputs"]) == (False, False)
    assert "lm_head.weight" in load_file(tmp_path / "again" / "model.safetensors")


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "values"),
    [  # what transformers 5 writes, and what it wrote before
        ("T5ForConditionalGeneration", {}),
        ("T5ForConditionalGeneration",
         {"tie_word_embeddings": False, "scale_decoder_outputs": None}),
        ("MT5ForConditionalGeneration", {}),
        ("MT5ForConditionalGeneration",
         {"tie_word_embeddings": False, "scale_decoder_outputs": None}),
    ],
)  # fmt: skip
def test_whose_words_are_scored_is_settled_by_the_weights(published, tokens, name, values):
    theirs, folder = published(name, **values)
    model = open_language_model(folder).model
    assert isinstance(model.lm_head, nn.Linear)
    want = theirs(**inputs(theirs, tokens), decoder_input_ids=tokens.padded()).logits
    torch.testing.assert_close(model(tokens, tokens).values, tokens.layout.pack(want), **CLOSE)
    backbone = open_checkpoint(folder).backbone
    assert torch.equal(backbone(tokens).values, model.backbone(tokens).values)


@pytest.mark.parametrize("settings", KINDS)
def test_the_scale_of_what_scores_words(make, settings):
    """T5 1.0 divides by the square root of D what its embeddings then score."""
    head = language_model(make("T5ForConditionalGeneration", **settings)).lm_head
    assert isinstance(head, TiedHead)
    assert head.scale == (1.0 if settings is GATED else 23**-0.5)


def test_own_words_against_what_config_says(published):
    _, folder = published(tie_word_embeddings=True, scale_decoder_outputs=True)
    with pytest.raises(CheckpointError, match=r"lm_head\.weight: differs from shared\.weight"):
        open_language_model(folder)


@torch.no_grad()
def test_a_decoder_is_dropped_by_name(save, tokens):
    theirs, folder = save("T5ForConditionalGeneration")
    checkpoint = open_checkpoint(folder)
    want = theirs.encoder(**inputs(theirs, tokens)).last_hidden_state
    got = checkpoint.backbone(tokens).values
    torch.testing.assert_close(got, tokens.layout.pack(want), **CLOSE)
    stored = load_file(folder / "model.safetensors")
    assert set(checkpoint.dropped) == {name for name in stored if name.startswith("decoder.")}
    assert (checkpoint.classifier, checkpoint.default_pooling) == (None, "mean")
    assert (checkpoint.max_length, checkpoint.backbone.max_positions) == (512, 32_768)


def test_names_of_old_checkpoints(save):
    """Tied tensors stored again and again, and a bias of 2019 that nothing reads."""
    _, folder = save("T5ForConditionalGeneration")
    file = folder / "model.safetensors"
    stored = load_file(file)
    again = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    more = {name: stored["shared.weight"].clone() for name in again}
    unread = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    before = open_language_model(folder).model.state_dict()
    save_file(stored | more | {unread: torch.zeros(13, 3)}, file, {"format": "pt"})
    opened = open_language_model(folder)
    assert set(opened.dropped) == {*again, unread}
    after = opened.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("T5ForSequenceClassification", "classification_head.dense.weight"),
        ("T5ForTokenClassification", "classifier.bias"),
        ("T5ForQuestionAnswering", "qa_outputs.weight"),
    ],
)
def test_heads_of_other_tasks_are_dropped_by_name(save, name, head):
    _, folder = save(name)
    assert head in open_checkpoint(folder).dropped


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_never_float16(save, monkeypatch, stored):
    """Whatever weights are stored in, they are computed in float32; no recipe can say otherwise."""
    theirs, folder = save("T5ForConditionalGeneration")
    theirs.to(stored).save_pretrained(folder)
    for module in (open_checkpoint(folder).backbone, open_language_model(folder).model):
        assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert set(PRECISIONS) == {"float32", "bf16"}
    monkeypatch.setenv("HEADSTART_PRECISION", "float16")
    with pytest.raises(RecipeError, match="no precision is called 'float16'"):
        choose_precision()


@torch.no_grad()
def test_bfloat16_is_near(make, tokens, targets):
    model = language_model(make("T5ForConditionalGeneration"))
    exact = model(tokens, targets).values
    with torch.autocast("cpu", torch.bfloat16):
        near = model(tokens, targets).values.float()
    assert (near - exact).abs().max() < 0.1 * exact.abs().max()


@torch.no_grad()
def test_the_bias_is_shared_and_owned_once(make, tokens):
    first, _ = backbone_and_rest(make("T5EncoderModel"))
    ours = copy.deepcopy(first)  # as each arm of a comparison has it
    before = first(tokens).values
    owned = [name for name in ours.state_dict() if "relative" in name]
    assert owned == ["blocks.0.attention.relative.table.weight"]
    states = ours.hidden_states(tokens)
    ours.blocks[0].attention.relative.table.weight.mul_(-3)
    later = ours.blocks[2](states[2]).values
    assert not torch.allclose(ours.finish(later), states[3].values), "it reaches the last block"
    assert torch.equal(first(tokens).values, before), "and not the one it was copied from"


def test_values_that_are_not_honoured_come_all_at_once(save):
    _, folder = save("T5EncoderModel")
    known = "gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish"
    faults = faults_of(
        folder,
        is_decoder=True,
        quantization_config={"bits": 4},
        num_layers=0,
        num_decoder_layers=1.5,
        d_kv="5",
        relative_attention_num_buckets=3,
        dropout_rate=1,
        layer_norm_epsilon=0,
        feed_forward_proj="gated-gleu",
        dense_act_fn="relu",
        is_gated_act=False,
        pad_token_id=101,
        decoder_start_token_id=-1,
        tie_word_embeddings="no",
    )
    assert faults == [
        "is_decoder: True is not supported, only False.",
        "quantization_config: {'bits': 4} is not supported, only None.",
        "is_gated_act: False is not supported, only True.",
        "dense_act_fn: 'relu' is not supported, only 'gleu'.",
        "num_layers: must be a whole number, 1 or more; got 0.",
        "d_kv: must be a whole number, 1 or more; got '5'.",
        "num_decoder_layers: must be a whole number, 1 or more; got 1.5.",
        "relative_attention_num_buckets: must be a whole number, 4 or more; got 3.",
        "pad_token_id: must be a token, 0 or more and below vocab_size 101; got 101.",
        "decoder_start_token_id: must be a token, 0 or more and below the 101 words of a target; "
        "got -1.",
        "dropout_rate: must be at least 0 and below 1; got 1.",
        "layer_norm_epsilon: must be a number above 0; got 0.",
        "feed_forward_proj: 'gated-gleu' is not supported. Did you mean 'gated-gelu'? "
        f"Known: {known}, {', '.join('gated-' + name for name in known.split(', '))}.",
        "tie_word_embeddings: must be true or false; got 'no'.",
    ]


def test_values_that_do_not_go_together(save):
    with pytest.raises(ValueError, match=r"must be above half of .*buckets 13; got 6"):
        T5Config(**SIZES | {"max_distance": 6})
    with pytest.raises(ValueError, match="true is not supported where tie_word_embed"):
        T5Config(**SIZES, tied=False, scaled=True)
    _, folder = save("MT5EncoderModel")
    assert faults_of(folder, scale_decoder_outputs=True) == [
        "scale_decoder_outputs: True is not supported, only False."
    ]


def test_a_target_begins_with_a_token(save):
    _, folder = save("T5ForConditionalGeneration", decoder_start_token_id=None)
    open_checkpoint(folder)
    with pytest.raises(CheckpointError, match="decoder_start_token_id: is missing"):
        open_language_model(folder)


@pytest.mark.parametrize("settings", [*KINDS, {"eos_token_id": [1, 7], "pad_token_id": 3}])
@pytest.mark.parametrize("name", ["T5EncoderModel", "MT5EncoderModel"])
def test_config_goes_there_and_back(make, name, settings):
    theirs = make(name, **settings).config
    ours = T5Config.from_hf(theirs.to_dict())
    assert T5Config.from_hf({**ours.to_hf(), "model_type": theirs.model_type}) == ours
    for key, value in ours.to_hf().items():
        if hasattr(theirs, key) and key != "is_encoder_decoder":
            assert value == getattr(theirs, key), key


def test_names_go_there_and_back(make):
    for settings in KINDS:
        names = set(make("T5ForConditionalGeneration", **settings).state_dict())
        tied = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
        match = KEYS.match(names - tied)
        assert not match.unknown
        assert len(match.ours) == len(names - tied)
        for ours, theirs in match.ours.items():
            assert KEYS.to_theirs(ours) == theirs


def test_dropout_is_where_t5_has_it(make):
    """After the embeddings and the last norm, of each update, inside the feed-forward."""
    for settings, inside in ((FIRST, "feed_forward.activation.dropout"),
                             (GATED, "feed_forward.dropout")):  # fmt: skip
        model = language_model(make("T5ForConditionalGeneration", dropout_rate=0.13, **settings))
        rates = {name: m.p for name, m in model.named_modules() if isinstance(m, Dropout) and m.p}
        stacks = {"backbone": 3, "decoder": 2}
        blocks = [f"{s}.blocks.{i}" for s, count in stacks.items() for i in range(count)]
        places = [f"{s}.{end}" for s in stacks for end in ("embeddings.dropout", "finish.1")]
        places += [f"{block}.{end}" for block in blocks for end in ("dropout", inside)]
        assert rates == dict.fromkeys(places, 0.13)
        attention = [m for m in model.modules() if isinstance(m, MultiHeadAttention)]
        assert {m.dropout for m in attention} == {0.13}


@pytest.mark.parametrize("settings", [FIRST, GATED])
def test_new_weights_are_drawn_as_t5_draws(hf, settings):
    sizes = {"vocab_size": 211, "d_model": 67, "d_kv": 13, "d_ff": 131, "num_layers": 2,
             "num_heads": 3, "decoder_start_token_id": 0, "initializer_factor": 0.7}  # fmt: skip
    torch.manual_seed(0)
    theirs = hf.T5ForConditionalGeneration(hf.T5Config(**sizes, **settings))
    model = FAMILIES["t5"].language.build(theirs.config.to_dict())
    state = {start + name: tensor for start, module in model.parts().items()
             for name, tensor in module.state_dict().items()}  # fmt: skip
    ours = FAMILIES["t5"].their_weights(state, whole=True)
    for name, want in theirs.named_parameters():
        if "norm" in name:
            assert torch.equal(ours[name], want), name
        else:
            assert abs(ours[name].std() / want.std() - 1) < 0.35, name


def test_sentinels_are_words_as_any_other():
    """T5's tokenizer knows 32,100 words, the last 100 of them sentinels; its table has 32,128."""
    ours = T5(T5Config(**SIZES | {"vocabulary": 32_128, "num_blocks": 1}))
    tokens = Ragged.from_rows([torch.tensor([32_099, 7, 32_000]), torch.tensor([32_127])])
    states = ours(tokens).values
    assert torch.isfinite(states).all()
    states.sum().backward()
    moved = ours.embeddings.token.weight.grad.abs().sum(1).nonzero().flatten()
    assert moved.tolist() == [7, 32_000, 32_099, 32_127]


@torch.no_grad()
def test_longer_texts_than_in_pre_training_are_read(make):
    theirs = make("T5EncoderModel")
    tokens = Ragged.from_rows([torch.arange(601) % 101, torch.arange(2)])
    assert_layers_match(theirs, tokens)
