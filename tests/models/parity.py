"""The contract of a family: the same function as in transformers, forward and backward, in and out.

Shapes: B texts, T tokens of all texts, L tokens in the longest, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.errors import CheckpointError
from headstart.models.backbone import Backbone
from headstart.models.checkpoint import (
    open_checkpoint,
    open_language_model,
    open_network,
    save_language_model,
    save_network,
)
from headstart.models.families import FAMILIES
from headstart.models.family import PARTS
from headstart.models.language import LanguageModel, TextToText
from headstart.models.load import fill
from headstart.models.network import Cls, Last, Mean, Network
from headstart.nn.attention import kernel
from headstart.nn.ragged import Ragged

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
LABELS = ("negative", "neutral", "positive")
FRESH = ("pooler.dense.weight", "pooler.dense.bias")


def backbone_and_rest(theirs: nn.Module) -> tuple[Backbone, dict[str, Tensor]]:
    """Our backbone with their weights, in eval mode, and what they hold besides."""
    family = FAMILIES[theirs.config.model_type]
    ties = family.ties(theirs.config.to_dict())
    state = {
        name: tensor
        for name, tensor in theirs.state_dict().items()
        if family.keys.plain(name).rpartition(".")[0] not in ties
    }
    match = family.keys.match(state)
    assert not match.unknown and not match.doubled
    named = {name: tensor.clone() for name, tensor in family.keys.read(match, state).items()}
    rest = {n: named.pop(n) for n in list(named) if n.startswith(PARTS)}
    backbone = family.build(theirs.config.to_dict()).eval()
    backbone.load_state_dict(named)
    return backbone, rest


def inputs(theirs: nn.Module, tokens: Ragged) -> dict[str, Tensor]:
    """Tokens (B, L) padded with the padding token, and their mask, as transformers wants them."""
    mask = tokens.layout.mask
    padded = tokens.padded().masked_fill(~mask, theirs.config.pad_token_id)
    return {"input_ids": padded, "attention_mask": mask.long()}


@torch.no_grad()
def assert_layers_match(theirs: nn.Module, tokens: Ragged, segments: Tensor | None = None) -> None:
    """The same hidden states after the embeddings and after each block, in both kernels."""
    ours, _ = backbone_and_rest(theirs)
    given = inputs(theirs, tokens)
    if segments is not None:
        given["token_type_ids"] = tokens.layout.pad(segments)
    reads = theirs.get_encoder() if theirs.config.is_encoder_decoder else theirs
    want = reads(**given, output_hidden_states=True).hidden_states
    for name in ("sdpa", "eager"):
        with kernel(name):
            got = ours.hidden_states(tokens, segments)
            assert torch.equal(ours(tokens, segments).values, got[-1].values)
        assert len(got) == len(want) == 4
        for layer, (g, w) in enumerate(zip(got, want, strict=True)):
            torch.testing.assert_close(
                g.values, tokens.layout.pack(w), **CLOSE, msg=lambda m, n=layer: f"layer {n}: {m}"
            )


def assert_gradients_match(theirs: nn.Module, tokens: Ragged) -> None:
    """One step of fine-tuning a classifier moves every parameter the same way, dropout off."""
    family = FAMILIES[theirs.config.model_type]
    backbone, rest = backbone_and_rest(theirs)
    said = family.classifier
    pooler = said.pooler(theirs.config.to_dict()).eval()
    width = said.pooled_widths * backbone.width
    head = nn.Linear(width, theirs.config.num_labels, bias=said.head_bias)
    for start, module in (("pooler.", pooler), ("head.", head)):
        module.load_state_dict({n.removeprefix(start): t for n, t in rest.items() if start in n})
    network = Network(backbone, pooler, head, 0.0).eval()
    target = torch.tensor([2, 0, 1, 1])
    logits = network(tokens)
    want = theirs(**inputs(theirs, tokens), labels=target)
    torch.testing.assert_close(logits, want.logits, **CLOSE)
    F.cross_entropy(logits, target).backward()
    want.loss.backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    ours = {
        name.removeprefix("backbone.").replace("pool.", "pooler.", 1): parameter.grad
        for name, parameter in network.named_parameters()
    }
    assert_gradients_are(family.their_weights(ours, whole=True), gradients)


def assert_gradients_are(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    """Equal within 1e-4 of the largest, for every parameter of either."""
    assert got.keys() == want.keys()
    for name, wanted in want.items():
        scale = max(wanted.abs().max().item(), 1e-3)
        error = (got[name] - wanted).abs().max().item() / scale
        assert error < 1e-4, f"{name}: {error}"


def a_network(folder: Path, pooling: str) -> Network:
    """A network on a folder's backbone, with a new head, everything randomised."""
    checkpoint = open_checkpoint(folder)
    torch.manual_seed(1)
    new = {"family": checkpoint.fresh_pooler, "cls": Cls, "mean": Mean, "last": Last}
    said = checkpoint.classifier
    bias = said.head_bias if pooling == "family" else True
    head = nn.Linear(checkpoint.backbone.width, len(LABELS), bias)
    dropout = 0.3 if said and said.dropout_key else 0.0
    network = Network(checkpoint.backbone, new[pooling](), head, dropout)
    for parameter in [*network.pool.parameters(), *head.parameters()]:
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


