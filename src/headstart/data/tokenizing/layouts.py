"""Which files make which tokenizer, by the class or the model type that a folder names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import tokenizers

from headstart.data.tokenizing import byte_level, marian, sentence_piece, word_piece
from headstart.data.tokenizing.added import Named, add_tokens, resolve_named
from headstart.data.tokenizing.backend import Backend, Cleaned, Clip, Library
from headstart.data.tokenizing.marian import Marian
from headstart.data.tokenizing.settings import Settings
from headstart.errors import CheckpointError

WHOLE = "tokenizer.json"
BRACKETS = {name: f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
ANGLES = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "pad": "<pad>"}
ROUND = ANGLES | {"sep": "</s>", "cls": "<s>", "mask": "<mask>"}
END_OF_TEXT = dict.fromkeys(("eos", "unk"), "<|endoftext|>")
CLIP = "CLIPTokenizer"
MARIAN = "MarianTokenizer"


@dataclass(frozen=True)
class Layout:
    """A tokenizer without tokenizer.json.

    Attributes:
        files: what it is made of.
        usual: its special tokens where the files are silent.
        build: makes it, special tokens and their places left out.
        ends: sets what stands round a text.
        mask_eats_space: its mask token takes the space before it.
        restate: changes what a tokenizer.json says into what tokenizer_config.json says.
    """

    files: tuple[str, ...]
    usual: Mapping[str, str]
    build: Callable[[Named], tokenizers.Tokenizer] | None = None
    ends: Callable[[tokenizers.Tokenizer, Named], None] = field(default=word_piece.ends_of_bert)
    mask_eats_space: bool = False
    restate: Callable[[tokenizers.Tokenizer, Settings], None] | None = None

    def named(self, settings: Settings) -> Named:
        """Its special tokens, by what the files say and what is usual."""
        return resolve_named(settings, self.usual, mask_eats_space=self.mask_eats_space)


UNKNOWN = Layout((WHOLE,), {})
BERT = Layout(
    ("vocab.txt",), BRACKETS, word_piece.word_piece, restate=word_piece.restate_word_piece
)
ROBERTA = Layout(
    byte_level.FILES,
    ROUND,
    byte_level.byte_level,
    byte_level.ends_of_roberta,
    mask_eats_space=True,
    restate=byte_level.restate_byte_level,
)
LAYOUTS = {
    "BertTokenizer": BERT,
    "DistilBertTokenizer": BERT,
    "ElectraTokenizer": BERT,
    "RobertaTokenizer": ROBERTA,
    "BartTokenizer": ROBERTA,
    "GPT2Tokenizer": Layout(
        byte_level.FILES,
        END_OF_TEXT | {"bos": "<|endoftext|>"},
        byte_level.byte_level,
        byte_level.ends_of_gpt2,
        restate=byte_level.restate_byte_level,
    ),
    "Qwen2Tokenizer": Layout(
        byte_level.FILES,
        END_OF_TEXT | {"pad": "<|endoftext|>"},
        byte_level.qwen,
        byte_level.ends_of_gpt2,
    ),
    CLIP: Layout(
        byte_level.FILES,
        END_OF_TEXT | {"bos": "<|startoftext|>", "pad": "<|endoftext|>"},
        byte_level.clip,
        byte_level.ends_of_clip,
    ),
    "T5Tokenizer": Layout(
        ("spiece.model",),
        {name: ANGLES[name] for name in ("eos", "unk", "pad")},
        sentence_piece.t5,
        sentence_piece.ends_of_t5,
    ),
    "XLMRobertaTokenizer": Layout(
        ("sentencepiece.bpe.model",),
        ROUND,
        sentence_piece.xlm_roberta,
        sentence_piece.ends_of_xlm_roberta,
        mask_eats_space=True,
    ),
    "CamembertTokenizer": Layout(
        ("sentencepiece.bpe.model",),
        ROUND,
        sentence_piece.camembert,
        sentence_piece.ends_of_xlm_roberta,
        mask_eats_space=True,
    ),
    "DebertaV2Tokenizer": Layout(
        ("spm.model",),
        BRACKETS | {"bos": "[CLS]", "eos": "[SEP]"},
        sentence_piece.deberta,
        sentence_piece.ends_of_deberta,
    ),
    "LlamaTokenizer": Layout(
        ("tokenizer.model",),
        {name: ANGLES[name] for name in ("bos", "eos", "unk")},
        sentence_piece.llama,
        sentence_piece.ends_of_llama,
    ),
    MARIAN: Layout(marian.FILES, {name: ANGLES[name] for name in ("eos", "unk", "pad")}),
}
OTHER_NAMES = {"MT5Tokenizer": "T5Tokenizer"}
CLASSES = {  # of the model types for which no class is stated
    "bart": "BartTokenizer",
    "bert": "BertTokenizer",
    "camembert": "CamembertTokenizer",
    "clip": CLIP,
    "clip_text_model": CLIP,
    "deberta-v2": "DebertaV2Tokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "gpt2": "GPT2Tokenizer",
    "llama": "LlamaTokenizer",
    "marian": MARIAN,
    "mistral": "LlamaTokenizer",
    "mt5": "T5Tokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "roberta": "RobertaTokenizer",
    "t5": "T5Tokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}


def open_backend(settings: Settings, side: str) -> tuple[Backend, Named]:
    """Open the tokenizer of a folder, whatever its layout.

    Args:
        settings: read from the folder.
        side: "source" or "target" of a translation, for a tokenizer that has two sides.

    Raises:
        CheckpointError: files are missing, of a class that needs a tokenizer.json, or do not fit.
        Exception: the tokenizers library cannot read a file.
    """
    name = settings.stated_class or CLASSES.get(settings.model_type or "")
    name = OTHER_NAMES.get(name, name) if name else None
    whole = settings.folder / WHOLE
    if whole.exists() and name != MARIAN:
        layout = LAYOUTS.get(name or "", UNKNOWN)
        named = layout.named(settings)
        built = tokenizers.Tokenizer.from_file(str(whole))
        if layout.restate is not None:
            layout.restate(built, settings)
        add_tokens(built, Named(settings, named.stated, {}))
    else:
        layout = _complete(settings, name)
        named = layout.named(settings)
        if layout.build is None:
            return Marian(named, side), named
        built = layout.build(named)
        add_tokens(built, named)
        layout.ends(built, named)
    built.encode_special_tokens = settings.switch("split_special_tokens", False)
    return _wrap(built, settings, name), named


def _wrap(built: tokenizers.Tokenizer, settings: Settings, name: str | None) -> Library:
    if name == CLIP:
        return Clip(built)
    pairs = type(built.model).__name__ == "BPE"  # it keeps its spaces, so there is nothing to undo
    cleaned = settings.switch("clean_up_tokenization_spaces", False) and not pairs
    return Cleaned(built) if cleaned else Library(built)


def _complete(settings: Settings, name: str | None) -> Layout:
    """The layout of a class, if all its files are there; a lone vocab.txt is BERT's."""
    known = LAYOUTS | ({} if name or settings.model_type else {"": BERT})
    layout = known.get(name or "")
    folder = settings.folder
    fix = (
        f"Save a {WHOLE} there, for example with transformers: AutoTokenizer.from_pretrained(NAME)"
        f".save_pretrained({str(folder)!r})."
    )
    kind = f"model_type {settings.model_type!r}" if settings.model_type else "of no model_type"
    if layout is None:
        what = f"tokenizer_class {name!r}" if name else kind
        raise CheckpointError(
            f"{folder}: holds no {WHOLE}, and headstart reads {what} from nothing else. {fix}"
        )
    missing = [file for file in layout.files if not (folder / file).exists()]
    if not missing:
        return layout
    needed = " and ".join(layout.files)
    whose = f"It is {f'{name}, ' if name else ''}{kind}"
    if layout.build is None:
        raise CheckpointError(
            f"{folder}: texts cannot be read without {needed}. {whose}; missing: "
            f"{', '.join(missing)}. Fetch them from the page of the model."
        )
    raise CheckpointError(
        f"{folder}: holds neither {WHOLE} nor {needed}, so texts cannot be read. {whose}; "
        f"missing: {', '.join([WHOLE, *missing])}. {fix}"
    )
