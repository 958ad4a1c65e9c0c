"""What a frozen backbone makes of texts, layer by layer."""

import numpy as np
import torch

from headstart.data.examples import Examples
from headstart.data.text import Tokenizer
from headstart.models.checkpoint import open_checkpoint
from headstart.nn.ragged import Ragged
from headstart.training.embedding import layer_vectors

TEXTS = ["A fine film.", "It broke.", "The sound of it was worse than that of the last one."]


def rows(texts):
    return Examples("texts", texts, None, np.arange(len(texts)))


def test_each_layer_is_the_mean_of_its_states(tmp_path):
    checkpoint = open_checkpoint("sentence-transformers/all-MiniLM-L6-v2")
    tokenizer = Tokenizer.open(checkpoint.folder)
    vectors = layer_vectors(
        checkpoint.backbone, tokenizer, rows(TEXTS), max_length=61, cache=tmp_path
    )
    assert vectors.shape == (3, 7, 384)
    encoded = tokenizer.encode(TEXTS[1:2], 61)
    tokens = torch.from_numpy(encoded.values.astype(np.int64))
    with torch.no_grad():
        states = checkpoint.backbone.hidden_states(Ragged.from_rows([tokens]))
    for layer, state in enumerate(states):
        expected = state.values.mean(0).numpy()
        np.testing.assert_allclose(vectors[1, layer], expected, atol=1e-5)


def test_vectors_are_found_again_and_damage_is_noticed(tmp_path):
    checkpoint = open_checkpoint("sentence-transformers/all-MiniLM-L6-v2")
    tokenizer = Tokenizer.open(checkpoint.folder)

    def ask():
        return layer_vectors(
            checkpoint.backbone, tokenizer, rows(TEXTS), max_length=61, pooling="cls",
            cache=tmp_path)  # fmt: skip

    first = np.array(ask())
    (folder,) = (tmp_path / "features").iterdir()
    written = (folder / "values.npy").stat().st_mtime_ns
    assert np.array_equal(ask(), first)
    assert (folder / "values.npy").stat().st_mtime_ns == written
    (folder / "values.npy").write_bytes(b"half of it")
    assert np.array_equal(ask(), first)
