"""Texts to what a language model says next. Made by `headstart.load_generator`.

Heavy imports are inside the functions, so that `import headstart` stays light.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import UserError

if TYPE_CHECKING:
    from headstart.data.text import Tokenizer
    from headstart.generation.options import Options
    from headstart.generation.search import Ends
    from headstart.models.checkpoint import LanguageCheckpoint
    from headstart.models.language import LanguageModel, TextToText

UNCUT = 1 << 30
"""Tokens of a text at most: none is cut, and one that is too long is an error."""


class Generator:
    """A decoder, or an encoder with a decoder, that writes. Made by `headstart.load_generator`.

    Args:
        checkpoint: the model, and what its folder says.
        reading: tokenizer of the texts that are given.
        writing: tokenizer of the texts that are said; another one in some Marian models.
    """

    def __init__(
        self,
        checkpoint: LanguageCheckpoint[LanguageModel | TextToText],
        reading: Tokenizer,
        writing: Tokenizer,
    ) -> None:
        from headstart.generation.published import published
        from headstart.models.language import LanguageModel

        self._model, self._reading, self._writing = checkpoint.model, reading, writing
        self._goes_on = isinstance(checkpoint.model, LanguageModel)
        place = str(checkpoint.folder / "generation_config.json")
        said = published(place, checkpoint.generation, decoder=self._goes_on)
        vocabulary = checkpoint.config["vocab_size"]
        ends = said["eos"] or tuple(t for t in writing.eos_ids if t < vocabulary)
        self._said = said | {"eos": ends}
        self._name, self._family = checkpoint.name, checkpoint.family

    def options(self, **given: Any) -> Options:
        """How words are chosen in a call: as is given, else as the model's folder asks for.

        Raises:
            UserError: an option is not known or cannot be, all of them at once.
        """
        from headstart.generation.published import combined

        return combined(self._said, given)

    def generate(
        self,
        texts: Sequence[str],
        *,
        stop: str | Sequence[str] = (),
        batch_size: int = 32,
        **options: Any,
    ) -> list[str]:
        """What comes after each text: a decoder goes on, an encoder-decoder answers.

        A text's answer does not depend on the texts beside it, whether or not words are drawn.

        Args:
            texts: N texts.
            stop: an answer ends before the first of these strings, in whose place nothing stands.
            batch_size: texts that are read together.
            options: of `headstart.generation.options.Options`: max_new_tokens, num_beams,
                temperature, top_p, seed, and so on. Default: what the model's folder asks for.

        Returns:
            N answers; with num_return_sequences K, the K of each text one after the other.

        Raises:
            UserError: an option is not known or cannot be, all of them at once; or a text is longer
                than the model can read.
        """
        import torch

        from headstart.generation.generate import generate
        from headstart.nn.ragged import Ragged

        chosen, stops = self.options(**options), _stops(stop)
        _check(texts, batch_size)
        rows = self._rows(texts)
        ends, device = self._ends(stops), self._device()
        order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
        answers: list[list[str]] = [[] for _ in rows]
        for start in range(0, len(rows), batch_size):
            numbers = order[start : start + batch_size]
            prompts = Ragged.from_rows([torch.tensor(rows[number]) for number in numbers])
            said = generate(self._model, prompts.to(device), chosen, ends, numbers)
            copies = chosen.num_return_sequences
            for place, number in enumerate(numbers):
                for tokens in said[place * copies : (place + 1) * copies]:
                    answers[number].append(self._text(rows[number], tokens, stops))
        return [answer for row in answers for answer in row]

    def stream(self, text: str, *, stop: str | Sequence[str] = (), **options: Any) -> Iterator[str]:
        """The answer to a text in pieces, as soon as each is certain; together as `generate` says.

        Args:
            text: what to go on from.
            stop: as in `generate`.
            options: as in `generate`, with one beam and one answer.

        Raises:
            UserError: as `generate`; or beams were asked for, of which none is certain before all
                have ended.
        """
        import torch

        from headstart.generation.generate import row_limits
        from headstart.generation.search import word_by_word
        from headstart.nn.ragged import Ragged

        chosen, stops = self.options(**options), _stops(stop)
        if chosen.num_beams > 1 or chosen.num_return_sequences > 1:
            raise UserError(
                f"stream: {chosen.num_beams} beams and {chosen.num_return_sequences} answers "
                "cannot be told while they are written. Give num_beams=1 and "
                "num_return_sequences=1, or call generate."
            )
        _check([text], 1)
        row = self._rows([text])[0]
        prompts = Ragged.from_rows([torch.tensor(row)]).to(self._device())
        limits = row_limits(self._model, prompts.lengths, chosen)
        steps = word_by_word(self._model, prompts, chosen, limits)
        return _pieces((pairs[0][1] for pairs in steps), self._after(row), stops)

    def __repr__(self) -> str:
        return f"Generator({self._name!r}, family={self._family!r})"

    def _device(self) -> Any:
        """Where the model is from now on."""
        from headstart.training.inference import best_device

        device = best_device()
        self._model.to(device)
        return device

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text."""
        tokens = self._reading.encode(texts, UNCUT)
        bounds = tokens.offsets.tolist()
        values = tokens.values.tolist()
        return [values[start:end] for start, end in pairwise(bounds)]

    def _ends(self, stops: tuple[str, ...]) -> Ends | None:
        def stopped(said: Sequence[int]) -> bool:
            text = self._writing.decode(said)
            return any(stop in text for stop in stops)

        return stopped if stops else None

    def _after(self, row: list[int]) -> _After:
        """What tokens say behind those of a text."""
        return _After(self._writing, row if self._goes_on else [])

    def _text(self, row: list[int], said: list[int], stops: tuple[str, ...]) -> str:
        return "".join(_pieces(iter(said), self._after(row), stops))


