"""Adapters: put in and taken out without a trace, and the same function in PEFT, both ways."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.parity import CLOSE, LABELS, inputs
from torch import nn

from headstart.errors import CheckpointError, RecipeError
from headstart.models.adapters import (
    Origin,
    attach,
    bare,
    merge,
    open_adapter,
    save_adapter,
    shared,
    unmerge,
    weights_digest,
)
from headstart.models.attach import carried
from headstart.models.checkpoint import open_checkpoint, open_network
from headstart.models.network import POOLS, Mean, Network
from headstart.nn.lora import DoraLinear, LoraLinear
from headstart.recipe import Bottleneck, Lora, Prefix

FAMILIES = ["Bert", "Roberta", "DistilBert", "GPT2", "Llama"]
LORA = Lora(kind="lora", rank=3, alpha=5.0)
PREFIX = Prefix(kind="prefix", length=3)
BOTTLENECK = Bottleneck(kind="adapter", width=5)


def randomise(network: nn.Module, seed: int = 7) -> None:
    """Give all parameters random values, B and magnitudes too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + 0.03)


def attached(network: Network) -> list[nn.Parameter]:
    """What is not the base's."""
    base = {id(p) for p in bare(network).parameters()}
    return [p for p in network.parameters() if id(p) not in base]


def adapted(folder, adapter) -> Network:
    """A classifier with an adapter whose every value is random."""
    network = open_network(folder)
    attach(network, adapter)
    randomise(nn.ParameterList(attached(network)))
    return network.eval()


def write(folder, network, adapter, base, pooling="family", moved=()):
    folder.mkdir()
    moved = {n for n, p in network.named_parameters() if any(p is q for q in attached(network))} | {
        *moved
    }
    return save_adapter(
        folder,
        network,
        adapter=adapter,
        moved=moved,
        labels=LABELS,
        pooling=pooling,
        max_length=11,
        origin=Origin(str(base), weights_digest(bare(network).backbone)),
    )


@pytest.fixture
def peft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("peft")
        yield module


def classifier(save, family: str):
    """A folder of transformers with a head of three classes, and the model."""
    return save(f"{family}ForSequenceClassification", num_labels=3)


@pytest.mark.parametrize(
    "adapter",
    [
        LORA,
        Lora(kind="lora", rank=2, targets="all-linear", rslora=True),
        Lora(kind="lora", rank=3, targets="query|value", dora=True),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_peft_opens_what_we_save(hf, peft, save, tokens, tmp_path, family, adapter):
    theirs, folder = classifier(save, family)
    network = adapted(folder, adapter)
    randomise(network.head)
    randomise(network.pool, 11)
    assert write(tmp_path / "adapter", network, adapter, folder)
    base = getattr(hf, f"{family}ForSequenceClassification").from_pretrained(folder, num_labels=3)
    opened = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    want = network(tokens)
    torch.testing.assert_close(opened(**inputs(theirs, tokens)).logits, want, **CLOSE)
    again = open_adapter(tmp_path / "adapter", folder)
    torch.testing.assert_close(again.network(tokens), want, atol=1e-6, rtol=1e-6)
    assert (again.labels, again.pooling, again.max_length) == (LABELS, "family", 11)
    assert again.network.state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 3, "lora_alpha": 5},
        {"r": 2, "bias": "all", "use_rslora": True},
        {"r": 3, "use_dora": True, "bias": "lora_only", "lora_dropout": 0.1},
        {"r": 2, "rank_pattern": {"__q__": 5}, "alpha_pattern": {"__q__": 7}},
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_what_peft_saves_is_opened(hf, peft, save, tokens, tmp_path, family, settings):
    theirs, folder = classifier(save, family)
    targets = {
        "DistilBert": ["q_lin", "v_lin"],
        "GPT2": ["c_attn", "c_fc"],
        "Llama": ["q_proj", "v_proj", "up_proj"],
    }
    targets = targets.get(family, ["query", "value"])
    settings = json.loads(json.dumps(settings).replace("__q__", targets[0]))
    config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=targets, **settings)
    model = peft.get_peft_model(theirs, config).eval()
    moving = nn.ParameterList(p for p in model.parameters() if p.requires_grad)
    randomise(moving)
    model.save_pretrained(tmp_path / "adapter")
    opened = open_adapter(tmp_path / "adapter", folder)
    want = model(**inputs(theirs, tokens)).logits
    torch.testing.assert_close(opened.network(tokens), want, **CLOSE)
    assert opened.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    modules = [m for m in opened.network.modules() if isinstance(m, LoraLinear | DoraLinear)]
    assert {m.lora.dropout.p for m in modules} == {settings.get("lora_dropout", 0.0)}


