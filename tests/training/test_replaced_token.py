"""Replaced tokens as a stage of a recipe: trained, resumed, kept, refused."""

import numpy as np
import pytest
import torch
from tests.conftest import reviews
from tests.training.test_pretraining import DEBERTA, MODERN, SIZES
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
)

from headstart.data.batches import RaggedStore, take
from headstart.data.examples import Examples
from headstart.errors import RecipeError
from headstart.models.checkpoint import open_checkpoint, open_masked_model
from headstart.models.electra import ReplacedTokens
from headstart.models.families import family_of
from headstart.recipe import Recipe
from headstart.tasks.masked_lm import MaskedLm
from headstart.tasks.replaced_token import ReplacedToken
from headstart.training.asking import check_served
from headstart.training.model import open_trained
from headstart.training.pretraining import PretrainingStage
from headstart.training.replacing import HEAD_FILE, _read
from headstart.training.stage import Workshop


def rows(count, seed=7, labelled=False):
    texts, labels = zip(*reviews(count, seed), strict=True)
    return Examples("texts", list(texts), list(labels) if labelled else None, np.arange(count))


def recipe(backbone, **stage):
    adapt = {"name": "adapt", "task": "replaced-token", "data": "texts", "steps": 7,
             "batch_tokens": 256, "learning_rate": 1e-3} | stage  # fmt: skip
    return Recipe.from_values(
        {"backbone": str(backbone), "data": {"texts": {"path": "x"}, "shop": {"path": "x"}},
         "stage": [adapt, {"name": "tune", "data": "shop", "epochs": 1}]}
    )  # fmt: skip


DATA = {"texts": rows(97), "shop": rows(41, seed=3, labelled=True)}


def test_held_out_loss_falls_and_what_is_left_is_a_backbone(tiny_bert):
    settings = {"epochs": 3, "steps": None, "validation": 0.2, "learning_rate": 3e-3}
    adapted, tuned = Workshop().run(recipe(tiny_bert, **settings), DATA)
    judged = [point["validation"] for point in adapted.record["log"] if "validation" in point]
    log = [found["log_likelihood"] for found in judged]
    assert log[-1] > log[0]
    assert open_trained(tuned.folder).task.labels == ("negative", "positive")
    ours = open_checkpoint(adapted.folder).backbone
    theirs = AutoModel.from_pretrained(adapted.folder).eval()
    assert torch.equal(theirs.embeddings.word_embeddings.weight, ours.embeddings.token.weight)


def test_a_second_stage_goes_on_with_generator_and_detector(tiny_bert):
    chain = recipe(tiny_bert)
    short = {"name": "again", "steps": 1, "learning_rate": 1e-9}
    again = chain.stage[0].model_copy(update=short)
    chain = chain.model_copy(update={"stage": (chain.stage[0], again)})
    first, second = (_read(stage.folder) for stage in Workshop().run(chain, DATA))
    for name, tensor in second.head_state().items():
        torch.testing.assert_close(tensor, first.head_state()[name], atol=1e-6, rtol=1e-6)


def test_resumed_is_uninterrupted_and_what_is_frozen_stays(tiny_bert, monkeypatch, tmp_path):
    some = recipe(tiny_bert, learning_rate=None, train={"head|blocks.2": 1e-3, ".*": 0})
    whole = Workshop(cache=tmp_path / "a").run(some, DATA)[0]
    work = PretrainingStage.work

    def killed(self, step):
        if step == 4:
            raise KeyboardInterrupt
        return work(self, step)

    monkeypatch.setenv("HEADSTART_SAVE_SECONDS", "0")
    monkeypatch.setattr(PretrainingStage, "work", killed)
    with pytest.raises(KeyboardInterrupt):
        Workshop(cache=tmp_path / "b").run(some, DATA)
    monkeypatch.setattr(PretrainingStage, "work", work)
    data = DATA | {"texts": rows(97, labelled=True)}
    resumed = Workshop(cache=tmp_path / "b").run(some, data)[0]
    assert resumed.digest == whole.digest, "labels are not read"
    one, two = (_read(stage.folder).state_dict() for stage in (whole, resumed))
    start = open_checkpoint(tiny_bert).backbone.state_dict()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name
        kept = name.removeprefix("backbone.")
        if kept in start:
            assert torch.equal(tensor, start[kept]) != kept.startswith("blocks.2."), name
    assert (whole.folder / HEAD_FILE).exists()


@pytest.mark.parametrize(
    "theirs",
    [
        lambda: BertModel(BertConfig(**SIZES, pad_token_id=0)),
        lambda: RobertaModel(RobertaConfig(**SIZES, pad_token_id=1, type_vocab_size=1)),
        lambda: DistilBertModel(DistilBertConfig(
            vocab_size=67, dim=14, n_layers=3, n_heads=2, hidden_dim=29,
            max_position_embeddings=31)),
        lambda: ModernBertModel(ModernBertConfig(**MODERN)),
        lambda: DebertaV2Model(DebertaV2Config(**DEBERTA)),
    ],
    ids=["bert", "roberta", "distilbert", "modernbert", "deberta"],
)  # fmt: skip
def test_a_generator_is_made_of_every_family(theirs, tmp_path):
    torch.manual_seed(3)
    theirs().save_pretrained(tmp_path)
    network = ReplacedTokens(open_masked_model(tmp_path).model)
    random = np.random.default_rng(3)
    rows = RaggedStore(random.integers(5, 67, 41), np.array([0, 17, 41]))
    hiding = MaskedLm(vocabulary=67, mask=4, special=np.arange(5), masked=1.0, random=0.0)
    task = ReplacedToken(hiding)
    task.loss(network, task.prepare(take(rows, np.array([0, 1])), random)).backward()
    unused = [n for n, p in network.named_parameters() if p.grad is None]
    assert not [name for name in unused if "head." in name or "blocks." in name], unused
    assert not [n for n, _ in network.named_parameters() if "generator.backbone.embed" in n]


def test_what_cannot_be_is_refused_with_who_can(tiny_bert):
    t5 = family_of({"model_type": "t5"})
    with pytest.raises(RecipeError, match=r"a t5, cannot.*Families for replaced-token: bert, rob"):
        check_served(recipe(tiny_bert), t5)