class _After:
    """The text of tokens as they come, behind a text that went before.

    Read on their own, some tokenizers would take away the space that they begin with.
    """

    def __init__(self, tokenizer: Tokenizer, before: list[int]) -> None:
        self._stream = tokenizer.stream()
        given = sum(len(self._stream.push(token)) for token in before)
        self._held_back = len(tokenizer.decode(before)) - given

    def push(self, token: int) -> str:
        """The text that is now certain."""
        return self._new(self._stream.push(token))

    def finish(self) -> str:
        """The rest of it."""
        return self._new(self._stream.finish())

    def _new(self, text: str) -> str:
        old = min(max(self._held_back, 0), len(text))
        self._held_back -= old
        return text[old:]


def _pieces(tokens: Iterator[int], after: _After, stops: tuple[str, ...]) -> Iterator[str]:
    """The text of tokens in pieces, up to the first of the strings that end it.

    What may become one of them is held back.
    """
    waiting = ""
    for piece in chain((after.push(token) for token in tokens), (after.finish() for _ in "1")):
        waiting += piece
        found = [place for stop in stops if (place := waiting.find(stop)) >= 0]
        if found:
            yield waiting[: min(found)]
            return
        certain = len(waiting) - max((_begun(waiting, stop) for stop in stops), default=0)
        if certain:
            yield waiting[:certain]
        waiting = waiting[certain:]
    if waiting:
        yield waiting


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of a text begin a string."""
    return next((n for n in range(len(stop) - 1, 0, -1) if text.endswith(stop[:n])), 0)


def _stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    wrong = [text for text in stops if not isinstance(text, str) or not text]
    if wrong:
        raise UserError(
            f"stop: must be strings of a character or more; got {', '.join(map(repr, wrong))}."
        )
    return stops


def _check(texts: Sequence[str], batch_size: int) -> None:
    faults = []
    if isinstance(texts, str):
        faults.append(f"texts: must be a list of texts; got one, {texts[:60]!r}. Put it in a list.")
    else:
        faults += [
            f"text {number} (from 0): must be a string; got {text!r}."
            for number, text in enumerate(texts)
            if not isinstance(text, str)
        ]
    if not isinstance(batch_size, int) or batch_size < 1:
        faults.append(f"batch_size: must be a whole number, 1 or more; got {batch_size!r}.")
    if faults:
        raise UserError(faults)


def open_generator(name: str | Path) -> Generator:
    """Open a language model with its tokenizer.

    Raises:
        CheckpointError: as `headstart.load_generator`.
    """
    from headstart.data.text import Tokenizer, check_vocabulary
    from headstart.models.checkpoint import open_language_model

    checkpoint = open_language_model(name)
    reading = Tokenizer.open(checkpoint.folder)
    check_vocabulary(reading, checkpoint.config["vocab_size"], checkpoint.folder)
    return Generator(checkpoint, reading, Tokenizer.open(checkpoint.folder, "target"))
