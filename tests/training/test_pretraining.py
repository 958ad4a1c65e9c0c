"""Stages without labels: masked language modelling as a stage of a recipe."""

import json

import numpy as np
import pytest
import torch
from tests.conftest import save_tokenizer
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    CamembertConfig,
    CamembertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from headstart.data.batches import RaggedStore, take
from headstart.data.examples import Examples
from headstart.errors import CheckpointError, RecipeError
from headstart.models.checkpoint import (
    open_language_model,
    open_masked_model,
    save_language_model,
)
from headstart.models.families import family_of
from headstart.recipe import Recipe
from headstart.tasks.masked_lm import MaskedLm
from headstart.training.asking import check_served
from headstart.training.model import open_trained
from headstart.training.pretraining import PretrainingStage
from headstart.training.progress import Silent
from headstart.training.stage import Workshop

WORDS = "good bad film shop it was the a very sound fine broke day after".split()
SIZES = {
    "vocab_size": 67,
    "hidden_size": 14,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 29,
    "max_position_embeddings": 31,
}
MODERN = SIZES | {"hidden_size": 20, "global_attn_every_n_layers": 2, "local_attention": 7,
                  "pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3,
                  "sep_token_id": 3}  # fmt: skip
DEBERTA = SIZES | {
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "position_buckets": 7,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "pad_token_id": 0,
}


def randomised(model):
    torch.manual_seed(11)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def store(seed=3, rows=17):
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 13, size=rows)
    values = random.integers(5, 67, size=int(lengths.sum())).astype(np.int32)
    return RaggedStore(values, np.concatenate([[0], np.cumsum(lengths)]))


def task(**values):
    return MaskedLm(vocabulary=67, mask=4, special=np.array([0, 1, 2, 3, 4]), **values)


@pytest.mark.parametrize(
    "theirs",
    [
        lambda: BertForMaskedLM(BertConfig(**SIZES, pad_token_id=0)),
        lambda: RobertaForMaskedLM(RobertaConfig(**SIZES, pad_token_id=1, type_vocab_size=1)),
        lambda: XLMRobertaForMaskedLM(XLMRobertaConfig(**SIZES, pad_token_id=1, type_vocab_size=1)),
        lambda: CamembertForMaskedLM(CamembertConfig(**SIZES, pad_token_id=1, type_vocab_size=1)),
        lambda: DistilBertForMaskedLM(DistilBertConfig(
            vocab_size=67, dim=14, n_layers=3, n_heads=2, hidden_dim=29,
            max_position_embeddings=31, activation="relu")),
        lambda: ModernBertForMaskedLM(ModernBertConfig(**MODERN)),
        lambda: ModernBertForMaskedLM(ModernBertConfig(
            **MODERN, decoder_bias=False, classifier_bias=True, classifier_activation="relu")),
        lambda: DebertaV2ForMaskedLM(DebertaV2Config(**DEBERTA)),
        lambda: DebertaV2ForMaskedLM(DebertaV2Config(**DEBERTA, legacy=False)),
    ],
    ids=["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "modernbert",
         "modernbert without bias", "deberta", "deberta-v3"],
)  # fmt: skip
def test_the_loss_is_that_of_transformers_on_the_same_masks(theirs, tmp_path):
    reference = randomised(theirs())
    reference.save_pretrained(tmp_path / "theirs")
    opened = open_masked_model(tmp_path / "theirs")
    assert not opened.fresh
    batch = task().prepare(take(store(), np.arange(17)), np.random.default_rng(5))
    ours = task().loss(opened.model, batch)
    padded, lengths = batch.inputs.padded(), batch.inputs.lengths
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    answers = torch.full((len(batch.inputs.values),), -100)
    answers[batch.places] = batch.target
    labels = batch.inputs.layout.pad(answers)
    labels[~mask] = -100
    padded[~mask] = reference.config.pad_token_id
    want = reference(padded, attention_mask=mask.long(), labels=labels).loss
    torch.testing.assert_close(ours, want, atol=1e-5, rtol=1e-5)
    ours.backward()
    want.backward()
    got = opened.model.backbone.embeddings.token.weight.grad
    them = reference.get_input_embeddings().weight.grad
    torch.testing.assert_close(got, them, atol=1e-6, rtol=1e-4)
    (tmp_path / "ours").mkdir()
    save_language_model(tmp_path / "ours", opened.model, source=tmp_path / "theirs", max_length=29)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path / "ours").eval()
    assert again(padded, attention_mask=mask.long(), labels=labels).loss == want
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, their_tensor(reference, name)), name


def their_tensor(model, name):
    """A tensor, by its name in the layout that is written: DeBERTa's older one."""
    state = model.state_dict()
    older = {
        "cls.predictions.transform.": "lm_predictions.lm_head.",
        "cls.predictions.bias": "lm_predictions.lm_head.bias",
        "cls.predictions.decoder.bias": "lm_predictions.lm_head.bias",
        "cls.predictions.decoder.weight": "deberta.embeddings.word_embeddings.weight",
    }
    names = [name, *(name.replace(old, new) for old, new in older.items())]
    return next(state[n] for n in names if n in state)


