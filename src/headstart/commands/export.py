"""headstart export: a trained model as a folder that others open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MODEL = typer.Argument(metavar="MODEL", help="The output folder of a run, or a model/ folder.")
TO = typer.Option(metavar="FORMAT", help="hf, sentence-transformers, onnx or peft.")
OUT = typer.Option(metavar="DIR", help="A new or empty folder. Default: MODEL-FORMAT.")
INT8 = typer.Option("--int8", help="Store the weights of an ONNX graph in 8 bits.")
TOLERANCE = typer.Option(metavar="X", help="Largest difference of a logit that is let pass. "
                         "Default: 0.001; 0.5 with --int8.")  # fmt: skip
ROWS = typer.Option(metavar="FILE", help="Texts to compare on, 1,000 at most; labels are not "
                    "needed. Default: what the run got wrong, or a few sentences.")  # fmt: skip


def export_command(
    model: Annotated[Path, MODEL],
    to: Annotated[str, TO],
    out: Annotated[Path | None, OUT] = None,
    int8: Annotated[bool, INT8] = False,
    tolerance: Annotated[float | None, TOLERANCE] = None,
    rows: Annotated[str | None, ROWS] = None,
) -> None:
    """Write a trained model as others have it, its answers compared first.

    Nothing is left where they differ by more than the tolerance. FORMAT is one of:

      hf                      AutoModelForSequenceClassification of transformers
                              opens it; for a model with --pooling family
      sentence-transformers   SentenceTransformer opens it, the head lies beside;
                              for a model with --pooling mean or cls
      onnx                    one graph from token ids to logits, with tokenizer
                              and labels; needs pip install 'headstart\\[onnx]'
      peft                    the adapter that LoRA trained, compared back then

    Examples:

      headstart export runs/shop --to onnx --int8 --rows reviews.csv
      headstart export runs/shop --to hf --out shop-classifier
    """
    from headstart.api import load
    from headstart.export.folders import check_request

    place = out or model.with_name(f"{model.name}-{to}{'-int8' if int8 else ''}")
    check_request(to, place, int8=int8, tolerance=tolerance)
    done = load(model).export(to, place, int8=int8, tolerance=tolerance, rows=rows)
    print(done.comparison or "copied; PEFT opens it on the backbone that it was trained on")
    print(f"{place}/")