@pytest.mark.parametrize("family", ["Bert", "Roberta", "GPT2", "Llama"])
@torch.no_grad()
def test_prefixes_are_the_same_in_peft_both_ways(hf, peft, save, tokens, tmp_path, family):
    theirs, folder = classifier(save, family)
    network = adapted(folder, PREFIX)
    randomise(network.head)
    randomise(network.pool, 11)
    assert write(tmp_path / "adapter", network, PREFIX, folder)
    want = network(tokens)
    assert (want - bare(network)(tokens)).abs().max() > 1e-3, "the prefix is read"
    base = getattr(hf, f"{family}ForSequenceClassification").from_pretrained(folder, num_labels=3)
    model = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(model(**inputs(theirs, tokens)).logits, want, **CLOSE)
    torch.testing.assert_close(open_adapter(tmp_path / "adapter", folder).network(tokens), want)
    base = getattr(hf, f"{family}ForSequenceClassification").from_pretrained(folder, num_labels=3)
    config = peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=5)
    model = peft.get_peft_model(base, config).eval()
    randomise(nn.ParameterList(p for p in model.parameters() if p.requires_grad))
    model.save_pretrained(tmp_path / "theirs")
    opened = open_adapter(tmp_path / "theirs", folder)
    short = tokens.split()[0][:3], tokens.split()[2], tokens.split()[3][:12]
    rows = type(tokens).from_rows(short)
    want = model(**inputs(theirs, rows)).logits
    torch.testing.assert_close(opened.network(rows), want, **CLOSE)
    assert opened.max_length == open_checkpoint(folder).max_length - 5


@pytest.mark.parametrize("adapter", [LORA, PREFIX])
@torch.no_grad()
def test_with_another_pooling_it_is_one_of_the_bare_backbone(
    hf, peft, save, tokens, tmp_path, adapter
):
    theirs, folder = save("BertModel")
    network = Network(open_checkpoint(folder).backbone, Mean(), nn.Linear(22, 3), 0.1)
    attach(network, adapter)
    randomise(network)
    (tmp_path / "base").mkdir()
    theirs.load_state_dict(theirs.state_dict() | _theirs(bare(network)))
    theirs.save_pretrained(tmp_path / "base")
    network.eval()
    assert write(tmp_path / "adapter", network, adapter, tmp_path / "base", pooling="mean")
    base = hf.AutoModel.from_pretrained(tmp_path / "base")
    model = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    hidden = model(**inputs(theirs, tokens)).last_hidden_state
    want = network(tokens)
    pooled = tokens.replace(tokens.layout.pack(hidden)).mean()
    torch.testing.assert_close(network.head(pooled), want, **CLOSE)
    torch.testing.assert_close(
        open_adapter(tmp_path / "adapter", tmp_path / "base").network(tokens), want, **CLOSE
    )


def _theirs(network: Network) -> dict[str, torch.Tensor]:
    from headstart.models.families import FAMILIES as TABLE

    return TABLE["bert"].their_weights(network.backbone.state_dict(), whole=False)


def others_of(network: Network) -> set[str]:
    return {n for n in network.state_dict() if n.startswith("backbone.embeddings.norm")}


