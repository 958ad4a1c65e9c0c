"""A saved model that answers: labels and probabilities for texts. Made by `headstart.load`.

Heavy imports are inside the functions, so that `import headstart` stays light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from headstart.explain.result import Explanation
    from headstart.export.folders import Exported
    from headstart.models.adapters import Base
    from headstart.training.model import Trained
    from headstart.training.shared import Answering


class Model:
    """A saved model that answers. Made by `load`.

    Shapes: N texts, C classes.
    """

    def __init__(
        self,
        trained: Trained | None = None,
        base: Base | None = None,
        tasks: Mapping[str, Answering] | None = None,
    ) -> None:
        self._own, self._base = trained, base
        self._tasks = dict(tasks or {})
        self._adapters: dict[str, Model] = {}

    @property
    def _trained(self) -> Trained:
        """The classifier that answers.

        Raises:
            CheckpointError: there are several tasks, or the one there is gives numbers.
        """
        if self._own is None:
            self._own = self._only().trained()
        return self._own

    @property
    def _asked(self) -> Trained | Answering:
        """What answers: the classifier, or the only task."""
        return self._only() if self._tasks else self._trained

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that the model answers for, where it was trained on several."""
        return tuple(self._tasks)

    def task(self, name: str) -> Model:
        """The model of one of several tasks; the weights are the same in memory.

        Raises:
            CheckpointError: there is no task of that name.
        """
        from headstart.errors import CheckpointError, unknown_name

        if name not in self._tasks:
            raise CheckpointError(
                unknown_name("task", "task", name, self._tasks)
                if self._tasks
                else f"task {name!r}: the model has one task. Leave the name out."
            )
        return Model(tasks={name: self._tasks[name]})

    @property
    def gives_numbers(self) -> bool:
        """Whether answers are numbers (regress), not labels."""
        return bool(self._tasks) and self._only().kind == "regress"

    @property
    def reads_pairs(self) -> bool:
        """Whether it answers for pairs of texts."""
        return bool(self._tasks) and self._only().pairs

    def _only(self) -> Answering:
        from headstart.errors import CheckpointError

        if len(self._tasks) != 1:
            raise CheckpointError(
                f"task: the model answers for several, {', '.join(self._tasks)}. Name one: "
                "headstart predict --task NAME, or headstart.load(...).task(NAME) in Python."
            )
        return next(iter(self._tasks.values()))

    @property
    def classes(self) -> tuple[str, ...]:
        """The C class names, in the order of the columns of `predict_proba`."""
        return self._trained.task.labels

    @property
    def max_length(self) -> int:
        """Longest text in tokens; what is longer is cut."""
        return self._any.max_length

    @property
    def provenance(self) -> dict[str, Any]:
        """What the model was trained from and on, and what it reached."""
        return self._any.provenance

    @property
    def _any(self) -> Trained | Answering:
        """The classifier, or any of the tasks: what they share is asked of it."""
        return next(iter(self._tasks.values())) if self._tasks else self._trained

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that were added."""
        return tuple(self._adapters)

    def add_adapter(self, name: str, folder: str | Path) -> None:
        """Serve one more adapter on the same weights; it brings a head and classes of its own.

        Args:
            name: what `predict` is to know it by.
            folder: the adapter/ folder of a model trained with LoRA, or what PEFT saved.

        Raises:
            CheckpointError: the name is taken, it is no adapter, or it was made for other weights.
        """
        from headstart.errors import CheckpointError
        from headstart.training.serving import base_of, with_adapter

        if name in self._adapters:
            raise CheckpointError(f"adapter {name!r}: there is one of that name. Choose another.")
        self._base = self._base or base_of(self._trained)
        mine = self._trained
        added = with_adapter(self._base, mine.tokenizer, mine.origin, folder)
        self._adapters[name] = Model(added, self._base)

    def adapter(self, name: str) -> Model:
        """The model that an adapter makes of this one; the weights are the same in memory.

        Raises:
            CheckpointError: no adapter of that name was added.
        """
        from headstart.errors import CheckpointError, unknown_name

        if name not in self._adapters:
            raise CheckpointError(unknown_name("adapter", "adapter", name, self._adapters))
        return self._adapters[name]

    def predict(
        self, texts: Sequence[Any], adapter: str | None = None, task: str | None = None
    ) -> list[Any]:
        """The label of each of N texts, or its number (float) where the task is to regress.

        Args:
            texts: N texts, or pairs (first, second) where the model was trained on pairs.
            adapter: an adapter that was added. Default: the model itself.
            task: which of several tasks. Default: the only one.

        Raises:
            CheckpointError: there is no such adapter or task, or a task must be named.
        """
        if task is not None:
            return self.task(task).predict(texts, adapter)
        if adapter is not None:
            return self.adapter(adapter).predict(texts)
        if self.gives_numbers:
            return list(self.numbers(texts).tolist())
        return self._asked.task.decode(self._asked.logits(list(texts)))

    def numbers(self, texts: Sequence[Any]) -> np.ndarray:
        """(N,) float64 number of each text, by a model that gives numbers.

        Raises:
            CheckpointError: it gives labels.
        """
        from headstart.errors import CheckpointError

        if not self.gives_numbers:
            raise CheckpointError("numbers: the model gives labels. Use predict.")
        only = self._only()
        return only.decode_numbers(only.logits(list(texts)))

    def predict_proba(
        self, texts: Sequence[Any], adapter: str | None = None, task: str | None = None
    ) -> np.ndarray:
        """(N, C) float32 probability of each class for each text; rows sum to 1.

        They are calibrated where the model's folder holds a temperature.

        The columns are `classes`, or those of the adapter or the task:
        `model.adapter(name).classes`, `model.task(name).classes`.
        """
        from headstart.errors import CheckpointError

        if task is not None:
            return self.task(task).predict_proba(texts, adapter)
        if adapter is not None:
            return self.adapter(adapter).predict_proba(texts)
        if self.gives_numbers:
            raise CheckpointError("predict_proba: the task gives numbers (regress). Use predict.")
        return self._asked.probabilities(self._asked.logits(list(texts))).numpy()

    def explain(
        self,
        texts: str | Sequence[str],
        *,
        method: str = "auto",
        class_name: str | None = None,
        attention: bool = False,
        before: Mapping[str, Model | str | Path] | None = None,
        train: Any = None,
        words: Any = None,
    ) -> Explanation:
        """Why the model answers as it does.

        Args:
            texts: to be explained; may be empty where `words` is given.
            method: a name in `headstart.explain.attribution.METHODS`; "auto" takes the one that is
                most faithful on this model.
            class_name: the class to explain. Default: of each text the predicted one.
            attention: keep what every layer and head looks at.
            before: other models to compare with, by the names that they are to be called by:
                models, or what `headstart.load` opens.
            train: training rows, as `transfer` takes data: the nearest of each text are shown, and
                the layers of the model and of its backbone are compared on them.
            words: rows over which it is asked which words drive each class, likewise; labels are
                not needed.

        Raises:
            UserError: with every fault that was found in what was asked.
        """
        from headstart.explain.asking import asked_for
        from headstart.explain.explanation import explain
        from headstart.explain.result import Explanation

        others = {name: model._trained if isinstance(model, Model) else model
                  for name, model in (before or {}).items()}  # fmt: skip
        asked = asked_for(method, class_name, attention=attention, before=others, train=train,
                          words=words)  # fmt: skip
        given = [texts] if isinstance(texts, str) else list(texts)
        return Explanation(explain(self._trained, given, asked))

    def export(
        self,
        to: str,
        out: str | Path,
        *,
        int8: bool = False,
        tolerance: float | None = None,
        rows: Any = None,
    ) -> Exported:
        """Write the model as others have it, and compare its logits before anything is left.

        Args:
            to: "hf", "sentence-transformers", "onnx", or "peft" for what was trained with LoRA.
            out: a folder that is new or empty.
            int8: store an ONNX graph's weights in 8 bits.
            tolerance: largest difference of a logit that is let pass. Default: 0.001; 0.5 with
                int8.
            rows: texts to compare on, as `transfer` takes data; labels are not needed, and 1,000
                rows are read at most. Default: the run's mistakes, or a few sentences.

        Raises:
            UserError: with every fault that was found in what was asked, or the difference.
            CheckpointError: `to` cannot express this model; the message names what can.
        """
        from headstart.export.folders import export_model, rows_to_compare

        texts = None if rows is None else rows_to_compare(rows)
        return export_model(self._trained, to, Path(out), int8=int8, tolerance=tolerance,
                            texts=texts)  # fmt: skip

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool = False,
        token: str | None = None,
        message: str | None = None,
        license_name: str | None = None,
    ) -> str:
        """Upload the model to the Hugging Face hub, with a card written from its verdict.

        No text of the data, and no path of this machine, is uploaded.

        Args:
            repo: "owner/name", made if needed; "name" alone is the token's owner's.
            private: make a repository that only its owner sees.
            token: of the hub. Default: the one of `hf auth login`, or HF_TOKEN.
            message: of the commit.
            license_name: for the card, as the hub writes it, such as "apache-2.0".

        Returns:
            The address of the model's page.

        Raises:
            UserError: the name cannot be, the hub does not let the token write there or cannot be
                reached, or `private` was asked for and the repository is public.
        """
        from headstart.export.hub import push

        return push(self._trained, repo, private=private, token=token, message=message,
                    license_name=license_name)  # fmt: skip

    def __repr__(self) -> str:
        if len(self._tasks) > 1 or (self._tasks and self.gives_numbers):
            return f"Model(tasks={list(self._tasks)})"
        return f"Model(classes={list(self.classes)}, max_length={self.max_length})"
