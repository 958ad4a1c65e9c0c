"""vocab.json and merges.txt: byte-pair encoding of GPT-2, RoBERTa, BART, Qwen and CLIP.

Byte-level BPE: Radford et al. 2019, Language Models are Unsupervised Multitask Learners.
"""

from __future__ import annotations

import tokenizers
from tokenizers import Regex, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from headstart.data.tokenizing.added import Named
from headstart.data.tokenizing.settings import Settings

FILES = ("vocab.json", "merges.txt")
CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
QWEN_WORDS = (
    rf"(?i:{CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLIP_WORDS = (
    rf"<\|startoftext\|>|<\|endoftext\|>|{CONTRACTIONS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
)


def byte_level(named: Named) -> tokenizers.Tokenizer:
    """GPT-2's, RoBERTa's and BART's."""
    built = _bpe(named)
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=_prefix_space(named))
    built.decoder = decoders.ByteLevel()
    return built


def qwen(named: Named) -> tokenizers.Tokenizer:
    """Qwen2's and Qwen3's: composed characters, one digit a token."""
    built = _bpe(named)
    built.normalizer = normalizers.NFC()
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=_prefix_space(named), use_regex=False),
        ]
    )
    built.decoder = decoders.ByteLevel()
    return built


def clip(named: Named) -> tokenizers.Tokenizer:
    """CLIP's: lower case, and a mark at the end of a word instead of a space before it."""
    built = _bpe(named, end_of_word_suffix="</w>", unk_token=named.text("unk"))
    built.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    built.decoder = decoders.ByteLevel()
    return built


def ends_of_roberta(built: tokenizers.Tokenizer, named: Named) -> None:
    """<s> before a text and </s> after it; two </s> between the texts of a pair."""
    built.post_processor = processors.RobertaProcessing(
        named.pair(built, "sep"), named.pair(built, "cls")
    )


def ends_of_clip(built: tokenizers.Tokenizer, named: Named) -> None:
    """The bos token before a text, the eos token after it."""
    built.post_processor = processors.RobertaProcessing(
        named.pair(built, "eos"), named.pair(built, "bos")
    )


def ends_of_gpt2(built: tokenizers.Tokenizer, named: Named) -> None:
    """Nothing round a text, or the bos token before it where the settings ask for it."""
    asked = named.settings.switch("add_bos_token", False)
    start = [named.pair(built, "bos")] if asked else []
    before = [f"{token}:0" for token, _ in start]
    built.post_processor = processors.TemplateProcessing(
        single=[*before, "$A:0"], pair=[*before, "$A:0", "$B:1"], special_tokens=start
    )


def restate_byte_level(built: tokenizers.Tokenizer, settings: Settings) -> None:
    """A space before the first word, where tokenizer_config.json says otherwise than the file."""
    stated = settings.values.get("add_prefix_space")
    if stated is not None and isinstance(built.pre_tokenizer, pre_tokenizers.ByteLevel):
        built.pre_tokenizer.add_prefix_space = bool(stated)


def _bpe(
    named: Named, end_of_word_suffix: str = "", unk_token: str | None = None
) -> tokenizers.Tokenizer:
    vocabulary, merges = BPE.read_file(*(str(named.settings.folder / name) for name in FILES))
    return tokenizers.Tokenizer(
        BPE(
            vocabulary,
            merges,
            unk_token=unk_token,
            continuing_subword_prefix="",
            end_of_word_suffix=end_of_word_suffix,
        )
    )


def _prefix_space(named: Named) -> bool:
    return named.settings.switch("add_prefix_space", False)
