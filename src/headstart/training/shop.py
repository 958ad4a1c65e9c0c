"""What the stages of a run share: progress, cache, precision, checkpoints, tokens."""

from __future__ import annotations

from pathlib import Path

from headstart.clock import part
from headstart.data.batches import RaggedStore
from headstart.data.cache import headstart_cache
from headstart.data.examples import Examples
from headstart.data.text import Tokenizer
from headstart.data.tokenised import tokenised
from headstart.data.tokens import Tokens
from headstart.errors import RecipeError
from headstart.models.checkpoint import Checkpoint, open_checkpoint
from headstart.training.cores import use_given_cores
from headstart.training.kept import save_seconds
from headstart.training.precision import choose_precision
from headstart.training.progress import Progress, Silent
from headstart.training.tracking import Tracker, Untracked


class Shop:
    """What stages are trained with.

    Args:
        progress: where bars and messages go.
        cache: where finished stages and frozen features live. Default: $HEADSTART_CACHE.
    """

    def __init__(self, progress: Progress | None = None, cache: Path | None = None) -> None:
        self.progress = progress or Silent()
        self.cache = cache or headstart_cache()
        self.precision = choose_precision()
        self.track: Tracker = Untracked()
        self.save_seconds = save_seconds()
        use_given_cores()
        self._checkpoints: dict[str, Checkpoint] = {}
        self._encoded: dict[tuple[str, str, int], Tokens] = {}

    def checkpoint(self, name: str) -> Checkpoint:
        """Open a backbone that reads texts, once.

        Raises:
            RecipeError: it reads images.
        """
        if name not in self._checkpoints:
            checkpoint = open_checkpoint(name)
            if checkpoint.backbone.patch_values is not None:
                raise RecipeError(
                    f"backbone {name!r}: a {checkpoint.family} reads images, and stages read texts."
                    " Choose one that reads texts, such as 'bert-base-uncased'."
                )
            self._checkpoints[name] = checkpoint
        return self._checkpoints[name]

    def encoded(self, tokenizer: Tokenizer, max_length: int, rows: Examples) -> Tokens:
        """Tokens of a data set and how many were cut, made once for a tokenizer and length."""
        key = (rows.texts_digest, tokenizer.digest, max_length)
        if key not in self._encoded:
            with part("tokens"):
                self._encoded[key] = tokenised(tokenizer, rows, max_length, cache=self.cache)
        return self._encoded[key]

    def tokens(self, tokenizer: Tokenizer, max_length: int, rows: Examples) -> RaggedStore:
        """Tokens of a data set, made once for a tokenizer and length."""
        encoded = self.encoded(tokenizer, max_length, rows)
        return RaggedStore(encoded.values, encoded.offsets, encoded.segments)