@pytest.mark.parametrize(
    ("adapter", "moved"),
    [
        (BOTTLENECK, ()),
        (None, ("backbone.blocks.1.attention.query.bias",)),
        (LORA, ("backbone.blocks.1.attention.query.bias", "backbone.blocks.2.norm_1.weight")),
        (PREFIX, ("backbone.embeddings.norm.bias",)),
    ],
)
@torch.no_grad()
def test_what_peft_cannot_say_is_kept_by_our_names(save, tokens, tmp_path, adapter, moved):
    _, folder = classifier(save, "Bert")
    network = open_network(folder)
    for name in moved:
        owner, _, last = name.rpartition(".")
        module = network.get_submodule(owner)
        setattr(module, last, nn.Parameter(torch.randn_like(getattr(module, last))))
    if adapter is not None:
        attach(network, adapter)
        randomise(nn.ParameterList(attached(network)))
    names = {n for n, p in network.named_parameters() if any(p is q for q in attached(network))}
    (tmp_path / "adapter").mkdir()
    checkpoint = open_checkpoint(folder)
    origin = Origin(str(folder), weights_digest(checkpoint.backbone))
    peft_form = save_adapter(tmp_path / "adapter", network.eval(), adapter=adapter,
                             moved=names | {*moved}, labels=LABELS, pooling="family",
                             max_length=11, origin=origin)  # fmt: skip
    assert not peft_form and not (tmp_path / "adapter" / "adapter_config.json").exists()
    before = {n: t.clone() for n, t in checkpoint.backbone.state_dict().items()}
    opened = open_adapter(tmp_path / "adapter", checkpoint)
    assert torch.equal(opened.network(tokens), network(tokens))
    assert all(torch.equal(before[n], t) for n, t in checkpoint.backbone.state_dict().items())


@pytest.mark.parametrize("dora", [False, True])
@torch.no_grad()
def test_merged_gives_the_same_and_unmerged_is_bit_identical(save, tokens, dora):
    _, folder = classifier(save, "Bert")
    network = adapted(folder, LORA.model_copy(update={"targets": "all-linear", "dora": dora}))
    before = {n: (t, t.clone()) for n, t in network.state_dict().items()}
    logits = network(tokens)
    kept = merge(network)
    assert carried(network) is None and len(kept) == 18
    torch.testing.assert_close(network(tokens), logits, atol=1e-6, rtol=1e-6)
    assert not any("lora" in name for name in network.state_dict())
    unmerge(network, kept)
    after = network.state_dict()
    assert after.keys() == before.keys()
    for name, (tensor, clone) in before.items():
        assert after[name].data_ptr() == tensor.data_ptr() and torch.equal(after[name], clone)
    assert torch.equal(network(tokens), logits)


@pytest.mark.parametrize("adapter", [LORA, BOTTLENECK])
@torch.no_grad()
def test_a_fresh_adapter_changes_nothing(save, tokens, adapter):
    _, folder = classifier(save, "Bert")
    network = open_network(folder)
    before, names = network(tokens), set(network.state_dict())
    attach(network, adapter)
    assert torch.equal(network.eval()(tokens), before)
    assert names < set(network.state_dict()), "parameters of the base keep their names"
    assert set(bare(network).state_dict()) == names


@torch.no_grad()
def test_views_share_tensors_and_nothing_else(save, tokens):
    _, folder = classifier(save, "Bert")
    network = open_network(folder)
    before = network(tokens)
    view = shared(network)
    attach(view, BOTTLENECK)
    randomise(nn.ParameterList(attached(view)))
    assert not torch.equal(view.eval()(tokens), before)
    assert torch.equal(network(tokens), before)
    mine = dict(network.named_parameters())
    assert all(p is mine[n] for n, p in view.named_parameters() if n in mine)


