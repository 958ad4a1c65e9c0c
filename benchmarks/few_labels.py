"""64 labels to a trained and saved model: headstart, SetFit, and embeddings with a linear model.

    python benchmarks/few_labels.py [--seeds 5] [--labels 64] [--small]

All start from all-MiniLM-L6-v2 in its folder, get the same product sentences (drawn by the seed, as
`headstart transfer --labels` draws them), and are judged on the demo's 1,000 test rows. Seconds are
from opening the folder to the saved model, without imports: the median over seeds; accuracy is the
mean. "source -> target" finds its source stage in the cache, as every run after the first does.
SetFit runs with its defaults: all pairs oversampled, one epoch, batches of 16.
"""

from __future__ import annotations

import pickle
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from common import (
    BACKBONE,
    MAX_LENGTH,
    alternate,
    arguments,
    cold_shop,
    demo_rows,
    hush,
    judged,
    mean,
    middle,
    right,
    some,
    timed,
)
from headstart.data.batches import derive_seed
from headstart.data.examples import Examples
from headstart.data.findings import counted
from headstart.models.checkpoint import resolve
from headstart.recipe import Data, Recipe, Stage
from headstart.training.stage import Workshop
from headstart.verdict.arms import stages_of
from table import Row, keep_rows

NEEDED = {"SetFit": 10.0}
Sets = tuple[Examples, Examples, Examples]


def ours(arm: str, shop: Workshop, sets: Sets, labels: int, seed: int) -> tuple[float, float]:
    """An arm of `headstart transfer`: its seconds and accuracy.

    Args:
        shop: has trained the source stage before, where the arm has one.
    """
    source, target, test = sets
    recipe = arm_recipe(stages_of(arm, labels), seed)
    data = {"source": source, "target": some(target, labels, derive_seed("labels", seed))}
    shop = Workshop(cache=shop.cache)  # as in a process of its own: nothing is open yet
    seconds, stages = timed(lambda: shop.run(recipe, data))
    return seconds, judged(stages[-1], test)


def arm_recipe(stages: tuple[Stage, ...], seed: int) -> Recipe:
    """Stages as an arm has them: the source's is the same for all seeds."""
    fixed = tuple(s.model_copy(update={"seed": 0}) if s.data == "source" else s for s in stages)
    data = {stage.data: Data(path="<memory>") for stage in fixed}
    return Recipe(backbone=BACKBONE, max_length=MAX_LENGTH, data=data, stage=fixed, seed=seed)


def setfit(sets: Sets, labels: int, most_steps: int, seed: int) -> tuple[float, float]:
    """SetFit with its defaults: its seconds and accuracy."""
    from datasets import Dataset
    from setfit import SetFitModel, TrainingArguments
    from setfit import Trainer as SetFitTrainer
    from transformers import PrinterCallback

    _, target, test = sets
    chosen = some(target, labels, derive_seed("labels", seed))
    with tempfile.TemporaryDirectory() as folder:

        def work() -> Any:
            model = SetFitModel.from_pretrained(str(resolve(BACKBONE)), labels=list(target.classes))
            arguments = TrainingArguments(
                output_dir=folder,
                seed=seed,
                max_steps=most_steps,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                show_progress_bar=False,
            )
            columns = {"text": list(chosen.texts), "label": list(chosen.labels or [])}
            rows = Dataset.from_dict(columns)
            trainer = SetFitTrainer(model=model, args=arguments, train_dataset=rows)
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            model.save_pretrained(f"{folder}/model")
            return model

        seconds, model = timed(work)
        answers = [str(label) for label in model.predict(list(test.texts), show_progress_bar=False)]
    return seconds, right(answers, test)


def linear(sets: Sets, labels: int, seed: int) -> tuple[float, float]:
    """sentence-transformers' embeddings under scikit-learn's LogisticRegression."""
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    _, target, test = sets
    chosen = some(target, labels, derive_seed("labels", seed))
    with tempfile.TemporaryDirectory() as folder:

        def work() -> tuple[Any, Any]:
            encoder = SentenceTransformer(str(resolve(BACKBONE)))
            head = LogisticRegression(max_iter=1000, random_state=seed)
            vectors = encoder.encode(list(chosen.texts), show_progress_bar=False)
            head.fit(vectors, list(chosen.labels or []))
            encoder.save(f"{folder}/encoder")
            Path(folder, "head.pkl").write_bytes(pickle.dumps(head))
            return encoder, head

        seconds, (encoder, head) = timed(work)
        answers = head.predict(encoder.encode(list(test.texts), show_progress_bar=False))
    return seconds, right([str(label) for label in answers], test)


def quiet() -> None:
    """Without bars of other tools between the lines."""
    from datasets.utils.logging import disable_progress_bar
    from setfit import logging

    disable_progress_bar()
    logging.set_verbosity_error()
    hush()


def main() -> None:
    """All ways, in turns."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, default=64)
    options = parser.parse_args()
    small = options.small
    labels, seeds = (8, 1) if small else (options.labels, options.seeds)
    quiet()
    with demo_rows() as sets, cold_shop() as shop:
        if small:
            sets = some(sets[0], 40), sets[1], some(sets[2], 20)
        first = arm_recipe(stages_of("source", labels), 0)
        spent, _ = timed(lambda: shop.run(first, {"source": sets[0]}))
        print(f"the source stage, trained once: {spent:.1f} s", flush=True)
        arms = {"target": "target only", "source+target": "source -> target"}
        ways = {title: partial(ours, arm, shop, sets, labels) for arm, title in arms.items()}
        ways["SetFit"] = partial(setfit, sets, labels, 3 if small else -1)
        ways["embeddings + LogisticRegression"] = partial(linear, sets, labels)
        found = alternate(ways, seeds)
    for name, runs in found.items():
        print(f"{name:<32} {[round(s, 1) for s, _ in runs]} {[round(a, 3) for _, a in runs]}")
    rows = [
        Row(
            name=f"{labels} labels to a saved model, {title}",
            ours=middle(found[title]),
            peer=peer,
            peers=middle(found[peer]),
            ours_accuracy=mean([a for _, a in found[title]]),
            peer_accuracy=mean([a for _, a in found[peer]]),
            needed=NEEDED.get(peer),
            note=f"mean accuracy of {counted(seeds, 'seed')}"
            + (f"; source stage from the cache, {spent:.0f} s once" if "->" in title else ""),
        )
        for title in arms.values()
        for peer in ("SetFit", "embeddings + LogisticRegression")
    ]
    keep_rows(rows, small=small)


if __name__ == "__main__":
    main()
