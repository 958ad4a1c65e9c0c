"""headstart transfer: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from headstart.commands.options import JSON, OUT, PROFILE, SEEDS, TRACK, option
from headstart.commands.showing import show
from headstart.commands.values import columns, pairs
from headstart.recipe import DEFAULT_BACKBONE

SOURCE = option("FILE|DIR", "Rows with many labels: a csv, tsv, jsonl or parquet file, or an "
              "aclImdb folder. Give it once for each of several sources.")  # fmt: skip
TARGET = option("FILE|DIR", "Rows like those the model is for, labelled, few as they may be.")
TEST = option("FILE|DIR", "Labelled rows to judge by, with the target's columns. Default: see "
            "--folds.")  # fmt: skip
TEXT = option("COL", "Text column; or source=COL,target=COL. Default: guessed.")
LABEL = option("COL", "Label column; or source=COL,target=COL. Default: guessed.")
SOURCE_MAP = option("OLD=NEW,...", "Rename the source's labels, as in 1=negative,5=positive. Rows "
                  "with other labels are left out.")  # fmt: skip
TARGET_MAP = option("OLD=NEW,...", "Rename the labels of target and test likewise.")
BACKBONE = option("NAME|DIR", "Pre-trained model of texts to start from: a name on the Hugging "
                  "Face hub, or a folder; headstart models lists the families.")  # fmt: skip
ARMS = option("WAY,...", "Ways to compare. Default: tfidf,frozen,target,source,source+target.")
LABELS = option("N", "Train on N target rows only, drawn by seed: what would fewer labels do? "
              "Default: all.", min=2)  # fmt: skip
FOLDS = option("K", "Without --test: judge each row of the target by models trained on the other "
             "folds; 0 holds out a fifth instead. Default: 3 or 5 below 2,000 rows, unless "
             "--labels leaves rows to judge by.", min=0)  # fmt: skip
BUDGET = option("TIME", "Keep the search within a time, such as 10m: cheap ways first, hopeless "
                "ones stopped, then more seeds.")  # fmt: skip
CURVE = option("HOW", "Draw accuracy against the number of labels, with the source and without: "
               "frozen (quick, on frozen vectors) or full (every point trained).")  # fmt: skip
UNLABELLED = option("FILE|DIR", "More texts like the target's, without labels, for the ways that "
                    "begin with adapt.")  # fmt: skip
POOLING = option("HOW", "How tokens become one vector: auto (what the checkpoint says), cls, mean, "
               "last (for decoders), or family (the head that transformers gives its "
               "classifiers).")  # fmt: skip
MAX_LENGTH = option("N", "Longest text in tokens; the rest is cut, and reported. Default: the "
                  "checkpoint's.", min=4)  # fmt: skip


def transfer_command(
    source: Annotated[list[str], SOURCE],
    target: Annotated[str, TARGET],
    test: Annotated[str | None, TEST] = None,
    unlabelled: Annotated[str | None, UNLABELLED] = None,
    text: Annotated[str | None, TEXT] = None,
    label: Annotated[str | None, LABEL] = None,
    source_map: Annotated[str | None, SOURCE_MAP] = None,
    target_map: Annotated[str | None, TARGET_MAP] = None,
    backbone: Annotated[str, BACKBONE] = DEFAULT_BACKBONE,
    arms: Annotated[str | None, ARMS] = None,
    labels: Annotated[int | None, LABELS] = None,
    seeds: Annotated[int | None, SEEDS] = None,
    folds: Annotated[int | None, FOLDS] = None,
    budget: Annotated[str | None, BUDGET] = None,
    curve: Annotated[str | None, CURVE] = None,
    pooling: Annotated[str, POOLING] = "auto",
    max_length: Annotated[int | None, MAX_LENGTH] = None,
    out: Annotated[Path, OUT] = Path("runs/transfer"),
    json: Annotated[bool, JSON] = False,
    profile: Annotated[bool, PROFILE] = False,
    track: Annotated[str | None, TRACK] = None,
) -> None:
    """Carry what a Transformer learns on SOURCE to TARGET, and say what it was worth.

    Ways that are compared, all on the same rows (--arms):

      tfidf           words counted, and a logistic regression: no Transformer
      frozen          the untouched encoder, and a logistic regression
      target          an encoder trained on the target alone
      source          an encoder trained on the source alone
      source+target   on the source; then on the target, first the head with
                      the encoder frozen, then everything

    And on demand:

      random                as target, from random weights: what the
                            pre-training was worth
      joint                 source and target at once, then the target
      adapt+target,         first the target's own texts, unlabelled, words
      adapt+source+target   of which are hidden and guessed; then as above

    Which of them is kept is chosen inside the training rows; the rows that
    judge never choose. verdict.json, report.html, recipe.toml and the best
    model/ are left in --out.

    Examples:

      headstart transfer --source films.csv --target shop.csv
      headstart transfer --source films.csv --source books.csv --target shop.csv
      headstart transfer --source films.csv --target stars.csv --labels 256 \\
          --text source=review,target=body \\
          --target-map 1=negative,2=negative,4=positive,5=positive
    """
    from headstart.api import command_line, transfer

    verdict = transfer(source, target, test=test, unlabelled=unlabelled,
                       text=columns("--text", text), label=columns("--label", label),
                       source_map=pairs("--source-map", source_map),
                       target_map=pairs("--target-map", target_map),
                       backbone=backbone, arms=arms, labels=labels, seeds=seeds, folds=folds,
                       budget=budget, curve=curve, pooling=pooling, max_length=max_length,
                       out=out, profile=profile, track=track,
                       command=command_line(sys.argv[1:]))  # fmt: skip
    show(verdict, json)