def test_exactly_the_share_is_hidden_and_never_a_special_token():
    whole = take(store(rows=101), np.arange(101))
    whole.inputs.values[::7] = 2
    before = whole.inputs.values.clone()
    shown = task(share=0.3).prepare(whole, np.random.default_rng(1))
    able = int((before > 4).sum())
    assert len(shown.places) == round(0.3 * able)
    assert torch.equal(shown.target, before[shown.places])
    assert (shown.target > 4).all()
    kept = torch.ones(len(before), dtype=torch.bool)
    kept[shown.places] = False
    assert torch.equal(shown.inputs.values[kept], before[kept])


def test_of_the_hidden_four_fifths_are_masks_and_a_tenth_other_words():
    whole = take(store(rows=2003), np.arange(2003))
    shown = task(share=0.5).prepare(whole, np.random.default_rng(1))
    seen = shown.inputs.values[shown.places]
    masks = float((seen == 4).float().mean())
    same = float((seen == shown.target).float().mean())
    # 5,000 and more hidden tokens: three standard deviations are under 0.02.
    assert masks == pytest.approx(0.8, abs=0.02)
    assert same == pytest.approx(0.1 + 0.1 / 62, abs=0.015)
    assert not np.isin(seen[seen != 4], [0, 1, 2, 3]).any()


def rows(count, labelled=False):
    random = np.random.default_rng(7)
    texts = [" ".join(random.choice(WORDS, 5)) for _ in range(count)]
    labels = ["pos" if "good" in text else "neg" for text in texts] if labelled else None
    return Examples("texts", texts, labels, np.arange(count))


def recipe(backbone, **stage):
    adapt = {"name": "adapt", "task": "masked-lm", "data": "texts", "steps": 11,
             "batch_tokens": 128, "learning_rate": 1e-3} | stage  # fmt: skip
    return Recipe.from_values(
        {"backbone": str(backbone), "data": {"texts": {"path": "x"}, "shop": {"path": "x"}},
         "stage": [adapt, {"name": "tune", "data": "shop", "epochs": 1}]}
    )  # fmt: skip


def test_a_classifier_goes_on_from_an_adapted_backbone(tiny_bert):
    data = {"texts": rows(97), "shop": rows(61, labelled=True)}
    adapted, tuned = Workshop().run(recipe(tiny_bert, validation=0.1, epochs=3, steps=None), data)
    first, last = adapted.record["log"][0], adapted.record["log"][-1]
    assert last["validation"]["log_likelihood"] > -4.5 and last["loss"] < first["loss"]
    model = open_masked_model(adapted.folder)
    assert not model.fresh
    assert json.loads((adapted.folder / "headstart.json").read_text())["task"] == "masked-lm"
    with pytest.raises(CheckpointError, match=r"pre-trained \(masked-lm\)"):
        open_trained(adapted.folder)
    names = [stage["name"] for stage in open_trained(tuned.folder).provenance["stages"]]
    assert names == ["adapt", "tune"]
    untouched = Workshop().run(recipe(tiny_bert, train="head", epochs=1, steps=None), data)[0]
    start = open_masked_model(tiny_bert).model.backbone.state_dict()
    for name, tensor in open_masked_model(untouched.folder).model.backbone.state_dict().items():
        assert torch.equal(tensor, start[name]), f"{name} moved"


def test_resumed_is_uninterrupted(tiny_bert, monkeypatch, tmp_path):
    data = {"texts": rows(97), "shop": rows(61, labelled=True)}
    whole = Workshop(cache=tmp_path / "a").run(recipe(tiny_bert), data)[0]
    work = PretrainingStage.work

    def killed(self, step):
        if step == 7:
            raise KeyboardInterrupt
        return work(self, step)

    monkeypatch.setenv("HEADSTART_SAVE_SECONDS", "0")
    monkeypatch.setattr(PretrainingStage, "work", killed)
    with pytest.raises(KeyboardInterrupt):
        Workshop(cache=tmp_path / "b").run(recipe(tiny_bert), data)
    monkeypatch.setattr(PretrainingStage, "work", work)
    resumed = Workshop(cache=tmp_path / "b").run(recipe(tiny_bert), data)[0]
    again = open_masked_model(resumed.folder).model.state_dict()
    for name, tensor in open_masked_model(whole.folder).model.state_dict().items():
        assert torch.equal(tensor, again[name]), name


def test_labels_do_not_matter_to_the_digest(tiny_bert):
    shop, labelled = rows(61, labelled=True), rows(97, labelled=True)
    with_labels = Workshop().run(recipe(tiny_bert), {"texts": labelled, "shop": shop})
    without = Workshop().run(recipe(tiny_bert), {"texts": rows(97), "shop": shop})
    assert without[0].reused and without[0].digest == with_labels[0].digest


def test_words_that_are_not_scored_by_their_embeddings_are_refused_by_name(tmp_path):
    model = BertForMaskedLM(BertConfig(**SIZES, pad_token_id=0, tie_word_embeddings=False))
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="tie_word_embeddings: must be true"):
        open_masked_model(tmp_path)


