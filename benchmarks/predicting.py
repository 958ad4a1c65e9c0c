"""10,000 sentences labelled: headstart, its int8 ONNX graph, and sentence-transformers.

    python benchmarks/predicting.py [--rows 10000] [--small]

One model, trained by headstart on the demo's product sentences and saved once:
sentence-transformers opens the same folder, encodes, and the head that lies beside it answers, so
that all three hold the same weights. Sentences and their labels are the demo's film reviews, which
the model has not seen. Seconds are from texts to labels with the model open; the median of three
turns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from common import (
    alternate,
    arguments,
    cold_shop,
    demo_rows,
    hush,
    middle,
    one_stage,
    right,
    some,
    timed,
)
from headstart.api import load
from headstart.data.examples import Examples
from headstart.export.served import OnnxModel
from headstart.models.published import HEAD_FILE
from table import Row, keep_rows

ANY_DIFFERENCE = 100.0
"""What int8 costs is measured here by accuracy, so no difference of a logit stops the export."""

Answer = Callable[[list[str]], list[str]]


def sentence_transformers(folder: Path) -> Answer:
    """The same backbone and head by sentence-transformers, with its defaults in float32."""
    from safetensors.numpy import load_file
    from sentence_transformers import SentenceTransformer

    hush()
    encoder = SentenceTransformer(str(folder))
    head = load_file(folder / HEAD_FILE)
    classes = load(folder).classes

    def answer(texts: list[str]) -> list[str]:
        vectors = encoder.encode(texts, show_progress_bar=False)
        best = (vectors @ head["weight"].T + head["bias"]).argmax(-1)
        return [classes[i] for i in best]

    return answer


def once(answer: Answer, rows: Examples, number: int) -> tuple[float, list[str]]:
    """Seconds of labelling all rows, and the labels."""
    return timed(lambda: answer(list(rows.texts)))


def main() -> None:
    """Train, export, and label in turns."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    small = options.small
    rounds = 1 if small else 3
    with demo_rows() as (films, products, _), cold_shop() as shop:
        rows = some(films, 60 if small else options.rows)
        trained_on = some(products, 40 if small else len(products))
        stage = shop.run(one_stage(epochs=2), {"rows": trained_on})[0]
        with tempfile.TemporaryDirectory() as place:
            model = load(stage.folder)
            model.export("onnx", f"{place}/int8", int8=True, tolerance=ANY_DIFFERENCE)
            ways = {
                "float32": model.predict,
                "int8": OnnxModel(f"{place}/int8").predict,
                "peer": sentence_transformers(stage.folder),
            }
            for answer in ways.values():
                answer(list(rows.texts[:32]))  # the first call asks for memory
            found = alternate({k: partial(once, way, rows) for k, way in ways.items()}, rounds)
    exact = found["float32"][0][1]
    rows_of_table = []
    for kind, title, needed in (("float32", "float32", 2.5), ("int8", "int8 ONNX graph", 4.5)):
        labels = found[kind][0][1]
        same = sum(a == b for a, b in zip(labels, exact, strict=True)) / len(exact)
        rows_of_table.append(
            Row(
                name=f"predicting {len(rows):,} sentences, {title}",
                ours=middle(found[kind]),
                peer="sentence-transformers, float32",
                peers=middle(found["peer"]),
                ours_accuracy=right(labels, rows),
                peer_accuracy=right(found["peer"][0][1], rows),
                needed=needed,
                note=f"{same:.2%} of the labels are those of our float32",
            )
        )
    keep_rows(rows_of_table, small=small)


if __name__ == "__main__":
    main()
