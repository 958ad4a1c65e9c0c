from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from headstart.data.text import Tokenizer
from headstart.explain.subject import Subject
from headstart.models.checkpoint import open_checkpoint
from headstart.models.network import POOLS, Network
from headstart.tasks.classify import Classify
from headstart.training.model import Trained

LABELS = ("bad", "fine", "good")


def classifier(folder: Path, pooling: str = "mean", labels: tuple[str, ...] = LABELS) -> Trained:
    """A random head on a folder's backbone."""
    checkpoint = open_checkpoint(folder)
    torch.manual_seed(3)
    head = nn.Linear(checkpoint.backbone.width, len(labels))
    nn.init.normal_(head.weight, std=0.5)
    network = Network(checkpoint.backbone, POOLS[pooling](), head, 0.0).eval()
    return Trained(network, Tokenizer.open(folder), Classify(labels), 31, pooling, folder,
                   provenance={"backbone": str(folder)})  # fmt: skip


@pytest.fixture
def subject(tiny_bert: Path) -> Subject:
    return Subject(classifier(tiny_bert), "tiny")