@torch.no_grad()
def assert_saved_is_opened(
    hf,
    source: Path,
    folder: Path,
    pooling: str,
    tokens: Ragged,
    opens: Callable[[Path], nn.Module] | None = None,
) -> None:
    """What is saved comes back bit for bit, and transformers computes the same from it.

    `opens` opens a bare backbone, where transformers' AutoModel is another.
    """
    network = a_network(source, pooling)
    folder.mkdir()
    save_network(folder, network, source=source, labels=LABELS, pooling=pooling, max_length=13)
    opened = open_network(folder)
    before, after = network.state_dict(), opened.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(opened(tokens), network(tokens))
    said = FAMILIES[network.backbone.family].classifier
    key = said.dropout_key if said else None
    assert opened.dropout.p == (0.3 if key else 0.0)
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.labels, checkpoint.max_length) == (LABELS, 13)
    written = {key: 0.3} if key else {}
    assert checkpoint.backbone.hf_config() == network.backbone.hf_config() | written
    if pooling != "family":
        theirs = (opens or hf.AutoModel.from_pretrained)(folder).eval()
        hidden = theirs(**inputs(theirs, tokens)).last_hidden_state
        want, got = tokens.layout.pack(hidden), network.backbone(tokens).values
        torch.testing.assert_close(got, want, **CLOSE)
        return
    theirs, said = hf.AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(said.values())
    assert theirs.config.id2label == dict(enumerate(LABELS))
    want = theirs.eval()(**inputs(theirs, tokens)).logits
    torch.testing.assert_close(network(tokens), want, **CLOSE)


@torch.no_grad()
def assert_heads_are_dropped(
    theirs: nn.Module, folder: Path, tokens: Ragged, head: str, fresh: tuple[str, ...] = FRESH
) -> None:
    """The backbone of a model for another task opens; its head is left out by name."""
    checkpoint = open_checkpoint(folder)
    want = theirs.base_model(**inputs(theirs, tokens)).last_hidden_state
    torch.testing.assert_close(
        checkpoint.backbone(tokens).values, tokens.layout.pack(want), **CLOSE
    )
    assert head in checkpoint.dropped
    assert (checkpoint.head, checkpoint.pooler) == (None, None)
    assert checkpoint.fresh == fresh


