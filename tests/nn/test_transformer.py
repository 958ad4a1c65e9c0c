"""Blocks against torch's own, and the whole against a task. Rows 5, 2, 7; width 22, heads 2."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from headstart.nn.attention import Form
from headstart.nn.embeddings import ScaledEmbeddings
from headstart.nn.feedforward import FeedForward, gelu_tanh
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.position import SinusoidalPositions
from headstart.nn.ragged import Layout, Ragged
from headstart.nn.transformer import (
    Decoder,
    Encoder,
    EncoderDecoder,
    PostNormBlock,
    PostNormDecoderBlock,
    PreNormBlock,
    PreNormDecoderBlock,
)

LENGTHS, MEMORY_LENGTHS, WIDTH, HEADS, INNER = [5, 2, 7], [3, 11, 1], 22, 2, 31


def randomised(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module.eval()


def ragged(lengths):
    return Ragged(torch.randn(sum(lengths), WIDTH), Layout(lengths))


def attention_state(theirs, prefix):
    names = ("query", "key", "value")
    weights, biases = theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)
    state = {f"{prefix}.{n}.weight": w for n, w in zip(names, weights, strict=True)}
    state |= {f"{prefix}.{n}.bias": b for n, b in zip(names, biases, strict=True)}
    return state | {f"{prefix}.output.{n}": v for n, v in theirs.out_proj.state_dict().items()}


def part_state(prefix, module):
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def feed_forward():
    return FeedForward(WIDTH, INNER, activation=F.relu)


@pytest.mark.parametrize(("kind", "norm_first"), [(PostNormBlock, False), (PreNormBlock, True)])
def test_encoder_block_matches_torch(kind, norm_first):
    torch.manual_seed(0)
    theirs = randomised(
        nn.TransformerEncoderLayer(
            WIDTH, HEADS, INNER, activation=F.relu, batch_first=True, norm_first=norm_first
        )
    )
    ours = kind(
        MultiHeadAttention(WIDTH, Form(HEADS)),
        feed_forward(),
        norm_1=nn.LayerNorm(WIDTH),
        norm_2=nn.LayerNorm(WIDTH),
    ).eval()
    ours.load_state_dict(
        attention_state(theirs.self_attn, "attention")
        | part_state("feed_forward.widen", theirs.linear1)
        | part_state("feed_forward.narrow", theirs.linear2)
        | part_state("norm_1", theirs.norm1)
        | part_state("norm_2", theirs.norm2)
    )
    x = ragged(LENGTHS)
    want = theirs(x.padded(), src_key_padding_mask=~x.layout.mask)
    torch.testing.assert_close(ours(x).values, x.layout.pack(want), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "norm_first"), [(PostNormDecoderBlock, False), (PreNormDecoderBlock, True)]
)
def test_decoder_block_matches_torch(kind, norm_first):
    torch.manual_seed(0)
    theirs = randomised(
        nn.TransformerDecoderLayer(
            WIDTH, HEADS, INNER, activation=F.relu, batch_first=True, norm_first=norm_first
        )
    )
    ours = kind(
        MultiHeadAttention(WIDTH, Form(HEADS, causal=True)),
        MultiHeadAttention(WIDTH, Form(HEADS)),
        feed_forward(),
        norms=(nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)),
    ).eval()
    ours.load_state_dict(
        attention_state(theirs.self_attn, "attention")
        | attention_state(theirs.multihead_attn, "cross_attention")
        | part_state("feed_forward.widen", theirs.linear1)
        | part_state("feed_forward.narrow", theirs.linear2)
        | part_state("norm_1", theirs.norm1)
        | part_state("norm_2", theirs.norm2)
        | part_state("norm_3", theirs.norm3)
    )
    x, memory = ragged(LENGTHS), ragged(MEMORY_LENGTHS)
    want = theirs(
        x.padded(),
        memory.padded(),
        tgt_mask=torch.ones(7, 7).triu(1).bool(),
        memory_key_padding_mask=~memory.layout.mask,
    )
    torch.testing.assert_close(ours(x, memory).values, x.layout.pack(want), atol=1e-5, rtol=1e-5)


def test_gelu_tanh_by_hand():
    x = torch.tensor([-2.0, 0.0, 1.0])
    inner = (2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)
    torch.testing.assert_close(gelu_tanh(x), 0.5 * x * (1 + torch.tanh(inner)))


START, END, DIGITS, LONGEST = 10, 11, 10, 8


def tiny_encoder_decoder(width=48, heads=4, num_blocks=2):
    def embeddings():
        return ScaledEmbeddings(nn.Embedding(DIGITS + 2, width), SinusoidalPositions(16, width))

    def norm():
        return nn.LayerNorm(width)

    def read():
        return PreNormBlock(
            MultiHeadAttention(width, Form(heads)),
            FeedForward(width, 2 * width),
            norm_1=norm(),
            norm_2=norm(),
        )

    def write():
        return PreNormDecoderBlock(
            MultiHeadAttention(width, Form(heads, causal=True)),
            MultiHeadAttention(width, Form(heads)),
            FeedForward(width, 2 * width),
            norms=(norm(), norm(), norm()),
        )

    encoder = Encoder(embeddings(), [read() for _ in range(num_blocks)], norm())
    decoder = Decoder(embeddings(), [write() for _ in range(num_blocks)], norm())
    for embedding in (encoder.embeddings.token, decoder.embeddings.token):
        nn.init.normal_(embedding.weight, std=width**-0.5)
    return EncoderDecoder(encoder, decoder, nn.Linear(width, DIGITS + 2))


def digits(count, generator):
    lengths = torch.randint(1, LONGEST + 1, (count,), generator=generator)
    return [torch.randint(DIGITS, (int(n),), generator=generator) for n in lengths]


@torch.no_grad()
def greedy(model, source, steps):
    """The likeliest word after word, for each row: (B, steps) of tokens."""
    rows = source.layout.num_rows
    said = torch.full((rows, 1), START)
    for _ in range(steps):
        target = Ragged.from_padded(said, [said.shape[1]] * rows)
        logits = model(source, target).padded()[:, -1]
        said = torch.cat([said, logits.argmax(-1, keepdim=True)], 1)
    return said[:, 1:]


def test_encoder_decoder_learns_to_reverse():
    """Over 99 % of fresh sequences come back reversed, end mark and all."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = tiny_encoder_decoder()
    steps = 350
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    start, end = torch.tensor([START]), torch.tensor([END])
    for _ in range(steps):
        texts = digits(64, generator)
        target = Ragged.from_rows([torch.cat([start, text.flip(0)]) for text in texts])
        answer = torch.cat([torch.cat([text.flip(0), end]) for text in texts])
        loss = F.cross_entropy(model(Ragged.from_rows(texts), target).values, answer)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    fresh = digits(500, generator)
    said = greedy(model.eval(), Ragged.from_rows(fresh), LONGEST + 1)
    right = [
        said[i, : len(text) + 1].tolist() == [*text.flip(0).tolist(), END]
        for i, text in enumerate(fresh)
    ]
    assert sum(right) / len(right) > 0.99