def test_a_stage_after_a_classifier_takes_the_last_head_there_was(tiny_bert, tmp_path):
    data = {"texts": rows(61), "shop": rows(43, labelled=True)}
    chain = recipe(tiny_bert, steps=3).model_dump(exclude_defaults=True)
    again = chain["stage"][0] | {"name": "again", "steps": 1, "learning_rate": 1e-9}
    chain = Recipe.from_values(chain | {"stage": [*chain["stage"], again]})
    said = Told()
    adapted, tuned, last = Workshop(said).run(chain, data)
    assert open_masked_model(tuned.folder).fresh
    head = open_masked_model(adapted.folder).model.head.state_dict()
    for name, tensor in open_masked_model(last.folder).model.head.state_dict().items():
        torch.testing.assert_close(tensor, head[name], atol=1e-6, rtol=1e-6)
    assert "again: its head for hidden words is that of stage 'adapt'" in said.lines
    assert any("has no head for hidden words, so that starts anew" in line for line in said.lines)
    assert said.lines.index("again: its head for hidden words is that of stage 'adapt'") > 1


class Told(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


@pytest.mark.parametrize("unit", ["word", "span"])
def test_words_and_spans_are_asked_for_by_a_recipe(tiny_bert, unit):
    data = {"texts": rows(61), "shop": rows(43, labelled=True)}
    stage = {"task": {"kind": "masked-lm", "unit": unit}, "steps": 2}
    adapted, _ = Workshop().run(recipe(tiny_bert, **stage), data)
    assert adapted.record["log"][-1]["loss"] > 0


@pytest.fixture
def tiny_gpt2(tmp_path):
    """A random GPT-2 whose tokenizer is of whole words."""
    folder = tmp_path / "gpt2"
    config = GPT2Config(vocab_size=31, n_embd=14, n_layer=2, n_head=2, n_positions=37,
                        bos_token_id=2, eos_token_id=3)  # fmt: skip
    torch.manual_seed(3)
    GPT2LMHeadModel(config).save_pretrained(folder)
    save_tokenizer(folder, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])
    return folder


def test_a_decoder_goes_on_with_texts_and_then_classifies(tiny_gpt2):
    data = {"texts": rows(97), "shop": rows(61, labelled=True)}
    values = recipe(tiny_gpt2, task="causal-lm", epochs=3, steps=None, validation=0.1)
    again = values.stage[0].model_copy(update={"name": "again", "epochs": None, "steps": 2})
    values = values.model_copy(update={"stage": (*values.stage, again)})
    adapted, tuned, last = Workshop().run(values, data)
    first, end = adapted.record["log"][0], adapted.record["log"][-1]
    assert end["loss"] < first["loss"] and end["validation"]["perplexity"] < 31
    assert open_language_model(adapted.folder).family == "gpt2"
    assert open_trained(tuned.folder).task.labels == ("neg", "pos")
    assert last.record["log"][-1]["loss"] < first["loss"]
    assert GPT2LMHeadModel.from_pretrained(last.folder).config.vocab_size == 31


def test_parts_of_an_update_weigh_by_what_they_ask(tiny_gpt2):
    """Gradients of micro-batches add up to those of the whole: the same training."""
    data = {"texts": rows(97), "shop": rows(61, labelled=True)}
    calm = Workshop().checkpoint(str(tiny_gpt2)).config
    settings = {"task": "causal-lm", "steps": 5}
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        calm = calm | {name: 0.0}
    (tiny_gpt2 / "config.json").write_text(json.dumps(dict(calm)))
    whole = Workshop().run(recipe(tiny_gpt2, **settings), data)[0]
    parts = Workshop().run(recipe(tiny_gpt2, **settings, micro_batch_tokens=32), data)[0]
    again = open_language_model(parts.folder).model.state_dict()
    for name, tensor in open_language_model(whole.folder).model.state_dict().items():
        torch.testing.assert_close(again[name], tensor, atol=2e-4, rtol=1e-3)


def test_a_task_that_a_backbone_cannot_serve_is_refused_with_who_can(tiny_bert, tiny_gpt2):
    bert, gpt2 = (family_of({"model_type": name}) for name in ("bert", "gpt2"))
    with pytest.raises(RecipeError, match=r"It can serve: classify, masked-lm.*gpt2, llama"):
        check_served(recipe(tiny_bert, task="causal-lm"), bert)
    with pytest.raises(RecipeError, match=r"It can serve: classify, causal-lm.*bert, roberta"):
        check_served(recipe(tiny_gpt2), gpt2)
    check_served(recipe(tiny_bert), bert)


def test_stretched_positions_stay_stretched_through_all_stages(tiny_bert):
    data = {"texts": rows(61), "shop": rows(43, labelled=True)}
    longer = recipe(tiny_bert, steps=1).model_copy(update={"positions": 53})
    adapted, tuned = Workshop().run(longer, data)
    assert open_masked_model(adapted.folder).model.backbone.max_positions == 53
    assert open_trained(tuned.folder).max_length == 53
