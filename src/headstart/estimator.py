"""headstart as a scikit-learn classifier over texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from headstart.data.examples import Examples, examples
from headstart.data.table import read
from headstart.recipe import DEFAULT_BACKBONE, Recipe
from headstart.training.model import Trained, open_trained
from headstart.training.progress import OnConsole, Silent
from headstart.training.stage import Workshop
from headstart.verdict.arms import SOURCE, stages_of


class Classifier(ClassifierMixin, BaseEstimator):
    """Fine-tune a Transformer on texts and labels, from a source where one is given.

    Follows scikit-learn's conventions: `fit`, `predict`, `predict_proba`, `score`; works in a
    `Pipeline` and in `cross_val_score`. The source stage is trained once for all folds.

    Shapes: N texts, C classes.

    Args:
        source: many labelled rows to learn from first: what `headstart.transfer` takes. None fits
            on the target alone.
        backbone: a folder, a hub name, or the model of an installed package.
        pooling: "auto", "cls", "mean", "last" or "family".
        max_length: longest text in tokens. Default: the checkpoint's.
        epochs: passes over the data in `fit`. Default: more for fewer labels, as in `transfer`.
        learning_rate: peak rate of fine-tuning. Default: the recipe's.
        class_weights: "balanced", weights by label, or None.
        random_state: seed of new heads, data order and dropout.
        verbose: whether to show progress on standard error.

    Attributes:
        classes_: (C,) the classes, sorted, in the type that `fit` was given.
    """

    def __init__(
        self,
        source: Any = None,
        *,
        backbone: str = DEFAULT_BACKBONE,
        pooling: str = "auto",
        max_length: int | None = None,
        epochs: float | None = None,
        learning_rate: float | None = None,
        class_weights: Any = None,
        random_state: int = 0,
        verbose: bool = False,
    ) -> None:
        self.source = source
        self.backbone = backbone
        self.pooling = pooling
        self.max_length = max_length
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.class_weights = class_weights
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Sequence[str], y: Sequence[Any]) -> Classifier:  # noqa: N803
        """Train on N texts and their N labels.

        Raises:
            ValueError: X is not N texts, or y holds fewer than two classes.
            UserError: the source or the backbone cannot be used.
        """
        texts = _texts(X)
        labels = np.asarray(y)
        check_classification_targets(labels)
        if labels.shape != (len(texts),):
            raise ValueError(f"y must hold {len(texts)} labels, one for each text; "
                             f"its shape is {labels.shape}.")  # fmt: skip
        names = [str(label) for label in labels.tolist()]
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ValueError(f"y must hold 2 or more classes; it holds only {names[0]!r}.")
        target = Examples("X", texts, names, np.arange(len(texts)))
        sets = {"target": target} | self._source()
        recipe = self._recipe(sets)
        shop = Workshop(OnConsole() if self.verbose else Silent())
        self._trained = open_trained(shop.run(recipe, sets)[-1].folder)
        return self

    def predict_proba(self, X: Sequence[str]) -> np.ndarray:  # noqa: N803
        """(N, C) probability of each class, columns as in `classes_`; rows sum to 1."""
        check_is_fitted(self, "classes_")
        trained: Trained = self._trained
        order = [trained.task.labels.index(str(c)) for c in self.classes_.tolist()]
        return trained.logits(_texts(X))[:, order].softmax(-1).numpy()

    def predict(self, X: Sequence[str]) -> np.ndarray:  # noqa: N803
        """(N,) class of each text."""
        best = self.predict_proba(X).argmax(-1)
        return self.classes_[best]

    def _source(self) -> dict[str, Examples]:
        if self.source is None:
            return {}
        return {"source": examples(read(self.source, name="source"))}

    def _recipe(self, sets: dict[str, Examples]) -> Recipe:
        arm = "source+target" if "source" in sets else "target"
        last = {"epochs": self.epochs, "learning_rate": self.learning_rate}
        changes = {key: value for key, value in last.items() if value is not None}
        stages = []
        for stage in stages_of(arm, len(sets["target"])):
            values = stage.model_dump()
            if stage.name == SOURCE.name:
                values["seed"] = 0
            else:
                values["task"] = {"kind": "classify", "class_weights": self.class_weights}
            stages.append(values | (changes if stage.train == "all" and stage != SOURCE else {}))
        return Recipe.from_values({
            "backbone": self.backbone,
            "pooling": self.pooling,
            "max_length": self.max_length,
            "seed": self.random_state,
            "data": {name: {"path": f"<{name}>"} for name in sets},
            "stage": stages,
        }, "Classifier")  # fmt: skip

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags


def _texts(texts: Any) -> list[str]:
    """Check that X is a sequence of texts."""
    if isinstance(texts, str):
        raise ValueError("X must be a sequence of texts; got a single text. Put it into a list.")
    listed = list(texts)
    wrong = next((t for t in listed if not isinstance(t, str)), None)
    if wrong is not None:
        raise ValueError(f"X must be a sequence of texts; it holds a {type(wrong).__name__}.")
    return listed
