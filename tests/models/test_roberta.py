from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.parity import (
    CLOSE,
    LABELS,
    assert_gradients_match,
    assert_heads_are_dropped,
    assert_layers_match,
    assert_saved_is_opened,
    backbone_and_rest,
    faults_of,
    inputs,
)

from headstart.models.checkpoint import open_checkpoint, open_network
from headstart.models.roberta import KEYS, Roberta, RobertaConfig
from headstart.nn.dropout import Dropout
from headstart.nn.ragged import Ragged

KINDS = {"Roberta": "roberta", "XLMRoberta": "xlm-roberta", "Camembert": "camembert"}
SIZES = {"vocabulary": 101, "width": 22, "num_blocks": 2, "num_heads": 2,
         "inner_width": 31, "max_positions": 29, "padding_token": 9}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_match_transformers_at_every_layer(make, tokens, kind):
    assert (tokens.values == 9).any(), "the padding token itself is among the tokens"
    assert_layers_match(make(f"{kind}Model"), tokens)


@pytest.mark.parametrize("activation", ["gelu_new", "relu", "silu"])
def test_other_activations_and_several_segments_match(make, tokens, segments, activation):
    theirs = make("RobertaModel", hidden_act=activation, type_vocab_size=5)
    assert_layers_match(theirs, tokens, segments)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_match_transformers(make, tokens, kind):
    assert_gradients_match(make(f"{kind}ForSequenceClassification", num_labels=3), tokens)


@torch.no_grad()
def test_the_longest_text_fits_exactly(make):
    """29 places, of which 0 to 9 are no token's: 19 tokens."""
    theirs = make("RobertaModel")
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(10, 101, (length,), generator=generator) for length in (19, 2)]
    assert_layers_match(theirs, Ragged.from_rows(rows))
    ours, _ = backbone_and_rest(theirs)
    assert ours.max_positions == 19
    with pytest.raises(IndexError):
        ours(Ragged.from_rows([torch.full((20,), 11)]))


def test_a_folder_of_today_has_512_positions(hf, tmp_path):
    """514 places and padding token 1, as published; the sizes are otherwise tiny."""
    config = {"vocab_size": 101, "hidden_size": 22, "num_hidden_layers": 1,
              "num_attention_heads": 2, "intermediate_size": 31}  # fmt: skip
    hf.RobertaModel(hf.RobertaConfig(**config, max_position_embeddings=514)).save_pretrained(
        tmp_path
    )
    checkpoint = open_checkpoint(tmp_path)
    assert (checkpoint.max_length, checkpoint.backbone.max_positions) == (512, 512)


@pytest.mark.parametrize("pooling", ["family", "cls", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_saved_is_opened_here_and_by_transformers(hf, save, tokens, tmp_path, kind, pooling):
    _, source = save(f"{kind}Model")
    assert_saved_is_opened(hf, source, tmp_path / "model", pooling, tokens)
    assert open_checkpoint(tmp_path / "model").family == KINDS[kind]


@torch.no_grad()
def test_a_classifier_gives_its_own_logits(save, tokens):
    theirs, folder = save(
        "RobertaForSequenceClassification",
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        classifier_dropout=0.3,
    )
    network = open_network(folder)
    torch.testing.assert_close(network(tokens), theirs(**inputs(theirs, tokens)).logits, **CLOSE)
    assert open_checkpoint(folder).labels == LABELS
    assert (network.dropout.p, network.pool.dropout.p) == (0.3, 0.3), "in front of both maps"


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("RobertaModel", "pooler.dense.weight"),
        ("RobertaForMaskedLM", "lm_head.dense.weight"),
        ("XLMRobertaForMaskedLM", "lm_head.layer_norm.bias"),
        ("CamembertForMaskedLM", "lm_head.bias"),
        ("RobertaForTokenClassification", "classifier.weight"),
        ("RobertaForQuestionAnswering", "qa_outputs.bias"),
        ("RobertaForMultipleChoice", "roberta.pooler.dense.bias"),
    ],
)
def test_heads_of_other_tasks_are_dropped_by_name(save, tokens, name, head):
    theirs, folder = save(name)
    assert_heads_are_dropped(theirs, folder, tokens, head)


