"""A network as one ONNX graph: token ids and mask in, logits out, for any batch and length."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from headstart.errors import CheckpointError, UserError
from headstart.export.padded import PaddedNetwork, PaddedPairs
from headstart.models.network import Network

GRAPH = "model.onnx"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TRACED = (3, 7)
"""Rows and tokens of the batch that the graph is traced with; 0 and 1 would be taken as fixed."""


def check_packages() -> None:
    """Refuse, before anything is opened, what cannot be done here.

    Raises:
        UserError: packages are missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(
            f"onnx: needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed. pip install 'headstart[onnx]'"
        )


def write_graph(network: Network, file: Path) -> None:
    """Trace a network and write it; weights of more than 2 GB lie in a file beside.

    Inputs, each (batch, length) int64: input_ids; attention_mask, 1 where there is a token and 0
    behind the end of a row; token_type_ids, only where the backbone tells the texts of a pair
    apart. Output: logits, (batch, classes) float32.

    Args:
        network: in eval mode, on the CPU.
        file: where to.

    Raises:
        CheckpointError: what its modules do depends on the values, and no one graph says it.
    """
    tokens = torch.ones(TRACED, dtype=torch.long)
    mask = (torch.arange(TRACED[1]) < torch.tensor([[TRACED[1]], [2], [5]])).long()
    pairs = _tells_pairs_apart(network)
    arguments = (tokens, mask, torch.zeros_like(tokens)) if pairs else (tokens, mask)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    padded = (PaddedPairs if pairs else PaddedNetwork)(network).eval()
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                padded,
                arguments,
                dynamo=True,
                verbose=False,
                input_names=INPUTS[: len(arguments)],
                output_names=["logits"],
                dynamic_shapes=tuple(sizes for _ in arguments),
            )
        except torch.onnx.OnnxExporterError as error:
            why = str(error.__cause__ or error).strip().split("\n")[0]
            raise CheckpointError(
                f"onnx: this {network.backbone.family} cannot be traced into one graph for all "
                f"batches and lengths ({why}). Take another format."
            ) from error
        assert program is not None, "the exporter gives a program unless it is told a file"
        program.save(file)


def quantise(source: Path, target: Path) -> None:
    """Store the weights of a graph as int8, each output channel with a scale of its own.

    Activations are rounded as they come (dynamic quantisation): no rows are needed to calibrate.

    Args:
        source: a graph, with its weights in it or beside it.
        target: where to, in another folder.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            source,
            target,
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=source.with_name(f"{source.name}.data").exists(),
        )


def _tells_pairs_apart(network: Network) -> bool:
    return int(network.backbone.hf_config().get("type_vocab_size") or 0) > 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of exporters to their own authors."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