@torch.no_grad()
def test_an_adapter_made_for_another_base_is_refused_by_name(save, tokens, tmp_path):
    _, folder = classifier(save, "Bert")
    network = adapted(folder, LORA)
    write(tmp_path / "adapter", network, LORA, folder)
    other, _ = classifier(save, "Bert")
    randomise(other, 3)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"adapter: was made for '.*Bert.*\(bert\), weights "
                       r"\w{12}; '.*other' is a bert with weights \w{12}\."):  # fmt: skip
        open_adapter(tmp_path / "adapter", tmp_path / "other")


def test_shapes_of_another_base_are_told_all_at_once(peft, make, save, tmp_path):
    _, folder = classifier(save, "Bert")
    wide = make("BertForSequenceClassification", num_labels=3, hidden_size=26)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=3, target_modules=["query"])
    peft.get_peft_model(wide, config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(CheckpointError) as caught:
        open_adapter(tmp_path / "adapter", folder)
    assert len(caught.value.faults) == 7
    assert "needs (3, 22)" in str(caught.value) and "must read 22" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "LOHA"}, "peft_type: no supported adapter is called 'LOHA'.*Merge it with"),
        ({"lora_bias": True}, "lora_bias: is True, which is not honoured. Merge it with PEFT"),
        ({"trainable_token_indices": [3]}, r"trainable_token_indices: is \[3\]"),
        ({"init_lora_weights": "pissa"}, "'pissa' changes the base model's weights"),
        ({"task_type": "CAUSAL_LM"}, "task_type: 'CAUSAL_LM' has no head"),
    ],
)
def test_settings_that_are_not_honoured_are_refused_by_name(peft, save, tmp_path, change, message):
    theirs, folder = classifier(save, "Bert")
    config = peft.LoraConfig(task_type="SEQ_CLS", r=3, target_modules=["query"])
    peft.get_peft_model(theirs, config).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        open_adapter(tmp_path / "adapter", folder)


def test_damaged_and_missing_files(save, tmp_path):
    _, folder = classifier(save, "Bert")
    network = adapted(folder, LORA)
    write(tmp_path / "adapter", network, LORA, folder)
    with pytest.raises(CheckpointError, match=r"holds neither .* Did you mean 'adapter'"):
        open_adapter(tmp_path / "adaptor", folder)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    head = {name: tensor for name, tensor in tensors.items() if "classifier" not in name}
    save_file(head | {"base_model.model.bert.what": torch.zeros(3)}, file)
    with pytest.raises(CheckpointError, match="the head: is missing") as caught:
        open_adapter(tmp_path / "adapter", folder)
    assert "what: is unexpected" in caught.value.faults[0]
    file.unlink()
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors: is missing"):
        open_adapter(tmp_path / "adapter", folder)
    (tmp_path / "adapter" / "headstart_adapter.json").write_text(
        '{"schema": "headstart.adapter/1"}'
    )
    with pytest.raises(CheckpointError, match="is damaged"):
        open_adapter(tmp_path / "adapter", folder)


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (
            LORA.model_copy(update={"targets": "qeury"}),
            "'qeury' rules no linear map. Did you mean 'query'",
        ),
        (Prefix(kind="prefix", length=16), "a prefix of 16 leaves no room"),
    ],
)
def test_what_cannot_be_attached(save, adapter, message):
    _, folder = classifier(save, "Bert")
    with pytest.raises(RecipeError, match=message):
        attach(open_network(folder), adapter)


def test_one_thing_at_a_time(save):
    _, folder = classifier(save, "Bert")
    network = adapted(folder, PREFIX)
    with pytest.raises(RecipeError, match="stage 's', train: the model has a prefix from before"):
        attach(network, LORA, "stage 's', train")


def test_families_without_the_usual_attention_take_lora_and_no_prefix(make):
    from tests.models.parity import backbone_and_rest

    ours, _ = backbone_and_rest(make("DebertaV2Model"))
    network = Network(ours, POOLS["mean"](), nn.Linear(22, 3), 0.0)
    with pytest.raises(RecipeError, match="the blocks of deberta-v2 take no prefix"):
        attach(network, PREFIX)
    attach(network, LORA)
    assert carried(network) is not None
