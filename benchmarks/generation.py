"""Tokens a second, side by side with transformers' generate.

    python benchmarks/generation.py [--rounds 5] [--new-tokens 64]

The same model twice, of the shape of GPT-2 small and of T5 small, with the same random weights in
float32; 16 prompts of 8 to 120 tokens, greedy, no token ends a text. Rounds alternate, the median
counts, and the tokens must be equal. transformers reads prompts padded on the left (T5's: on the
right) with a mask, as its documentation asks for. Kept in results/generation.json.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common import keep
from headstart.generation.generate import generate
from headstart.generation.options import Options
from headstart.models.families import FAMILIES
from headstart.models.load import fill
from headstart.nn.ragged import Ragged

ROWS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--models", nargs="+", default=["gpt2", "t5"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name in options.models:
        rows.append(compare(name, options.rounds, options.new_tokens, options.beams))
        print(
            "{model}: {headstart:.0f} tokens/s, transformers {transformers:.0f}, ratio {ratio:.2f} "
            "(rounds {lowest:.2f} to {highest:.2f})".format(**rows[-1]),
            flush=True,
        )
    result = {"rows": rows, "prompts": lengths(), "new_tokens": options.new_tokens,
              "beams": options.beams, "threads": options.threads,
              "rounds": options.rounds}  # fmt: skip
    keep("generation" if options.beams == 1 else "generation_beams", result)


def compare(name: str, num_rounds: int, new_tokens: int, beams: int) -> dict[str, Any]:
    """Both in turn, one round more than is counted: the first warms up."""
    theirs = their_model(name)
    ours = our_model(theirs)
    prompts = Ragged.from_rows(
        [torch.randint(3, theirs.config.vocab_size, (n,)) for n in lengths()]
    )
    settings = {"max_new_tokens": new_tokens, "num_beams": beams}
    chosen = Options(**settings)
    given = padded(prompts, left=not theirs.config.is_encoder_decoder)

    def speak() -> list[list[int]]:
        return generate(ours, prompts, chosen)

    def generate_theirs() -> list[list[int]]:
        said = theirs.generate(
            **given, **settings, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        return said[:, -new_tokens:].tolist()

    seconds: list[tuple[float, float]] = []
    for number in range(num_rounds + 1):
        (got, ours_took), (want, theirs_took) = timed(speak), timed(generate_theirs)
        assert got == want, "the tokens differ"
        if number:
            seconds.append((ours_took, theirs_took))
    num_tokens = ROWS * new_tokens
    mine, others = (statistics.median(side) for side in zip(*seconds, strict=True))
    ratios = [b / a for a, b in seconds]
    return {
        "model": name,
        "headstart": num_tokens / mine,
        "transformers": num_tokens / others,
        "ratio": others / mine,
        "lowest": min(ratios),
        "highest": max(ratios),
        "seconds": seconds,
    }


def timed(run: Callable[[], list[list[int]]]) -> tuple[list[list[int]], float]:
    """What came out, and the seconds it took."""
    start = time.perf_counter()
    return run(), time.perf_counter() - start


def lengths() -> list[int]:
    """Tokens of each prompt, 8 to 120, evenly spread, in no order."""
    spread = [8 + round(112 * place / (ROWS - 1)) for place in range(ROWS)]
    random.Random(7).shuffle(spread)
    return spread


def padded(prompts: Ragged, *, left: bool) -> dict[str, torch.Tensor]:
    """Tokens and mask, (B, L) int64."""
    tokens = torch.zeros(ROWS, prompts.layout.longest, dtype=torch.int64)
    mask = torch.zeros_like(tokens)
    for place, row in enumerate(prompts.split()):
        where = slice(tokens.shape[1] - len(row), None) if left else slice(0, len(row))
        tokens[place, where], mask[place, where] = row, 1
    return {"input_ids": tokens, "attention_mask": mask}


def their_model(name: str) -> Any:
    """The shape of the published model, with random weights."""
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    if name == "gpt2":
        return transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval()
    config = transformers.T5Config(decoder_start_token_id=0)  # its defaults are T5 small's sizes
    return transformers.T5ForConditionalGeneration(config).eval()


def our_model(theirs: Any) -> Any:
    """The same weights in ours."""
    family, values = FAMILIES[theirs.config.model_type], theirs.config.to_dict()
    assert family.language is not None
    model = family.language.build(values)
    state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    fill(Path("in memory"), family, values, model.parts(), state)
    return model.eval()


if __name__ == "__main__":
    main()
