"""Models that only transformers has: rows 5, 2, 7 and 1; width 22; 3 blocks; vocabulary 101."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.models.parity import CLOSE, LABELS, assert_gradients_are, inputs
from torch import nn

from headstart.errors import CheckpointError, RecipeError
from headstart.models.adapters import (
    Origin,
    attach,
    bare,
    open_adapter,
    save_adapter,
    weights_digest,
)
from headstart.models.bridge import bridged_family
from headstart.models.bridged import BridgedBackbone, Hull, Whole
from headstart.models.checkpoint import open_checkpoint, open_network, save_network
from headstart.models.network import POOLS, Network
from headstart.nn.ragged import Layout, Ragged
from headstart.recipe import Bottleneck, Lora, Prefix

hf = pytest.importorskip("transformers")
SIZES = {
    "vocab_size": 101,
    "hidden_size": 22,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 37,
    "max_position_embeddings": 41,
    "pad_token_id": 0,
    "bos_token_id": 3,
    "eos_token_id": 5,
}
KINDS = {
    "electra": {"embedding_size": 13},
    "megatron-bert": {},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 3},
    "opt": {"ffn_dim": 37, "word_embed_proj_dim": 22},
    "mpnet": {},
    "albert": {"embedding_size": 11},
}
APART, CAUSAL = {"electra", "megatron-bert", "gemma2", "opt"}, {"gemma2", "opt"}


@pytest.fixture(params=KINDS)
def saved(request, tmp_path):
    """A model of transformers with random weights, and the folder that it is saved in."""
    return save(request.param, tmp_path / "theirs")


def save(kind, folder, auto=None):
    torch.manual_seed(0)
    config = hf.AutoConfig.for_model(kind, **SIZES, **KINDS[kind])
    model = (auto or hf.AutoModel).from_config(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return kind, model, folder


@pytest.fixture
def tokens():
    torch.manual_seed(1)
    return Ragged(torch.randint(6, 101, (15,)), Layout([5, 2, 7, 1]))


@torch.no_grad()
def test_hidden_states_match_transformers_at_every_layer(saved, tokens):
    kind, theirs, folder = saved
    checkpoint = open_checkpoint(folder)
    want = theirs(**inputs(theirs, tokens), output_hidden_states=True)
    got = checkpoint.backbone(tokens)
    torch.testing.assert_close(got.values, tokens.layout.pack(want.last_hidden_state), **CLOSE)
    assert isinstance(checkpoint.backbone.embeddings, Hull if kind in APART else Whole)
    assert (checkpoint.backbone.note is None) == (kind in APART)
    assert checkpoint.backbone.causal == (kind in CAUSAL)
    states = checkpoint.backbone.hidden_states(tokens)
    if kind in APART:
        assert len(states) == 4 == len(want.hidden_states)
        for layer, (g, w) in enumerate(zip(states, want.hidden_states, strict=True)):
            torch.testing.assert_close(
                g.values, tokens.layout.pack(w), **CLOSE, msg=lambda m, n=layer: f"layer {n}: {m}"
            )


def test_gradients_match_transformers(saved, tokens):
    _, theirs, folder = saved
    ours = open_checkpoint(folder).backbone
    direction = torch.randn(15, 22)
    (ours(tokens).values * direction).sum().backward()
    hidden = theirs(**inputs(theirs, tokens)).last_hidden_state
    (tokens.layout.pack(hidden) * direction).sum().backward()
    names = bridged_family(ours.hf_config()).keys
    got = names.write({n: p.grad for n, p in ours.named_parameters()}, lambda name: "")
    want = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    assert_gradients_are({n: g for n, g in got.items() if g is not None}, want)


@torch.no_grad()
def test_a_part_after_the_other_is_the_whole(saved, tokens):
    """What is kept of a frozen prefix goes on in a layout that the hull never saw."""
    _, _, folder = saved
    backbone = open_checkpoint(folder).backbone
    network = Network(backbone, POOLS["mean"](), nn.Linear(22, 3), 0.0).eval()
    want = network(tokens)
    for depth in range(network.depth + 1):
        part = network.prefix(tokens, None, depth)
        fresh = Ragged(part.values, Layout(part.lengths))
        torch.testing.assert_close(network.suffix(fresh, depth), want, atol=1e-6, rtol=1e-6)
    again = copy.deepcopy(network)
    assert torch.equal(again(tokens), want)


@torch.no_grad()
def test_what_is_saved_comes_back_and_transformers_opens_it(saved, tmp_path, tokens):
    kind, _, folder = saved
    checkpoint = open_checkpoint(folder)
    pooling = checkpoint.default_pooling
    assert pooling == ("last" if kind in CAUSAL else "mean")
    head = nn.Linear(22, len(LABELS))
    network = Network(checkpoint.backbone, POOLS[pooling](), head, 0.0).eval()
    out = tmp_path / "ours"
    out.mkdir()
    save_network(out, network, source=folder, labels=LABELS, pooling=pooling, max_length=13)
    assert torch.equal(open_network(out)(tokens), network(tokens))
    theirs = hf.AutoModel.from_pretrained(out).eval()
    hidden = theirs(**inputs(theirs, tokens)).last_hidden_state
    torch.testing.assert_close(network.backbone(tokens).values, tokens.layout.pack(hidden), **CLOSE)


@torch.no_grad()
def test_the_backbone_of_another_head_opens_and_the_head_is_left_out_by_name(tmp_path, tokens):
    _, theirs, folder = save("electra", tmp_path / "theirs", hf.AutoModelForSequenceClassification)
    assert any(name.startswith("electra.") for name in load_file(folder / "model.safetensors"))
    checkpoint = open_checkpoint(folder)
    want = theirs.base_model(**inputs(theirs, tokens)).last_hidden_state
    torch.testing.assert_close(
        checkpoint.backbone(tokens).values, tokens.layout.pack(want), **CLOSE
    )
    assert "classifier.out_proj.weight" in checkpoint.dropped


def test_segments_are_told_apart(tmp_path, tokens):
    _, theirs, folder = save("electra", tmp_path / "theirs")
    segments = torch.tensor([0, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0])
    want = theirs(
        **inputs(theirs, tokens), token_type_ids=tokens.layout.pad(segments)
    ).last_hidden_state
    got = open_checkpoint(folder).backbone(tokens, segments)
    torch.testing.assert_close(got.values, tokens.layout.pack(want), **CLOSE)


def test_building_moves_no_random_state(tmp_path):
    _, _, folder = save("electra", tmp_path / "theirs")
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    open_checkpoint(folder)
    assert torch.equal(torch.rand(3), want)


def test_an_encoder_with_a_decoder_is_refused(tmp_path):
    config = hf.AutoConfig.for_model("pegasus", d_model=22, encoder_layers=1, decoder_layers=1,
                                     encoder_attention_heads=2, decoder_attention_heads=2,
                                     vocab_size=101)  # fmt: skip
    config.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="a pegasus is no single encoder or decoder"):
        open_checkpoint(tmp_path)


def test_without_transformers_the_bridge_is_offered(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "electra", **SIZES}))
    monkeypatch.setattr("headstart.models.bridge.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install 'headstart\[transformers\]'"):
        open_checkpoint(tmp_path)


def test_a_type_that_nobody_has(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "brt", **SIZES}))
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)
    message = caught.value.faults[0]
    assert "'brt'" in message and "'bert'" in message and "transformers has none" in message


def test_a_size_that_transformers_refuses_is_told(tmp_path):
    values = {"model_type": "electra", **SIZES, "num_attention_heads": 3}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="model_type: this electra cannot run: mat1"):
        open_checkpoint(tmp_path)


def test_transformers_is_imported_only_where_it_is_needed():
    source = Path(sys.modules[BridgedBackbone.__module__].__file__).read_text(encoding="utf-8")
    top = [line for line in source.splitlines() if line.startswith(("import", "from"))]
    assert top and not any("transformers" in line for line in top)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("targets", ["attention", "all-linear"])
@pytest.mark.parametrize("kind", ["electra", "gemma2", "opt", "albert"])
@torch.no_grad()
def test_lora_goes_to_peft_and_comes_back(tmp_path, tokens, kind, targets):
    peft = pytest.importorskip("peft")
    _, theirs, folder = save(kind, tmp_path / "theirs")
    checkpoint = open_checkpoint(folder)
    network = Network(checkpoint.backbone, POOLS["mean"](), nn.Linear(22, len(LABELS)), 0.0).eval()
    before = network(tokens)
    adapter = Lora(kind="lora", rank=3, targets=targets)
    attach(network, adapter)
    torch.testing.assert_close(network(tokens), before, **CLOSE)
    added = {n: p for n, p in network.named_parameters() if ".lora" in n}
    for parameter in added.values():
        parameter.normal_(std=0.2)
    want = network(tokens)
    assert not torch.allclose(want, before, atol=0.01)
    (tmp_path / "adapter").mkdir()
    origin = Origin(str(folder), weights_digest(bare(network).backbone))
    assert save_adapter(tmp_path / "adapter", network, adapter=adapter, moved=set(added),
                        labels=LABELS, pooling="mean", max_length=11, origin=origin)  # fmt: skip
    opened = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
    hidden = opened(**inputs(theirs, tokens)).last_hidden_state
    pooled = tokens.replace(tokens.layout.pack(hidden)).mean()
    torch.testing.assert_close(network.head(pooled), want, **CLOSE)
    again = open_adapter(tmp_path / "adapter", folder)
    torch.testing.assert_close(again.network(tokens), want, **CLOSE)


@torch.no_grad()
def test_moved_biases_are_kept_and_opened(tmp_path, tokens):
    _, _, folder = save("electra", tmp_path / "theirs")
    checkpoint = open_checkpoint(folder)
    network = Network(checkpoint.backbone, POOLS["mean"](), nn.Linear(22, len(LABELS)), 0.0).eval()
    origin = Origin(str(folder), weights_digest(checkpoint.backbone))
    moved = {n for n, _ in network.named_parameters() if n.endswith(".bias") and "blocks" in n}
    for name in moved:
        network.get_parameter(name).normal_(std=0.2)
    (tmp_path / "adapter").mkdir()
    save_adapter(tmp_path / "adapter", network, adapter=None, moved=moved, labels=LABELS,
                 pooling="mean", max_length=11, origin=origin)  # fmt: skip
    again = open_adapter(tmp_path / "adapter", folder)
    torch.testing.assert_close(again.network(tokens), network(tokens), **CLOSE)


@pytest.mark.parametrize("kind", ["electra", "albert"])
def test_blocks_of_others_take_no_bottlenecks_and_no_prefix(tmp_path, kind):
    _, _, folder = save(kind, tmp_path / "theirs")
    network = Network(open_checkpoint(folder).backbone, POOLS["mean"](), nn.Linear(22, 3), 0.0)
    with pytest.raises(RecipeError, match=f"the blocks of {kind} have no attention"):
        attach(network, Bottleneck(kind="adapter", width=5))
    with pytest.raises(RecipeError, match=f"the blocks of {kind} take no prefix"):
        attach(network, Prefix(kind="prefix", length=5))


def test_an_adapter_of_peft_with_a_head_that_is_not_ours_is_refused(tmp_path):
    _, _, folder = save("electra", tmp_path / "theirs")
    values = {"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 3, "target_modules": ["query"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="the head that transformers puts on electra"):
        open_adapter(tmp_path, folder)
