"""A SentencePiece model alone: T5, mT5, XLM-R, CamemBERT, DeBERTa, Llama and Mistral.

Where transformers 4 and 5 read such a file differently, version 4 is followed: it gives the tokens
of SentencePiece itself, with which these networks were trained. Version 5 leaves out DeBERTa's
rules of normalisation and, in places, the space before the first word of Llama and Mistral.
"""

from __future__ import annotations

from collections.abc import Sequence

import tokenizers
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram

from headstart.data.tokenizing.added import Named
from headstart.data.tokenizing.piece_model import (
    CONTROL,
    NORMAL,
    PAIR_MERGING,
    USER_DEFINED,
    Piece,
    PieceModel,
    read_piece_model,
)

SPACE = "▁"
FAIRSEQ_START = ("<s>", "<pad>", "</s>", "<unk>")


def t5(named: Named) -> tokenizers.Tokenizer:
    """T5's and mT5's: the sentinels <extra_id_0>, ... end the vocabulary, the first one last."""
    model = read_piece_model(named.settings.folder / "spiece.model")
    count = int(named.settings.values.get("extra_ids", 100))
    sentinels = [f"<extra_id_{i}>" for i in range(count)]
    pieces = [*model.pieces, *(Piece(text) for text in reversed(sentinels))]
    built = _words(model, pieces, model.unknown_id)
    built.add_tokens([AddedToken(text, special=True) for text in sentinels])
    return built


def xlm_roberta(named: Named) -> tokenizers.Tokenizer:
    """XLM-R's: fairseq's four special tokens for SentencePiece's three, and <mask> at the end."""
    model = read_piece_model(named.settings.folder / "sentencepiece.bpe.model")
    start = [Piece(text) for text in FAIRSEQ_START]
    pieces = [*start, *model.pieces[3:], Piece(named.text("mask") or "<mask>")]
    return _words(model, pieces, FAIRSEQ_START.index("<unk>"))


def camembert(named: Named) -> tokenizers.Tokenizer:
    """CamemBERT's: five tokens in place of SentencePiece's <unk>, and <mask> at the end."""
    model = read_piece_model(named.settings.folder / "sentencepiece.bpe.model")
    start = [Piece(text) for text in ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>")]
    never = Piece("<unk>NOTUSED", -100.0)
    pieces = [*start, never, *model.pieces[1:], Piece(named.text("mask") or "<mask>")]
    return _words(model, pieces, 3)


def deberta(named: Named) -> tokenizers.Tokenizer:
    """DeBERTa's, versions 2 and 3; [MASK] is not in the file and comes after its last piece."""
    settings = named.settings
    model = read_piece_model(settings.folder / "spm.model")
    built = _model(model, model.pieces, model.unknown_id)
    rules: list[normalizers.Normalizer] = [normalizers.Strip()]
    if settings.switch("do_lower_case", False):
        rules.insert(0, normalizers.Lowercase())
    if model.charsmap:
        rules.append(normalizers.Precompiled(model.charsmap))
    rules.append(normalizers.Replace(Regex(" {2,}"), " "))
    built.normalizer = normalizers.Sequence(rules)
    metaspace = pre_tokenizers.Metaspace(SPACE, _scheme(settings.switch("add_prefix_space", True)))
    split = settings.switch("split_by_punct", False)
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [*([pre_tokenizers.Punctuation("isolated")] if split else []), metaspace]
    )
    built.decoder = decoders.Metaspace(SPACE, "always")
    mask = named.usual.get("mask")
    if mask is not None:
        built.add_special_tokens([mask])
    return built


def llama(named: Named) -> tokenizers.Tokenizer:
    """Llama's and Mistral's: what no piece covers becomes bytes, and no space is ever dropped."""
    settings = named.settings
    model = read_piece_model(settings.folder / "tokenizer.model")
    built = _model(model, model.pieces, model.unknown_id, byte_fallback=True)
    prefix = settings.switch("add_prefix_space", True)
    if settings.switch("legacy", True):
        before = [normalizers.Prepend(SPACE)] if prefix else []
        built.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", SPACE)])
    else:
        built.pre_tokenizer = pre_tokenizers.Metaspace(
            SPACE, "first" if prefix else "never", split=False
        )
    strip = [decoders.Strip(" ", left=1, right=0)] if prefix else []
    built.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return built


