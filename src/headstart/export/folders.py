"""A trained model as a folder that others open: written fresh, compared, then moved into place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from headstart.data.atomic import folder_atomically
from headstart.errors import CheckpointError, HeadstartError, UserError, unknown_name
from headstart.export.card import read_verdict
from headstart.export.graph import GRAPH, check_packages, quantise, write_graph
from headstart.export.hub import ADAPTER, PEFT_FILES, copy_adapter
from headstart.export.served import OnnxModel
from headstart.models.attach import bare, carried
from headstart.models.checkpoint import open_network
from headstart.models.families import family_behind
from headstart.models.family import Family
from headstart.models.published import HEAD_FILE
from headstart.models.save import save_network
from headstart.recipe import Bottleneck, Prefix
from headstart.training.model import Trained

EXACT_TOLERANCE, INT8_TOLERANCE = 1e-3, 0.5
"""Largest difference of a logit that is let pass where none is asked for."""

MOST_ROWS = 1_000

SENTENCES = (
    "Good.",
    "I would not buy this again.",
    "It arrived on time, and it works exactly as the box says.",
    "The plot is thin, but the actors carry it, and the last scene alone is worth the ticket.",
    "Why would anyone pay twice the price for half the battery?",
    "After a week the screen went dark; the shop sent a new one without a question, so I keep "
    "the stars, yet I still wonder how it passed any test before it left the factory.",
)
"""What logits are compared on where no rows are given and no run is at hand."""


@dataclass(frozen=True)
class Comparison:
    """How near an exported model comes to the one that was trained.

    Attributes:
        rows: how many texts were compared.
        origin: where the texts are from.
        difference: largest difference of a logit.
        same_labels: share of texts that get the same label.
    """

    rows: int
    origin: str
    difference: float
    same_labels: float

    def __str__(self) -> str:
        return (
            f"{self.rows:,} texts ({self.origin}): logits differ by {self.difference:.2g} at most, "
            f"{100 * self.same_labels:.1f} % of the labels are the same"
        )


@dataclass(frozen=True)
class Exported:
    """What `export_model` left.

    Attributes:
        folder: where it lies.
        kind: one of `FORMATS`.
        comparison: of its logits with the trained model's; None where the files are copies.
    """

    folder: Path
    kind: str
    comparison: Comparison | None


def export_model(
    model: Trained,
    kind: str,
    out: Path,
    *,
    int8: bool = False,
    tolerance: float | None = None,
    texts: tuple[str, Sequence[str]] | None = None,
) -> Exported:
    """Write a model as others have it; a folder that does not answer as the model is not left.

    Args:
        model: what to export.
        kind: one of `FORMATS`.
        out: a folder that is new or empty.
        int8: store an ONNX graph's weights in 8 bits.
        tolerance: largest difference of a logit that is let pass. Default: 0.001; 0.5 with int8.
        texts: what to compare logits on, with where it is from. Default: the mistakes of the run's
            verdict, or a few sentences.

    Raises:
        UserError: there is no such kind, the folder is in use, packages are missing, or the
            difference is larger than the tolerance.
        CheckpointError: the kind cannot express this model; the message names those that can.
    """
    check_request(kind, out, int8=int8, tolerance=tolerance)
    write, refusals = FORMATS[kind]
    for refuse in refusals:
        refuse(model)
    model.network.to("cpu").eval()
    source, rows = texts or _own_texts(model)
    limit = (INT8_TOLERANCE if int8 else EXACT_TOLERANCE) if tolerance is None else tolerance
    with folder_atomically(out) as fresh:
        write(model, fresh)
        if int8:
            _shrink(fresh)
        answer = ANSWERS.get(kind)
        found = (
            None if answer is None else _compare(model, answer(model, fresh, rows), source, rows)
        )
        if found is not None and not found.difference <= limit:
            raise UserError(
                f"{out}: {found}, which is above the tolerance of {limit:g}; nothing is left "
                "there. "
                + ("Leave out int8, or allow more with a larger tolerance." if int8
                   else "Allow more with a larger tolerance, or report it as a fault of headstart.")
            )  # fmt: skip
    return Exported(out, kind, found)


def check_request(kind: str, out: Path, *, int8: bool, tolerance: float | None) -> None:
    """Refuse, before anything is opened, what cannot be asked for.

    Raises:
        UserError: with every fault.
    """
    faults = []
    if kind not in FORMATS:
        faults.append(unknown_name("--to", "format", kind, FORMATS))
    if int8 and kind in FORMATS and kind != "onnx":
        faults.append(f"--int8: is for --to onnx; {kind} keeps the weights as they are. Leave it "
                      "out.")  # fmt: skip
    if tolerance is not None and not tolerance >= 0:
        faults.append(f"--tolerance: must be 0 or more; got {tolerance:g}.")
    if out.exists() and not out.is_dir():
        faults.append(f"--out: {out} is a file. Give a new folder.")
    elif out.is_dir() and any(out.iterdir()):
        names = ", ".join(sorted(path.name for path in out.iterdir())[:3])
        faults.append(f"--out: {out} is not empty (it holds {names}); nothing there was touched. "
                      "Give a new folder, or empty it.")  # fmt: skip
    if faults:
        raise UserError(faults)
    if kind == "onnx":
        check_packages()


def rows_to_compare(data: Any) -> tuple[str, Sequence[str]]:
    """Texts out of a file, a frame or a list, with where they are from.

    Raises:
        DataError: it cannot be read.
    """
    from headstart.data.examples import examples
    from headstart.data.table import read

    name = str(data) if isinstance(data, str | Path) else "rows given"
    texts = examples(read(data, name=name), require_label=False).texts
    return name, texts[:MOST_ROWS]


def _own_texts(model: Trained) -> tuple[str, Sequence[str]]:
    verdict = read_verdict(model)
    mistakes = [mistake["text"] for mistake in verdict["mistakes"]] if verdict else []
    if mistakes:
        return "test rows that the run got wrong", mistakes
    return "made-up; give rows of yours with --rows", SENTENCES


def _compare(model: Trained, found: torch.Tensor, source: str, rows: Sequence[str]) -> Comparison:
    want = model.logits(rows).cpu()
    same = (found.argmax(-1) == want.argmax(-1)).float().mean()
    return Comparison(len(rows), source, float((found - want).abs().max()), float(same))


def _save(model: Trained, folder: Path) -> None:
    """The folder without what only headstart reads."""
    save_network(folder, bare(model.network), source=model.origin, labels=model.task.labels,
                 pooling=model.pooling, max_length=model.max_length)  # fmt: skip


def _write_adapter(model: Trained, folder: Path) -> None:
    """Adapter, tokenizer and labels; the backbone's weights stay where they are."""
    _save(model, folder)
    _keep_descriptions(folder)
    copy_adapter(model, folder, PEFT_FILES)


