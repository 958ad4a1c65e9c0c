"""Explanations for the terminal: colours on words where there are colours, and the same in words.

Everything that a colour says is said in a line below it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from headstart.explain.page import layer_rows
from headstart.explain.shades import Shade, shades
from headstart.explain.values import (
    AttentionValues,
    BeforeValues,
    ExplanationValues,
    NeighbourValues,
    TextValues,
    WordsValues,
)

WIDTH = 80
NAMED = 6
"""Words that a line names."""

LEAST = 0.05
"""Share of the highest score from which a word is named."""

COLOURS = {"for": (20, 140, 130), "against": (205, 90, 30), "much": (90, 100, 200)}
LIGHT, DARK = "#ffffff", "#000000"


def show(values: ExplanationValues, console: Console) -> None:
    """Print an explanation, as wide as the console is."""
    for line in lines(values):
        for part in _wrapped(line, console):
            console.print(part, highlight=False, soft_wrap=True)


def plain(values: ExplanationValues) -> str:
    """An explanation without colours, lines at most `WIDTH` wide."""
    console = Console(width=WIDTH, color_system=None, force_terminal=False)
    with console.capture() as caught:
        show(values, console)
    return caught.get().rstrip("\n")


def _wrapped(line: Text, console: Console) -> Iterator[Text]:
    """A line in parts that fit; what goes on stands below where it began."""
    indent = " " * (len(line.plain) - len(line.plain.lstrip(" ")))
    parts = line[len(indent) :].wrap(console, max(20, console.width - len(indent)))
    for part in parts or [Text()]:
        part.rstrip()
        yield Text(indent) + part if part.plain else Text()


def lines(values: ExplanationValues) -> Iterator[Text]:
    """An explanation, line by line; a line may be long."""
    signed = values["method"] is not None and values["method"]["signed"]
    for number, text in enumerate(values["texts"], 1):
        name = f"text {number}" if text["row"] is None else f"row {text['row']}"
        yield from _text(text, name if len(values["texts"]) > 1 or text["row"] else "", signed)
        yield Text()
    yield from _method(values)
    if values["layers"] is not None:
        yield from _layers(values)
    if values["words"] is not None:
        yield from _words(values["words"], values["model"]["name"])
    for note in values["notes"]:
        yield Text(f"Note: {note}")


def _text(text: TextValues, name: str, signed: bool) -> Iterator[Text]:
    if not text["prediction"]:
        yield Text(text["text"], style="bold")
        for seen in text["attention"]:
            yield from _attention(seen)
        return
    share = text["probabilities"][text["prediction"]]
    head = Text.assemble((f"{name}: " if name else ""), (text["prediction"], "bold"),
                         f"  {100 * share:.1f} %")  # fmt: skip
    if text["explained"] != text["prediction"]:
        share = text["probabilities"][text["explained"]]
        head.append(f"; explained is {text['explained']}, {100 * share:.1f} %")
    yield head
    scores = [word["score"] for word in text["words"]]
    yield coloured(shades(text, scores, signed=signed))
    yield from _named(text, signed)
    cut = text["cut"]
    if cut is not None:
        unread = f"{cut['words']} {'word' if cut['words'] == 1 else 'words'}"
        yield Text(f"  not read: {unread}; the text has {cut['tokens']} tokens, and the model "
                   f"reads {cut['read']}")  # fmt: skip
    for other in text["before"]:
        yield from _before(text, other)
    yield from _neighbours(text["neighbours"])
    for seen in text["attention"]:
        yield from _attention(seen)


def coloured(pieces: Sequence[Shade]) -> Text:
    """A text whose words are coloured by how much they matter."""
    line = Text("  ")
    for piece in pieces:
        shown = piece.text.replace("\n", " ")
        if piece.unread:
            line.append(shown, Style(dim=True, strike=True))
        elif piece.told:
            line.append(shown, _style(piece))
        else:
            line.append(shown)
    return line


def _style(piece: Shade) -> Style:
    red, green, blue = (round(255 + (c - 255) * piece.depth) for c in COLOURS[piece.kind])
    front = DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else LIGHT
    return Style(bgcolor=f"#{red:02x}{green:02x}{blue:02x}", color=front,
                 bold=piece.kind == "for", underline=piece.kind == "against")  # fmt: skip


def _named(text: TextValues, signed: bool) -> Iterator[Text]:
    """The words that matter most, with their scores."""
    by_score = sorted(text["words"], key=lambda word: -word["score"])
    if not signed:
        most = ", ".join(f"{word['text']} {word['score']:.3f}" for word in by_score[:NAMED])
        yield Text(f"  matter most: {most}")
        return
    highest = max(abs(word["score"]) for word in text["words"])
    for title, some in ((f"for {text['explained']}", by_score), ("against it", by_score[::-1])):
        sign = 1 if some is by_score else -1
        kept = [word for word in some[:NAMED] if sign * word["score"] > LEAST * highest]
        if kept:
            named = ", ".join(f"{word['text']} {word['score']:+.2f}" for word in kept)
            yield Text(f"  {title}: {named}")


def _before(text: TextValues, other: BeforeValues) -> Iterator[Text]:
    share = other["probabilities"][other["prediction"]]
    yield Text.assemble(f"  in {other['name']}: ", (other["prediction"], "bold"),
                        f"  {100 * share:.1f} %")  # fmt: skip
    if other["scores"] is None:
        yield Text(f"    it has no class {text['explained']}")
        return
    yield Text("  ").append_text(coloured(shades(text, other["scores"], signed=True)))
    moved = ", ".join(f"{word['text']} {word['before']:+.2f} -> {word['after']:+.2f}"
                      for word in other["moved"])  # fmt: skip
    yield Text(f"    moved most since: {moved}")


def _neighbours(found: Sequence[NeighbourValues]) -> Iterator[Text]:
    if found:
        yield Text("  near in the training data:")
    for near in found:
        label = "" if near["label"] is None else f", {near['label']}"
        text = " ".join(near["text"].split())
        cut = text if len(text) <= 60 else text[:57] + "..."
        yield Text(f"    {near['similarity']:.2f}  row {near['row']}{label}: {cut}")


def _attention(seen: AttentionValues) -> Iterator[Text]:
    """What each token looks at most, in the last layer, the mean of its heads."""
    heads = seen["weights"][-1]
    titles = {"encoder": "within the text", "decoder": "within what is written",
              "cross": "from what is written to the text", "image": "between patches"}  # fmt: skip
    yield Text(f"  attention {titles[seen['kind']]}, {len(seen['weights'])} layers of {len(heads)} "
               "heads; the last layer, mean of its heads (--html shows all):")  # fmt: skip
    widest = min(16, max(cell_len(token) for token in seen["queries"]))
    for place, token in enumerate(seen["queries"]):
        row = [sum(head[place][key] for head in heads) / len(heads)
               for key in range(len(seen["keys"]))]  # fmt: skip
        most = sorted(range(len(row)), key=lambda key: -row[key])[:3]
        named = ", ".join(f"{seen['keys'][key]} {100 * row[key]:.0f} %" for key in most)
        yield Text(f"    {token}{' ' * (widest - cell_len(token))}  -> {named}")


def _method(values: ExplanationValues) -> Iterator[Text]:
    method, faithfulness = values["method"], values["faithfulness"]
    if method is None or faithfulness is None:
        return
    unit = ", in log-odds of the class" if method["signed"] else "; it does not say for or against"
    yield Text(f"Scores: {method['title']} ({method['source']}){unit}.")
    if not faithfulness["methods"]:
        return
    each = ", ".join(f"{one['title']} {one['score']:.2f}" for one in faithfulness["methods"])
    count = faithfulness["texts"]
    how = "exact limits" if faithfulness["exact"] else "limits by beam search"
    yield Text(f"Faithfulness (1 the best order of words there is, 0.5 random; normalised AOPC on "
               f"{count} {'text' if count == 1 else 'texts'}, {how}): {each}.")  # fmt: skip


def _layers(values: ExplanationValues) -> Iterator[Text]:
    found = values["layers"]
    assert found is not None, "asked only where there is"
    name = values["model"]["name"]
    yield Text()
    title = (
        f"Layers on {found['texts']} texts: how like those of {name} they are (CKA, 1: the same)"
    )
    if found["probing"]:
        title += ", and the accuracy in % of a logistic regression on them (probe)"
    yield Text(title)
    header = ["", *(f"like {other}" for other in found["similarity"]),
              *(f"probe {other}" for other in found["probing"])]  # fmt: skip
    yield from _table([header, *layer_rows(found, intervals=False)])
    halves = [(one["high"] - one["low"]) / 2 for of in found["probing"].values() for one in of]
    if halves:
        half = 100 * sum(halves) / len(halves)
        yield Text(
            f"Each accuracy may be off by {half:.0f} or so (95 %; --json has the intervals)."
        )


def _words(found: WordsValues, name: str) -> Iterator[Text]:
    yield Text()
    yield Text(f"Words that drive each class: mean score with its 95 % interval over "
               f"{found['texts']} of {found['of']} texts ({found['method']}; words in "
               f"{found['least']} texts or more)")  # fmt: skip
    for one in found["classes"]:
        for model, drivers in one["drivers"].items():
            yield Text.assemble((one["name"], "bold"), f", in {model}:")
            rows = [[w["word"], f"{w['mean']:+.2f}", f"[{w['low']:+.2f}, {w['high']:+.2f}]",
                     f"{w['texts']} texts"] for w in drivers]  # fmt: skip
            yield from _table(rows or [["no word stands out"]])
        for model, words in one["disagreements"].items():
            yield Text.assemble((one["name"], "bold"), f", {model} -> {name}:")
            rows = [[w["word"], f"{w['before']:+.2f} -> {w['after']:+.2f}",
                     f"[{w['low']:+.2f}, {w['high']:+.2f}]", f"{w['texts']} texts"]
                    for w in words]  # fmt: skip
            yield from _table(rows or [["nowhere for certain"]])


def _table(rows: Sequence[Sequence[str]]) -> Iterator[Text]:
    """Rows of cells, each column as wide as its widest."""
    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell + " " * (width - cell_len(cell))
                 for cell, width in zip(row, widths, strict=True))  # fmt: skip
        yield Text("  " + "  ".join(cells).rstrip())
