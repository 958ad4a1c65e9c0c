from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.parity import (
    CLOSE,
    LABELS,
    assert_gradients_match,
    assert_heads_are_dropped,
    assert_language_matches,
    assert_language_model_comes_back,
    assert_layers_match,
    assert_saved_is_opened,
    backbone_and_rest,
    faults_of,
    inputs,
)

from headstart.models.checkpoint import open_checkpoint, open_network
from headstart.models.llama import KEYS, Llama
from headstart.models.llama_config import NAMES as HF_NAMES
from headstart.models.llama_config import LlamaConfig
from headstart.models.network import Last
from headstart.nn.dropout import Dropout
from headstart.nn.normed import NormedPlacement
from headstart.nn.ragged import Layout, Ragged

NAMES = ("Llama", "Mistral", "Qwen2", "Qwen3")
LINEAR = {"rope_type": "linear", "factor": 3.0, "rope_theta": 100.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 100.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 0.2, "high_freq_factor": 1.0,
          "original_max_position_embeddings": 11, "rope_theta": 100.0}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 2, "beta_slow": 0.1, "rope_theta": 100.0,
        "original_max_position_embeddings": 11}  # fmt: skip
SLIDING = {"use_sliding_window": True, "sliding_window": 3}
BY_LAYER = ["sliding_attention", "full_attention", "sliding_attention"]
VARIANTS = [
    ("Llama", {}),
    ("Llama", {"attention_bias": True, "mlp_bias": True}),
    ("Llama", {"num_key_value_heads": 4, "rms_norm_eps": 0.03, "hidden_act": "gelu"}),
    ("Llama", {"num_key_value_heads": 1, "head_dim": None, "hidden_size": 24}),
    *(("Llama", {"rope_parameters": said}) for said in (LINEAR, DYNAMIC, LLAMA3, YARN)),
    ("Mistral", {}),
    ("Mistral", {"sliding_window": None}),
    ("Mistral", {"sliding_window": 1, "rope_parameters": YARN}),
    ("Qwen2", {}),
    ("Qwen2", SLIDING | {"max_window_layers": 1, "rope_parameters": LINEAR}),
    ("Qwen2", SLIDING | {"layer_types": BY_LAYER}),
    ("Qwen3", {"attention_bias": True}),
    ("Qwen3", SLIDING | {"layer_types": BY_LAYER}),
    ("Qwen3", SLIDING | {"max_window_layers": 2, "rope_parameters": YARN}),
]


def sizes(family="llama", **more):
    said = {"vocabulary": 101, "width": 28, "num_blocks": 3, "num_heads": 4, "inner_width": 31,
            "max_positions": 17, "num_key_heads": 2, "head_width": 10}  # fmt: skip
    return LlamaConfig(**said | more, family=family)


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_hidden_states_match_transformers_at_every_layer(make, tokens, name, settings):
    assert_layers_match(make(f"{name}Model", **settings), tokens)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_match_transformers(make, tokens, name):
    assert_gradients_match(make(f"{name}ForSequenceClassification", num_labels=3), tokens)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_words_loss_and_gradients_match_transformers(make, tokens, name, tied):
    assert_language_matches(make(f"{name}ForCausalLM", tie_word_embeddings=tied), tokens)


@pytest.mark.parametrize("pooling", ["family", "last", "mean"])
@pytest.mark.parametrize("name", NAMES)
def test_saved_is_opened_here_and_by_transformers(hf, save, tokens, tmp_path, name, pooling):
    _, source = save(f"{name}Model")
    assert_saved_is_opened(hf, source, tmp_path / "model", pooling, tokens)


@pytest.mark.parametrize(("name", "settings"), [*VARIANTS, *((n, {"tie_word_embeddings": True})
                                                             for n in NAMES)])  # fmt: skip