def faults_of(folder: Path, **values: object) -> list[str]:
    """What is said against a folder with other values in its config.json, place cut off."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    return [fault.removeprefix(f"{file}, ") for fault in caught.value.faults]


def language_model(theirs: nn.Module) -> LanguageModel | TextToText:
    """Our model with all of their weights, in eval mode."""
    family = FAMILIES[theirs.config.model_type]
    state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    config = family.settle(theirs.config.to_dict(), state)
    model = family.language.build(config)
    fill(Path("in memory"), family, config, model.parts(), state)
    return model.eval()


def next_words(tokens: Ragged) -> Tensor:
    """(T,) the token after each one in its row; -100, which no loss counts, after the last."""
    after = torch.roll(tokens.values, -1)
    after[tokens.layout.offsets[1:] - 1] = -100
    return after


def assert_language_matches(theirs: nn.Module, tokens: Ragged) -> None:
    """A decoder: the same logits in both kernels, the same loss, the same gradients."""
    ours = language_model(theirs)
    given = inputs(theirs, tokens)
    labels = given["input_ids"].masked_fill(~tokens.layout.mask, -100)
    want = theirs(**given, labels=labels)
    for name in ("eager", "sdpa"):
        with kernel(name):
            got = ours(tokens)
        torch.testing.assert_close(got.values, tokens.layout.pack(want.logits), **CLOSE)
    loss = F.cross_entropy(got.values, next_words(tokens))
    torch.testing.assert_close(loss, want.loss, **CLOSE)
    _assert_language_gradients_match(ours, loss, theirs, want.loss)


def assert_text_to_text_matches(theirs: nn.Module, source: Ragged, target: Ragged) -> None:
    """An encoder with a decoder: the same logits in both kernels, loss and gradients."""
    ours = language_model(theirs)
    labels = target.padded().masked_fill(~target.layout.mask, -100)
    want = theirs(**inputs(theirs, source), labels=labels)
    starts = target.layout.offsets[:-1]
    before = torch.roll(target.values, 1)
    before[starts] = ours.start
    for name in ("eager", "sdpa"):
        with kernel(name):
            got = ours(source, target.replace(before))
        torch.testing.assert_close(got.values, target.layout.pack(want.logits), **CLOSE)
    loss = F.cross_entropy(got.values, target.values)
    torch.testing.assert_close(loss, want.loss, **CLOSE)
    _assert_language_gradients_match(ours, loss, theirs, want.loss)


@torch.no_grad()
def assert_greedy_matches(theirs: nn.Module, source: Ragged, steps: int = 7) -> None:
    """An encoder with a decoder: word after word the likeliest, as transformers generates."""
    ours = language_model(theirs)
    end = theirs.config.eos_token_id
    given = inputs(theirs, source)
    want = theirs.generate(**given, max_new_tokens=steps, do_sample=False, num_beams=1,
                           forced_eos_token_id=None)  # fmt: skip
    got = torch.full((source.layout.num_rows, 1), ours.start)
    for step in range(want.shape[1] - 1):
        target = Ragged.from_padded(got, [step + 1] * len(got))
        words = ours(source, target).last().argmax(1)
        ended = (got[:, 1:] == end).any(1)
        words = words.masked_fill(ended, theirs.config.pad_token_id)
        got = torch.cat([got, words[:, None]], 1)
    assert torch.equal(got, want)


def _assert_language_gradients_match(
    ours: nn.Module, loss: Tensor, theirs: nn.Module, their_loss: Tensor
) -> None:
    loss.backward()
    their_loss.backward()
    got = {
        start + name: parameter.grad
        for start, module in ours.parts().items()
        for name, parameter in module.named_parameters()
    }
    want = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    family = FAMILIES[theirs.config.model_type]
    assert_gradients_are(family.their_weights(got, whole=True), want)


@torch.no_grad()
def assert_language_model_comes_back(hf, source: Path, folder: Path, tokens: Ragged) -> None:
    """What is saved comes back bit for bit, and transformers computes the same from it."""
    opened = open_language_model(source)
    folder.mkdir()
    save_language_model(folder, opened.model, source=source, max_length=13)
    again = open_language_model(folder)
    before, after = opened.model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    auto = hf.AutoModelForSeq2SeqLM if hasattr(opened.model, "decoder") else hf.AutoModelForCausalLM
    theirs, said = auto.from_pretrained(folder, output_loading_info=True)
    assert not any(said.values()), said
    theirs.eval()
    if hasattr(opened.model, "decoder"):
        want = theirs(**inputs(theirs, tokens), decoder_input_ids=tokens.padded()).logits
        got = opened.model(tokens, tokens)
    else:
        want, got = theirs(**inputs(theirs, tokens)).logits, opened.model(tokens)
    torch.testing.assert_close(got.values, tokens.layout.pack(want), **CLOSE)
