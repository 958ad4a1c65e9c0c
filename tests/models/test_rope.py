from __future__ import annotations

import math

import pytest
import torch

from headstart.models.rope import read_rope, rope_faults, rotary, write_rope

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "said",
    [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 3.0},
        {"rope_type": "dynamic", "factor": 3.0},
        LLAMA3,
        LLAMA3 | {"original_max_position_embeddings": 10_007, "factor": 32},
        YARN,
        YARN | {"factor": None},
        YARN | {"factor": 0.5},
        YARN | {"truncate": False},
        YARN | {"beta_fast": 29, "beta_slow": 3},
        YARN | {"beta_fast": 1, "beta_slow": 1, "original_max_position_embeddings": 2},
        YARN | {"attention_factor": 1.7},
        YARN | {"mscale": 0.7, "mscale_all_dim": 1.3},
    ],
)
def test_rates_and_factor_are_those_of_transformers(hf, said):
    """At the sizes of real models: Llama 3.1's base, heads of 128."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    said = said | {"rope_theta": 500_000.0}
    config = hf.LlamaConfig(hidden_size=256, num_attention_heads=2, max_position_embeddings=131_072,
                            rope_parameters=dict(said))  # fmt: skip
    default = LlamaRotaryEmbedding.compute_default_rope_parameters
    want, factor = ROPE_INIT_FUNCTIONS.get(said["rope_type"], default)(config)
    read = read_rope({"rope_parameters": said})
    assert rope_faults(read) == []
    ours = rotary(read, 128, 131_072)
    torch.testing.assert_close(ours.rates, want, rtol=1e-5, atol=0)
    assert ours.factor == pytest.approx(factor, rel=1e-6)


def test_llama3_by_hand():
    """Over 8,192 places a pair of 4 turns or more stays, one of 1 or fewer slows down 8 times."""
    read = read_rope({"rope_parameters": LLAMA3 | {"rope_theta": 10_000.0}})
    rates = rotary(read, 64, 131_072).rates
    plain = 10_000.0 ** (-torch.arange(32) / 32)
    turns = plain * 8192 / (2 * math.pi)
    torch.testing.assert_close(rates[turns > 4], plain[turns > 4])
    torch.testing.assert_close(rates[turns < 1], plain[turns < 1] / 8)
    between = (turns > 1) & (turns < 4)
    assert between.any()
    share = (turns[between] - 1) / 3
    torch.testing.assert_close(rates[between], plain[between] * (share + (1 - share) / 8))


def test_both_spellings_say_the_same():
    old = {"rope_theta": 1e6, "max_position_embeddings": 17,
           "rope_scaling": {"type": "linear", "factor": 3.0}}  # fmt: skip
    want = {"rope_type": "linear", "factor": 3.0, "rope_theta": 1e6}
    assert read_rope(old) == want
    assert read_rope({"rope_parameters": want}) == want
    assert read_rope({"rope_theta": 500.0, "rope_scaling": None}) == {
        "rope_type": "default", "rope_theta": 500.0
    }  # fmt: skip
    assert read_rope({}) == {"rope_type": "default", "rope_theta": 10_000.0}


def test_the_length_trained_on_is_found_where_it_is_said():
    said = {"rope_type": "yarn", "factor": 2.0}
    values = {"max_position_embeddings": 17, "rope_scaling": said}
    assert read_rope(values)["original_max_position_embeddings"] == 17
    values |= {"original_max_position_embeddings": 13}
    assert read_rope(values)["original_max_position_embeddings"] == 13
    values["rope_scaling"] = said | {"original_max_position_embeddings": 11}
    assert read_rope(values)["original_max_position_embeddings"] == 13, "as transformers has it"
    del values["original_max_position_embeddings"]
    assert read_rope(values)["original_max_position_embeddings"] == 11


@pytest.mark.parametrize("said", [{"rope_type": "default"}, LLAMA3, YARN])
def test_what_is_written_is_read_back_by_old_and_new_readers(said):
    read = read_rope({"rope_parameters": said | {"rope_theta": 77.0}})
    written = write_rope(read)
    assert read_rope(written) == read
    old = {key: written[key] for key in ("rope_theta", "rope_scaling")}
    assert read_rope(old) == read
    assert read_rope({"rope_parameters": written["rope_parameters"]}) == read


@pytest.mark.parametrize(
    ("said", "faults"),
    [
        (
            {"rope_type": "longrope"},
            ["rope_type: 'longrope' is not supported. Known: default, linear, dynamic, llama3, "
             "yarn."],
        ),
        (
            {"rope_type": "lamma3"},
            ["rope_type: 'lamma3' is not supported. Did you mean 'llama3'? Known: default, "
             "linear, dynamic, llama3, yarn."],
        ),
        ({"rope_type": "linear"}, ["factor: is missing; linear needs it."]),
        (
            {"rope_type": "dynamic", "factor": 0, "rope_theta": "big"},
            ["rope_theta: must be a number above 0; got 'big'.",
             "factor: must be a number above 0; got 0."],
        ),
        (
            {"rope_type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 4,
             "original_max_position_embeddings": 11},
            ["low_freq_factor: must be below high_freq_factor 4; got 4."],
        ),
        ({"rope_type": "yarn"}, ["original_max_position_embeddings: is missing; yarn needs it."]),
        (
            {"mrope_section": [3, 5, 5], "partial_rotary_factor": 0.5, "truncate": "no"},
            ["mrope_section: [3, 5, 5] is not supported. Known: rope_theta, factor, "
             "original_max_position_embeddings, low_freq_factor, high_freq_factor, beta_fast, "
             "beta_slow, attention_factor, mscale, mscale_all_dim, truncate.",
             "partial_rotary_factor: 0.5 is not supported, only 1.0.",
             "truncate: must be true or false; got 'no'."],
        ),
        (  # a place for each kind of layer, as in Gemma 3
            {"full_attention": {"rope_type": "default"}},
            ["full_attention: {'rope_type': 'default'} is not supported. Known: rope_theta, "
             "factor, original_max_position_embeddings, low_freq_factor, high_freq_factor, "
             "beta_fast, beta_slow, attention_factor, mscale, mscale_all_dim, truncate."],
        ),
    ],
)  # fmt: skip
def test_faults(said, faults):
    assert rope_faults(read_rope({"rope_parameters": said})) == [
        f"rope_parameters or rope_scaling, {fault}" for fault in faults
    ]


def test_what_is_no_object_is_refused_by_name():
    (fault,) = rope_faults(read_rope({"rope_scaling": "yarn2"}))
    assert fault.startswith(
        "rope_parameters or rope_scaling, rope_type: 'yarn2' is not supported. Did you mean"
    )