def test_a_language_model_comes_back(hf, save, tokens, tmp_path, name, settings):
    _, source = save(f"{name}ForCausalLM", **settings)
    assert_language_model_comes_back(hf, source, tmp_path / "model", tokens)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_classifier_gives_its_own_logits(save, tokens, name):
    theirs, folder = save(
        f"{name}ForSequenceClassification",
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    network, checkpoint = open_network(folder), open_checkpoint(folder)
    torch.testing.assert_close(network(tokens), theirs(**inputs(theirs, tokens)).logits, **CLOSE)
    assert (checkpoint.labels, checkpoint.default_pooling) == (LABELS, "family")
    assert isinstance(network.pool, Last) and network.head.bias is None


@pytest.mark.parametrize("said", [LINEAR, LLAMA3, YARN])
@torch.no_grad()
def test_the_old_spelling_of_rotary_places_opens_alike(save, tokens, said):
    """As transformers wrote it before version 5."""
    theirs, folder = save("LlamaModel", rope_parameters=said)
    file = folder / "config.json"
    values = json.loads(file.read_text())
    said = values.pop("rope_parameters")
    values["rope_theta"] = said.pop("rope_theta")
    said["type"] = said.pop("rope_type")
    file.write_text(json.dumps(values | {"rope_scaling": said}))
    got = open_checkpoint(folder).backbone(tokens).values
    want = theirs(**inputs(theirs, tokens)).last_hidden_state
    torch.testing.assert_close(got, tokens.layout.pack(want), **CLOSE)


@torch.no_grad()
def test_rows_that_go_on_turn_from_where_they_start(make):
    """Keys of a row's second half, read alone from its place, are those of the whole row."""
    ours, _ = backbone_and_rest(make("Qwen3Model"))
    attention = ours.blocks[1].attention
    values = torch.randn(13, 22, generator=torch.Generator().manual_seed(5))
    whole, _ = attention.remember(Ragged(values, Layout([13])))
    rest, _ = attention.remember(Ragged(values[7:], Layout([6], starts=torch.tensor([7]))))
    torch.testing.assert_close(rest.values, whole.values[7:], **CLOSE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("task", "head"),
    [
        ("ForCausalLM", "lm_head.weight"),
        ("ForTokenClassification", "score.bias"),
        ("ForQuestionAnswering", "qa_outputs.bias"),
    ],
)
def test_heads_of_other_tasks_are_dropped_by_name(save, tokens, name, task, head):
    theirs, folder = save(name + task)
    assert_heads_are_dropped(theirs, folder, tokens, head, fresh=())


def test_forgotten_rates_are_dropped_by_name(save):
    _, folder = save("LlamaModel")
    file = folder / "model.safetensors"
    rates = {"layers.0.self_attn.rotary_emb.inv_freq": torch.ones(5), "rotary_emb.inv_freq":
             torch.ones(5)}  # fmt: skip
    save_file(load_file(file) | rates, file, {"format": "pt"})
    assert open_checkpoint(folder).dropped == tuple(rates)


def test_a_classifier_needs_its_own_head(save):
    _, folder = save("Qwen3ForSequenceClassification")
    file = folder / "model.safetensors"
    gone = ("score.weight", "model.layers.2.self_attn.q_norm.weight")
    save_file({n: t for n, t in load_file(file).items() if n not in gone}, file, {"format": "pt"})
    said = [fault.split(", ", 1)[1].split(":")[0] for fault in faults_of(folder)]
    assert sorted(said) == sorted(gone)


def test_biases_that_the_config_does_not_name_are_unexpected(save):
    _, folder = save("LlamaModel", mlp_bias=True)
    said = [fault.split(", ", 1)[1] for fault in faults_of(folder, mlp_bias=False)]
    assert len(said) == 9
    assert all(fault.endswith("is unexpected; config.json has no such part.") for fault in said)


def test_values_that_are_not_honoured_come_all_at_once(save):
    _, folder = save("LlamaModel")
    assert faults_of(
        folder,
        quantization_config={"bits": 4},
        num_attention_heads=5,
        head_dim=7,
        attention_dropout=1,
        rms_norm_eps=0,
        hidden_act="slu",
        rope_parameters={"rope_type": "yran"},
        attention_bias="no",
        tie_word_embeddings=0,
        pad_token_id=-1,
    ) == [
        "quantization_config: {'bits': 4} is not supported, only None.",
        "num_attention_heads: 5 does not divide hidden_size 28.",
        "num_key_value_heads: 2 does not divide num_attention_heads 5.",
        "pad_token_id: must be a token, 0 or more and below vocab_size 101; got -1.",
        "attention_dropout: must be at least 0 and below 1; got 1.",
        "rms_norm_eps: must be a number above 0; got 0.",
        "hidden_act: 'slu' is not supported. Did you mean 'silu'? Known: gelu, gelu_new, "
        "gelu_pytorch_tanh, relu, silu, swish.",
        "rope_parameters or rope_scaling, rope_type: 'yran' is not supported. Did you mean "
        "'yarn'? Known: default, linear, dynamic, llama3, yarn.",
        "attention_bias: must be true or false; got 'no'.",
        "tie_word_embeddings: must be true or false; got 0.",
    ]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"use_mrope": True}, "use_mrope: True is not supported, only False."),
        ({"use_sliding_window": 1}, "use_sliding_window: must be true or false; got 1."),
        ({"sliding_window": 0}, "sliding_window: must be a whole number, 1 or more; got 0."),
        ({"max_window_layers": -1},
         "max_window_layers: must be a whole number, 0 or more; got -1."),
        ({"layer_types": ["full_attention"]},
         "layer_types: must be a list of 3, one for each of num_hidden_layers; got "
         "['full_attention']."),
        ({"layer_types": ["full_attention", "chunked_attention", "full_attention"]},
         "layer_types: 'chunked_attention' is not supported, only 'full_attention' and "
         "'sliding_attention'."),
        ({"layer_types": BY_LAYER}, "layer_types: has 'sliding_attention', which needs "
         "use_sliding_window true and a sliding_window."),
        ({"head_dim": 7}, "head_dim: must be even, because pairs of elements turn; got 7."),
        ({"head_dim": 0}, "head_dim: must be a whole number, 1 or more; got 0."),
    ],
)  # fmt: skip
def test_what_qwen_cannot_be(save, values, fault):
    _, folder = save("Qwen2Model")
    assert faults_of(folder, **values) == [fault]