def test_forgotten_buffers_are_dropped(save):
    _, folder = save("RobertaForMaskedLM")
    file = folder / "model.safetensors"
    buffers = {"roberta.embeddings.position_ids": torch.arange(29)[None],
               "lm_head.decoder.bias": torch.zeros(101)}  # fmt: skip
    save_file(load_file(file) | buffers, file, {"format": "pt"})
    assert set(buffers) <= set(open_checkpoint(folder).dropped)


def test_a_classifier_needs_its_own_head(save):
    _, folder = save("RobertaForSequenceClassification")
    file = folder / "model.safetensors"
    gone = ("classifier.dense.bias", "classifier.out_proj.weight",
            "roberta.embeddings.LayerNorm.bias")  # fmt: skip
    save_file({n: t for n, t in load_file(file).items() if n not in gone}, file, {"format": "pt"})
    said = [fault.split(", ", 1)[1].split(":")[0] for fault in faults_of(folder)]
    assert sorted(said) == sorted(gone)


def test_values_that_are_not_honoured_come_all_at_once(save):
    _, folder = save("RobertaModel")
    assert faults_of(
        folder,
        position_embedding_type="relative_key",
        is_decoder=True,
        hidden_act="mish",
        pad_token_id=None,
    ) == [
        "position_embedding_type: 'relative_key' is not supported, only 'absolute'.",
        "is_decoder: True is not supported, only False.",
        "hidden_act: 'mish' is not supported. Did you mean 'swish'? Known: gelu, gelu_new, "
        "gelu_pytorch_tanh, relu, silu, swish.",
        "pad_token_id: is null; places are counted from it.",
    ]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (28, "max_position_embeddings: 29 leaves no place behind pad_token_id 28."),
        (101, "pad_token_id: must be a token, 0 or more and below vocab_size 101; got 101."),
        (-1, "pad_token_id: must be a token, 0 or more and below vocab_size 101; got -1."),
    ],
)
def test_padding_tokens_that_leave_no_places(save, value, fault):
    _, folder = save("RobertaModel")
    assert faults_of(folder, pad_token_id=value, position_embedding_type="absolute",
                     is_decoder=False, hidden_act="gelu") == [fault]  # fmt: skip


def test_names_go_there_and_back(make):
    for kind, family in KINDS.items():
        names = make(f"{kind}ForSequenceClassification").state_dict().keys()
        match = KEYS.match(names)
        assert len(match.ours) == len(names), family
    assert match.ours["pooler.dense.bias"] == "classifier.dense.bias"
    assert match.ours["head.bias"] == "classifier.out_proj.bias"


def test_config_goes_there_and_back(make):
    theirs = make("RobertaModel", hidden_act="gelu_new", classifier_dropout=0.29).config
    ours = RobertaConfig.from_hf(theirs.to_dict())
    assert RobertaConfig.from_hf(ours.to_hf()) == ours
    for key, value in ours.to_hf().items():
        assert value == getattr(theirs, key, "absolute"), key
    assert RobertaConfig(101, 22, 1, 2, 31, 29).padding_token == 1


def test_dropout_is_where_roberta_has_it():
    roberta = Roberta(RobertaConfig(**SIZES, dropout=0.13, attention_dropout=0.17))
    rates = {name: m.p for name, m in roberta.named_modules() if isinstance(m, Dropout) and m.p}
    places = ("embeddings.dropout", "blocks.0.dropout", "blocks.1.dropout")
    assert rates == dict.fromkeys(places, 0.13)
    assert {block.attention.dropout for block in roberta.blocks} == {0.17}


def test_a_fresh_pooler_is_drawn_as_roberta_draws(save):
    _, folder = save("RobertaModel", initializer_range=0.07, hidden_dropout_prob=0.19)
    checkpoint = open_checkpoint(folder)
    torch.manual_seed(0)
    pooler = checkpoint.fresh_pooler()
    assert not pooler.dense.bias.any()
    assert abs(pooler.dense.weight.std().item() - 0.07) < 0.01
    assert pooler.dropout.p == 0.19
    torch.manual_seed(0)
    assert torch.equal(checkpoint.fresh_pooler().dense.weight, pooler.dense.weight)
