"""Which parameters move: ordered patterns that cover every one, with their rates."""

import pytest
import torch

from headstart.errors import RecipeError
from headstart.models.attach import attach
from headstart.models.bert import Bert, BertConfig
from headstart.models.network import Mean, Network
from headstart.recipe import Stage
from headstart.training.loop import rate_factor
from headstart.training.trainable import freeze, groups, matches, optimizer

SIZES = {
    "model_type": "bert",
    "vocab_size": 31,
    "hidden_size": 14,
    "num_hidden_layers": 5,
    "num_attention_heads": 7,
    "intermediate_size": 13,
    "max_position_embeddings": 11,
}


def network() -> Network:
    backbone = Bert(BertConfig.from_hf(SIZES))
    return Network(backbone, Mean(), torch.nn.Linear(14, 3), dropout=0.1)


def stage(train, **values) -> Stage:
    return Stage(name="s", data="d", epochs=1, train=train, **values)


def moving(train, **values) -> set[str]:
    net = network()
    freeze(net, groups(net, stage(train, **values)))
    return {name for name, p in net.named_parameters() if p.requires_grad}


def test_head_moves_the_head_alone():
    assert moving("head") == {"head.weight", "head.bias"}


def test_top_moves_the_last_blocks_and_the_head():
    found = moving("top:2")
    assert {n.split(".")[2] for n in found if "blocks" in n} == {"3", "4"}
    assert not any("embeddings" in n for n in found)


def test_the_first_pattern_rules():
    net = network()
    rules = groups(net, stage({"blocks.0": 0.0, "backbone": 1e-5, "head": 1e-3}))
    assert [len(r.names) for r in rules] == [16, 4 * 16 + 5, 2]
    freeze(net, rules)
    assert not net.backbone.blocks[0].attention.query.weight.requires_grad
    assert net.backbone.embeddings.norm.weight.requires_grad


def test_groups_count_every_parameter_once():
    net = network()
    rules = groups(net, stage("top:1"))
    assert sum(r.num_parameters for r in rules) == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"head": 1e-3}, r"no pattern covers backbone\.embeddings.* and \d+ more.*\"\.\*\" = 0"),
        ({"heads": 1e-3, ".*": 0.0}, r"'heads' rules no parameter. Did you mean 'head'"),
        ({".*": 0.0}, "nothing moves"),
        ("top:6", r"top:6 asks for 6 blocks; the backbone has 5. Use top:5 or less"),
    ],
)
def test_faults(train, message):
    with pytest.raises(RecipeError, match=message):
        groups(network(), stage(train))


def test_a_pattern_ends_at_a_dot():
    assert matches("blocks.1", "backbone.blocks.1.norm_1.weight")
    assert not matches("blocks.1", "backbone.blocks.11.norm_1.weight")
    assert matches("backbone.blocks.1", "backbone.blocks.1.norm_1.weight")
    assert not matches("ead", "head.weight")


def test_layer_decay_by_hand():
    net = network()
    adam = optimizer(net, groups(net, stage("all", learning_rate=0.5, layer_decay=0.1)),
                     stage("all", learning_rate=0.5, layer_decay=0.1))  # fmt: skip
    rates = {id(p): g["lr"] for g in adam.param_groups for p in g["params"]}
    assert rates[id(net.head.weight)] == pytest.approx(0.5)
    assert rates[id(net.backbone.blocks[4].norm_1.bias)] == pytest.approx(0.05)
    assert rates[id(net.backbone.blocks[0].norm_1.bias)] == pytest.approx(0.5e-5)
    assert rates[id(net.backbone.embeddings.norm.bias)] == pytest.approx(0.5e-6)


def test_biases_and_norms_are_not_decayed():
    net = network()
    adam = optimizer(net, groups(net, stage("all")), stage("all", weight_decay=0.3))
    for group in adam.param_groups:
        dims = {p.ndim for p in group["params"]}
        assert dims == ({2} if group["weight_decay"] else {1})


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("linear", [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("constant", [0.5, 1.0, 1, 1, 1, 1, 1, 1, 1, 1]),
        (
            "cosine",
            [0.5, 1.0, 1.0, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.3086583, 0.1464466, 0.0380602],
        ),
    ],
)
def test_the_schedule_by_hand(schedule, factors):
    values = stage("all", schedule=schedule, warmup=0.2)
    assert [rate_factor(values, i, 10) for i in range(10)] == pytest.approx(factors, abs=1e-6)


def test_every_update_of_a_stage_moves_something():
    assert min(rate_factor(stage("all"), i, 7) for i in range(7)) > 0


@pytest.mark.parametrize(
    ("train", "rates"),
    [
        ("lora:2", (3e-3, 1e-3)),
        ("prefix:3", (3e-2, 1e-3)),
        ("adapter:3", (3e-3, 1e-3)),
        ({"lora:2": 0.5, ".*": 0.0}, (0.5, 1e-3)),
        ({"lora:2": 0.5, "head": 0.25, ".*": 0.0}, (0.5, 0.25)),
        ({"kind": "lora", "rank": 2, "rates": {"lora": 0.5, ".*": 0.0}}, (0.5, 1e-3)),
    ],
)
def test_rates_of_what_is_added_and_of_the_head(train, rates):
    net, values = network(), stage(train)
    attach(net, values.adapter)
    found = {name: r.learning_rate for r in groups(net, values) for name in r.names}
    kind = values.adapter.kind
    added = {rate for name, rate in found.items() if f".{kind}." in name}
    assert (added, found["head.weight"]) == ({rates[0]}, rates[1])
    assert found["backbone.blocks.0.norm_1.bias"] == 0


def test_layer_decay_of_what_is_added():
    net, values = network(), stage("lora:2", learning_rate=0.5, layer_decay=0.1)
    attach(net, values.adapter)
    rules = groups(net, values)
    freeze(net, rules)
    rates = {id(p): g["lr"] for g in optimizer(net, rules, values).param_groups
             for p in g["params"]}  # fmt: skip
    assert len(rates) == 5 * 4 * 2 + 2
    assert rates[id(net.backbone.blocks[4].attention.query.lora.up)] == pytest.approx(0.05)
    assert rates[id(net.backbone.blocks[0].attention.query.lora.up)] == pytest.approx(0.5e-5)


def test_bitfit_moves_biases_and_the_head():
    found = moving("bitfit")
    assert found == {n for n, _ in network().named_parameters() if n.endswith(".bias")} | {
        "head.weight"
    }


def test_a_family_without_biases_has_no_bitfit():
    net = network()
    for module in net.backbone.modules():
        if getattr(module, "bias", None) is not None:
            module.bias = None
    with pytest.raises(RecipeError, match=r"a bert has no biases\. Use lora:8"):
        groups(net, stage("bitfit"))