def _write_onnx(model: Trained, folder: Path) -> None:
    _save(model, folder)
    _keep_descriptions(folder)
    write_graph(model.network, folder / GRAPH)


def _keep_descriptions(folder: Path) -> None:
    """Leave config and tokenizer, and take away weights and what says how others pool."""
    for name in ("model.safetensors", HEAD_FILE, "modules.json", "sentence_bert_config.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "1_Pooling", ignore_errors=True)


def _shrink(folder: Path) -> None:
    """Put an int8 graph in the place of the exact one."""
    exact = folder / "exact"
    exact.mkdir()
    for file in folder.glob(f"{GRAPH}*"):  # large weights lie in a file beside their graph
        file.rename(exact / file.name)
    quantise(exact / GRAPH, folder / GRAPH)
    shutil.rmtree(exact)


def _answer_here(model: Trained, folder: Path, rows: Sequence[str]) -> torch.Tensor:
    """What the folder answers when headstart opens it again."""
    return replace(model, network=open_network(folder), origin=folder).logits(rows).cpu()


def _answer_onnx(model: Trained, folder: Path, rows: Sequence[str]) -> torch.Tensor:
    """What the folder answers when onnxruntime opens it."""
    served = OnnxModel(folder)
    if served.classes != model.task.labels:
        raise HeadstartError(f"{folder}: its labels are not the model's.")
    return torch.from_numpy(served.logits(rows))


def _needs_nothing_attached(model: Trained) -> None:
    found = carried(model.network)
    if isinstance(found, Prefix | Bottleneck):
        other = "peft gives the prefix" if isinstance(found, Prefix) else "onnx gives the whole"
        raise CheckpointError(
            f"{model.origin}: carries {_described(found)} that no architecture of transformers "
            f'has, nor can they be merged into its weights. --to {other}; or train with "lora:8", '
            "which is merged."
        )


def _needs_no_prefix(model: Trained) -> None:
    found = carried(model.network)
    if isinstance(found, Prefix):
        raise CheckpointError(
            f"{model.origin}: carries {_described(found)}, which no one graph for all lengths "
            'has. --to peft gives them; or train with "lora:8", which is merged into the weights.'
        )


def _described(found: Prefix | Bottleneck) -> str:
    if isinstance(found, Prefix):
        return f"keys and values of prefix:{found.length}"
    return f"bottlenecks of adapter:{found.width}"


def _needs_family_head(model: Trained) -> None:
    if model.pooling == "family":
        return
    family = family_behind(model.network.backbone)
    ways = ["--to onnx gives the whole classifier"]
    if _stands_alone(family):
        ways.insert(0, "--to sentence-transformers gives the embeddings with the head beside them")
    if family.classifier is not None:
        ways.append("or train with --pooling family, then --to hf")
    raise CheckpointError(
        f"{model.origin}: its head reads pooling {model.pooling!r}, which no "
        f"...ForSequenceClassification of transformers has. {'; '.join(ways)}."
    )


def _needs_encoder_of_its_own(model: Trained) -> None:
    """Others would put a new, random decoder behind BART's encoder, and read that one's states."""
    family = family_behind(model.network.backbone)
    if not _stands_alone(family):
        raise CheckpointError(
            f"{model.origin}: is the encoder of {family.name}, which transformers has no class of "
            "its own for, so sentence-transformers would open it with a random decoder. --to onnx "
            "gives the whole classifier."
        )


def _stands_alone(family: Family) -> bool:
    """Whether transformers opens the backbone as it is; of T5 it has the encoder by itself."""
    return family.kind != "text encoder and decoder" or family.base.endswith("EncoderModel")


def _needs_plain_pooling(model: Trained) -> None:
    if model.pooling == "family":
        raise CheckpointError(
            f"{model.origin}: its head reads the pooling of its family, which "
            "sentence-transformers has no module for. --to hf gives the classifier of "
            "transformers; or train with --pooling mean or cls, then --to sentence-transformers."
        )


def _needs_adapter(model: Trained) -> None:
    if not (model.origin / ADAPTER).is_dir():
        raise CheckpointError(
            f"{model.origin}: holds no adapter, because it was not trained with LoRA. Train a "
            'stage with train = "lora:8", or take the whole model with --to hf.'
        )
    if not (model.origin / ADAPTER / PEFT_FILES[0]).exists():
        raise CheckpointError(
            f"{model.origin}: PEFT has no form for what its adapter moved. Train a stage with "
            'train = "lora:8" alone, or take the whole model with --to hf.'
        )


Write = Callable[[Trained, Path], None]
Refuse = Callable[[Trained], None]

FORMATS: dict[str, tuple[Write, tuple[Refuse, ...]]] = {
    "hf": (_save, (_needs_family_head, _needs_nothing_attached)),
    "onnx": (_write_onnx, (_needs_no_prefix,)),
    "peft": (_write_adapter, (_needs_adapter,)),
    "sentence-transformers": (
        _save,
        (_needs_plain_pooling, _needs_encoder_of_its_own, _needs_nothing_attached),
    ),
}
"""How each kind is written, and what refuses a model that it cannot express."""

ANSWERS: dict[str, Callable[[Trained, Path, Sequence[str]], torch.Tensor]] = {
    "hf": _answer_here,
    "onnx": _answer_onnx,
    "sentence-transformers": _answer_here,
}
