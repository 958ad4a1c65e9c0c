"""headstart generate: what a language model says next, as it says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from headstart.speaking import Generator

MODEL = typer.Argument(metavar="NAME|DIR", help="A GPT-2, Llama, Mistral, Qwen, T5, BART, Marian "
                       "or a kin on the Hugging Face hub, or a folder.")  # fmt: skip
WHAT = typer.Argument(metavar="TEXT...|-", help="Texts; or - for standard input, one a line.")
MOST = typer.Option(metavar="N", min=1, help="Most new tokens. Default: what the model's folder "
                    "says, else 64.")  # fmt: skip
BEAMS = typer.Option(metavar="N", min=1, help="Follow so many beginnings, and keep the best text.")
TEMPERATURE = typer.Option(metavar="X", help="Draw words by their probability, likely ones more "
                           "often below 1.")  # fmt: skip
TOP_K = typer.Option(metavar="K", min=1, help="Draw from the K likeliest words.")
TOP_P = typer.Option(metavar="P", help="Draw from the likeliest words of probability P together.")
MIN_P = typer.Option(metavar="P", help="Draw from words at least P times as likely as the best.")
SEED = typer.Option(metavar="N", min=0, help="Of what is drawn.")
STOP = typer.Option(metavar="TEXT", help="End before this; may be given several times.")
LINES = typer.Option("--json", help="JSON lines of text and answer.")


def generate_command(
    model: Annotated[str, MODEL],
    what: Annotated[list[str], WHAT],
    max_new_tokens: Annotated[int | None, MOST] = None,
    num_beams: Annotated[int | None, BEAMS] = None,
    temperature: Annotated[float | None, TEMPERATURE] = None,
    top_k: Annotated[int | None, TOP_K] = None,
    top_p: Annotated[float | None, TOP_P] = None,
    min_p: Annotated[float | None, MIN_P] = None,
    seed: Annotated[int | None, SEED] = None,
    stop: Annotated[list[str] | None, STOP] = None,
    json: Annotated[bool, LINES] = False,
) -> None:
    """Write on: what a language model says after each text.

    A decoder goes on with the text; a model that reads and writes, such as T5,
    answers it. Words are shown as they come, except those of beams.

    Examples:

      headstart generate gpt2 "The best thing about cats is"
      headstart generate gpt2 "Once upon a time" --temperature 0.8 --top-p 0.95
      headstart generate Helsinki-NLP/opus-mt-en-de - < letters.txt
    """
    from headstart.api import load_generator

    given: dict[str, Any] = {
        "max_new_tokens": max_new_tokens, "num_beams": num_beams, "temperature": temperature,
        "top_k": top_k, "top_p": top_p, "min_p": min_p, "seed": seed,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    generator = load_generator(model)
    chosen = generator.options(**given)
    given["stop"] = tuple(stop or ())
    at_once = json or max(chosen.num_beams, chosen.num_return_sequences) > 1
    for texts in _chunks(what):
        if at_once or len(texts) > 1:
            _whole(generator, texts, given, json)
        else:
            _as_it_comes(generator, texts[0], given)


def _chunks(what: list[str]) -> Iterator[list[str]]:
    """The texts, those that are there together in one list."""
    import sys

    from headstart.predicting import arriving_lines

    if what == ["-"]:
        yield from arriving_lines(sys.stdin.buffer)
    else:
        yield what


def _whole(generator: Generator, texts: list[str], options: dict[str, Any], json: bool) -> None:
    from json import dumps

    answers = generator.generate(texts, **options)
    copies = len(answers) // len(texts)
    for number, answer in enumerate(answers):
        row = {"text": texts[number // copies], "answer": answer}
        print(dumps(row, ensure_ascii=False) if json else answer, flush=True)


def _as_it_comes(generator: Generator, text: str, options: dict[str, Any]) -> None:
    for piece in generator.stream(text, **options):
        print(piece, end="", flush=True)
    print(flush=True)
