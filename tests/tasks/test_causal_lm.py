"""What comes next: the loss of transformers, and rows that are packed without seeing each other."""

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from headstart.data.batches import RaggedStore, take
from headstart.models.checkpoint import open_language_model
from headstart.tasks.causal_lm import CausalLm

LLAMA = {
    "vocab_size": 67,
    "hidden_size": 28,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "intermediate_size": 29,
    "max_position_embeddings": 31,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
GPT2 = {"vocab_size": 67, "n_embd": 14, "n_layer": 3, "n_head": 2, "n_inner": 29, "n_positions": 31,
        "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**LLAMA, sliding_window=5)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**LLAMA, tie_word_embeddings=True)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**LLAMA)),
}
NOTHING = np.random.default_rng(0)


def store(seed=3, rows=17):
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 13, size=rows)
    values = random.integers(1, 67, size=int(lengths.sum())).astype(np.int32)
    return RaggedStore(values, np.concatenate([[0], np.cumsum(lengths)]))


@pytest.fixture(params=list(MODELS))
def both(request, tmp_path):
    torch.manual_seed(11)
    theirs = MODELS[request.param]().eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(tmp_path)
    return theirs, open_language_model(tmp_path).model


def test_the_loss_and_its_gradients_are_those_of_transformers(both):
    theirs, ours = both
    batch = CausalLm().prepare(take(store(), np.arange(17)), NOTHING)
    loss = CausalLm().loss(ours, batch)
    mask = torch.arange(int(batch.inputs.lengths.max())) < batch.inputs.lengths[:, None]
    padded = batch.inputs.padded()
    labels = padded.clone()
    labels[~mask] = -100
    padded[~mask] = 0
    want = theirs(padded, attention_mask=mask.long(), labels=labels).loss
    torch.testing.assert_close(loss, want, atol=1e-5, rtol=1e-5)
    loss.backward()
    want.backward()
    got = ours.backbone.embeddings.token.weight.grad
    torch.testing.assert_close(got, theirs.get_input_embeddings().weight.grad, atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_packed_rows_do_not_see_each_other(both):
    """The loss of a pack is the mean of its rows' own losses, by what each asks for."""
    _, ours = both
    rows, task = store(5), CausalLm()
    packed = task.prepare(take(rows, np.arange(17)), NOTHING)
    alone = [task.prepare(take(rows, np.array([row])), NOTHING) for row in range(17)]
    losses = torch.stack([task.loss(ours, one) for one in alone])
    counts = torch.tensor([len(one.target) for one in alone])
    assert (counts == torch.from_numpy(rows.lengths) - 1).all() and (counts == 0).any()
    want = (losses * counts).sum() / counts.sum()
    torch.testing.assert_close(task.loss(ours, packed), want, atol=1e-5, rtol=1e-5)
    assert len(packed.target) == counts.sum()


def test_every_token_but_a_rows_first_is_asked_for_by_the_one_before_it():
    batch = take(RaggedStore(np.array([5, 6, 7, 8, 9, 4]), np.array([0, 3, 4, 6])), np.arange(3))
    asked = CausalLm().prepare(batch, NOTHING)
    assert asked.places.tolist() == [0, 1, 4]
    assert asked.target.tolist() == [6, 7, 4]