@pytest.mark.parametrize("family", HF_NAMES)
def test_values_that_are_missing(family):
    with pytest.raises(ValueError) as caught:
        LlamaConfig.from_hf(family, {"vocab_size": 101, "num_attention_heads": 4})
    assert [line.split(":")[0] for line in str(caught.value).split("\n")] == [
        "intermediate_size", "max_position_embeddings", "num_hidden_layers", "hidden_size"
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_go_there_and_back(make, name):
    names = make(f"{name}ForCausalLM").state_dict().keys()
    match = KEYS.match(names)
    assert len(match.ours) == len(names)
    assert (
        match.ours["blocks.2.feed_forward.narrow.weight"] == "model.layers.2.mlp.down_proj.weight"
    )
    assert {KEYS.to_theirs(n, "" if n.startswith("lm_head") else "model.") for n in match.ours} == (
        set(names)
    )


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_config_goes_there_and_back(make, name, settings):
    theirs = make(f"{name}Model", **settings, attention_dropout=0.29).config
    ours = LlamaConfig.from_hf(name.lower(), theirs.to_dict())
    assert LlamaConfig.from_hf(name.lower(), ours.to_hf()) == ours
    for key, value in ours.to_hf().items():
        if key not in ("rope_theta", "rope_scaling"):  # for older readers
            assert value == getattr(theirs, key), key


@pytest.mark.parametrize("name", NAMES)
def test_what_a_config_leaves_out_is_as_transformers_has_it(hf, name):
    said = {"vocab_size": 101, "hidden_size": 64, "num_hidden_layers": 31,
            "num_attention_heads": 32, "intermediate_size": 31,
            "max_position_embeddings": 17}  # fmt: skip
    ours = LlamaConfig.from_hf(name.lower(), said)
    theirs = LlamaConfig.from_hf(name.lower(), getattr(hf, f"{name}Config")(**said).to_dict())
    for one in ("key_heads", "width_of_head", "rope", "attention_bias", "inner_bias", "tied",
                "norm_epsilon", "start_token", "end_token", "padding_token"):  # fmt: skip
        assert getattr(ours, one) == getattr(theirs, one), one
    assert [ours.reach(i) for i in range(31)] == [theirs.reach(i) for i in range(31)]


def test_what_each_block_sees():
    """A window of 5 tokens is the token itself and 4 before it."""
    assert [sizes(window=5, family="mistral").reach(i) for i in range(3)] == [4, 4, 4]
    assert [sizes(family="mistral").reach(i) for i in range(3)] == [None] * 3
    said = {"window": 5, "family": "qwen2", "use_window": True}
    assert [sizes(**said, first_window_block=2).reach(i) for i in range(3)] == [None, None, 4]
    assert [sizes(**said, layer_types=BY_LAYER).reach(i) for i in range(3)] == [4, None, 4]
    assert [sizes(**said | {"use_window": False}).reach(i) for i in range(3)] == [None] * 3


def test_dropout_is_where_llama_has_it():
    """On attention probabilities alone."""
    ours = Llama(sizes(attention_dropout=0.17))
    assert not [name for name, m in ours.named_modules() if isinstance(m, Dropout) and m.p]
    assert {block.attention.dropout for block in ours.blocks} == {0.17}


@pytest.mark.parametrize(
    ("family", "biases"),
    [("llama", ()), ("mistral", ()), ("qwen2", ("query", "key", "value")), ("qwen3", ())],
)
def test_what_tells_the_families_apart(family, biases):
    ours = Llama(sizes(family=family))
    names = {name for name, _ in ours.named_parameters() if name.endswith("bias")}
    assert names == {f"blocks.{i}.attention.{name}.bias" for i in range(3) for name in biases}
    placed = [block.attention.place_queries for block in ours.blocks]
    assert all(isinstance(place, NormedPlacement) == (family == "qwen3") for place in placed)
    assert (ours.family, ours.causal, ours.max_positions) == (family, True, 17)