def ends_of_t5(built: tokenizers.Tokenizer, named: Named) -> None:
    """</s> after each text."""
    end = named.pair(built, "eos")
    built.post_processor = processors.TemplateProcessing(
        single=["$A", end[0]], pair=["$A", end[0], "$B", end[0]], special_tokens=[end]
    )


def ends_of_xlm_roberta(built: tokenizers.Tokenizer, named: Named) -> None:
    """<s> before a text and </s> after it; two </s> between the texts of a pair."""
    start, end = named.pair(built, "bos"), named.pair(built, "eos")
    single = [start[0], "$A", end[0]]
    built.post_processor = processors.TemplateProcessing(
        single=single, pair=[*single, end[0], "$B", end[0]], special_tokens=[start, end]
    )


def ends_of_deberta(built: tokenizers.Tokenizer, named: Named) -> None:
    """[CLS] before a text and [SEP] after it; the second text of a pair is segment 1."""
    start, end = named.pair(built, "cls"), named.pair(built, "sep")
    single = [f"{start[0]}:0", "$A:0", f"{end[0]}:0"]
    built.post_processor = processors.TemplateProcessing(
        single=single, pair=[*single, "$B:1", f"{end[0]}:1"], special_tokens=[start, end]
    )


def ends_of_llama(built: tokenizers.Tokenizer, named: Named) -> None:
    """The bos token before each text, unless the settings say otherwise; rarely eos after it."""
    settings = named.settings
    starts = [named.pair(built, "bos")] if settings.switch("add_bos_token", True) else []
    ends = [named.pair(built, "eos")] if settings.switch("add_eos_token", False) else []

    def around(text: str, segment: int) -> list[str]:
        before, after = ([f"{t}:{segment}" for t, _ in side] for side in (starts, ends))
        return [*before, f"{text}:{segment}", *after]

    built.post_processor = processors.TemplateProcessing(
        single=around("$A", 0),
        pair=[*around("$A", 0), *around("$B", 1)],
        special_tokens=[*starts, *ends],
    )


def _words(model: PieceModel, pieces: Sequence[Piece], unknown_id: int) -> tokenizers.Tokenizer:
    """Split at white space, each word with a space before it."""
    built = _model(model, pieces, unknown_id)
    if model.charsmap:
        built.normalizer = normalizers.Precompiled(model.charsmap)
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(SPACE, "always")]
    )
    built.decoder = decoders.Metaspace(SPACE, "always")
    return built


def _model(
    model: PieceModel, pieces: Sequence[Piece], unknown_id: int, *, byte_fallback: bool = False
) -> tokenizers.Tokenizer:
    """The model alone, with its control pieces as special tokens and its user's pieces as whole."""
    built = bare_model(model, pieces, unknown_id, byte_fallback=byte_fallback)
    special = {CONTROL: True, USER_DEFINED: False}
    built.add_tokens(
        [
            AddedToken(piece.text, normalized=False, special=special[piece.type])
            for piece in pieces
            if piece.type in special
        ]
    )
    return built


def bare_model(
    model: PieceModel, pieces: Sequence[Piece], unknown_id: int, *, byte_fallback: bool = False
) -> tokenizers.Tokenizer:
    """A tokenizer that cuts into pieces, and nothing else.

    Args:
        model: says of what type it is.
        pieces: in the order of their ids.
        unknown_id: the piece for what no piece covers.
        byte_fallback: what no piece covers becomes bytes. Llama's alone: transformers makes what
            mT5 does not know its <unk>, though its file has pieces for bytes.
    """
    if model.type == PAIR_MERGING:
        vocabulary = {piece.text: number for number, piece in enumerate(pieces)}
        merges = _merges(pieces, vocabulary)
        unknown = pieces[unknown_id].text
        options = {"unk_token": unknown, "fuse_unk": True, "byte_fallback": byte_fallback}
        return tokenizers.Tokenizer(BPE(vocabulary, merges, **options))
    scored = [(piece.text, piece.score) for piece in pieces]
    return tokenizers.Tokenizer(Unigram(scored, unknown_id, byte_fallback))


def _merges(pieces: Sequence[Piece], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to put a piece together of two others, best score first."""
    found = [
        (piece.score, cut, piece.text)
        for piece in pieces
        if piece.type == NORMAL
        for cut in range(1, len(piece.text))
        if piece.text[:cut] in vocabulary and piece.text[cut:] in vocabulary
    ]
    found.sort(key=lambda merge: merge[:2], reverse=True)
    return [(text[:cut], text[cut:]) for _, cut, text in found]


def _scheme(prefix: bool) -> str:
    return "always" if prefix else "never"
