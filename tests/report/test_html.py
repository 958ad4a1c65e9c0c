import base64
import copy
import hashlib
import importlib.util
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from headstart.errors import UserError
from headstart.report.html import render, write_report

spec = importlib.util.spec_from_file_location("sample", Path(__file__).with_name("sample.py"))
sample = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sample)

VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}
SECTIONS = [
    "arms",
    "gain",
    "curve",
    "errors",
    "mistakes",
    "sure",
    "data",
    "curves",
    "cost",
    "moved",
    "again",
]
EARLIER = (
    "gains",
    "chosen_by",
    "protocol",
    "budget",
    "curve",
    "calibration",
    "selective",
    "offsets",
    "explained",
)
"""Keys that a verdict of schema 1 did not have."""


class Page(HTMLParser):
    """Reads a page, keeps its tags, texts and ids, and insists on closed and nested tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return "\n".join(text for tag, text in self.texts if tag not in ("style", "script"))

    @property
    def sections(self):
        return [attributes["id"] for attributes in self.all("section")]


def test_sections_stand_in_order_and_the_contents_name_them():
    page = Page(render(sample.verdict()))
    assert page.sections == SECTIONS
    assert [a["href"] for a in page.all("a")] == ["#content", *(f"#{s}" for s in SECTIONS)]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for a in page.all("section")} <= set(ids)


def test_figures_are_those_of_the_verdict():
    text = Page(render(sample.verdict())).text
    for shown in (
        "The source helps: +3.4 points [1.1, 5.6] over target only.",
        "source → target",
        "88.1",
        "[86.0, 89.9]",
        "+3.4",
        "[+1.1, +5.6]",
        "2 min 14 s",
        "winner",
        "about 34 more",
        "84.4 %",
        "99.6 %",
        "10,072",
        "1.41 GB",
        "22,713,986",
        "1e−4",
        "frozen",
        "0.003 %",
        "from before",
        "headstart transfer --source movie_reviews.csv",
        "2.13.0",
        "64 labels plus the source are worth 200",
        "201 [160, …]",
        "More labels would bring a little.",
        "random weights",
        "too far behind",
        "confidence is off by 2.0 points [1.0, 3.0]",
        "92.0 % [90.0, 94.0] of the answers are right",
        "temperature of 1.60 [1.20, 2.10]",
        "negative +0.25, positive −0.25",
        "Wh",
        "Energy is an estimate",
        "a made-up limit",
    ):
        assert shown in text, shown
    assert "None" not in text
    assert not re.search(r"\bnan\b", text)


def test_nothing_is_loaded_and_nothing_runs_but_the_script_of_the_page():
    page = render(sample.hostile())
    parsed = Page(page)
    assert [a.get("type") for a in parsed.all("script")] == ["application/json", None]
    assert {tag for tag, _ in parsed.tags}.isdisjoint(
        {"img", "iframe", "object", "embed", "link", "base", "form", "use", "image"}
    )
    for _, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
        assert (attributes.get("href") or "#").startswith("#")
    style = "".join(text for tag, text in parsed.texts if tag == "style")
    assert "url(" not in style and "@import" not in style and "http" not in style
    policy = next(m for m in parsed.all("meta") if "http-equiv" in m)["content"]
    script = page.rsplit("<script>", 1)[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    assert "innerHTML" not in script


def test_hostile_text_is_shown_as_text():
    page = render(sample.hostile())
    text = Page(page).text
    assert "<script>alert('text')</script>" in text
    assert "\u202eright to left\u202c مرحبا بالعالم שלום" in text
    assert "👩‍👩‍👧‍👦🏳️‍🌈 wonderful 🔥" in text
    assert "w" * 1000 + " … (4,000 characters more)" in text
    assert "w" * 1001 not in text
    assert "nul ␀ escape ␛[31m surrogate ? ]]> --> </blockquote></li></ol>" in text
    assert "(an empty text)" in text
    assert len(Page(page).all("li")) == len(Page(render(sample.verdict())).all("li"))


def test_tables_and_charts_can_be_heard():
    page = Page(render(sample.verdict()))
    assert len(page.all("table")) == len(page.all("caption")) == 12
    assert all(attributes.get("scope") for attributes in page.all("th"))
    spoken = [a for a in page.all("svg") if a.get("role") == "img"]
    marks = page.all("circle")
    titles = [text for tag, text in page.texts if tag == "title"]
    assert len(spoken) <= len(titles) - 1 <= len(spoken) + len(marks)
    assert all(a.get("aria-label") for _, a in page.tags if a.get("role") == "region")


def test_lines_hold_at_most_200_points():
    lines = [a["points"].split() for a in Page(render(sample.verdict())).all("polyline")]
    assert lines and max(map(len, lines)) <= 200
    places = [float(x) for line in lines for point in line for x in point.split(",")]
    assert min(places) >= 0 and max(places) <= 100


@pytest.mark.parametrize("key", sorted(sample.verdict()))
def test_what_is_absent_is_left_out(key):
    for change in ("absent", "null"):
        values = sample.verdict()
        if change == "absent":
            del values[key]
        else:
            values[key] = None
        text = Page(render(values)).text
        assert "None" not in text
        assert not re.search(r"\bnan\b|Undefined", text)


def test_a_verdict_of_schema_1_has_the_page_it_had():
    values = {key: value for key, value in sample.verdict().items() if key not in EARLIER}
    del values["machine"]["watts"], values["machine"]["watts_from"]
    page = Page(render(values | {"schema": "headstart.verdict/1"}))
    assert page.sections == [s for s in SECTIONS if s not in ("curve", "sure")]
    assert "12 W for each of 2 threads" in page.text
    assert "None" not in page.text


def test_a_schema_that_is_not_known_is_refused():
    with pytest.raises(UserError, match=r"headstart\.verdict/9.*no report"):
        render({"schema": "headstart.verdict/9"})


def test_words_of_mistakes_are_marked_and_said():
    page = render(sample.verdict())
    assert '<span class="word against told" style="--s:1.0" title="−1.50 for positive">zoom' in page
    assert "(against)" in page


def test_findings_stand_with_the_worst_first():
    values = sample.verdict()
    base = {"kind": "x", "count": 3, "rows": [1, 2, 3], "remedy": ""}
    values["data"]["findings"] = [
        {**base, "message": "a note", "severity": "note"},
        {**base, "message": "a harm", "severity": "harmful", "details": ["row 1: as row 7"]},
        {**base, "message": "a warning", "severity": "warning", "count": 14},
    ]
    text = Page(render(values)).text
    assert text.index("a harm") < text.index("a warning") < text.index("a note")
    assert "row 1: as row 7" in text and "rows 1, 2, 3 and 11 more" in text


def test_an_almost_empty_verdict_is_still_a_page():
    assert Page(render({"schema": "headstart.verdict/1"})).sections == []
    one_arm = {key: sample.verdict()[key] for key in ("arms", "sentence")}
    one_arm["arms"] = one_arm["arms"][:1]
    assert Page(render(one_arm | {"winner": "target", "gain": None})).sections == ["arms"]


def test_figures_that_are_not_finite_become_dashes():
    values = sample.verdict()
    values["stages"][0]["log"][3]["loss"] = float("nan")
    values["stages"][0]["tokens_per_second"] = float("inf")
    values["stages"][1]["log"] = []
    values["stages"][2]["trainable"] = None
    values["stages"][3]["peak_memory_bytes"] = None
    values["data"]["source"]["lengths"]["median"] = float("nan")
    values["arms"][1]["macro_f1"] = None
    text = Page(render(values)).text
    assert not re.search(r"\bnan\b|\binf\b|None", text)


def test_harm_is_said_plainly():
    values = sample.verdict()
    values |= {"negative_transfer": True, "gain": {"value": -0.02, "low": -0.035, "high": -0.005}}
    text = Page(render(values)).text
    assert "Negative transfer." in text and "about 20 fewer" in text and "−2.0" in text
    assert "lies below zero" in text
    values["gain"] |= {"high": 0.004}
    assert "The interval holds zero" in Page(render(values)).text


def test_many_classes_become_the_most_frequent_confusions():
    values = sample.verdict()
    names = [f"class {i}" for i in range(23)]
    counts = [[0] * 23 for _ in names]
    counts[3][5], counts[7][7], counts[11][2] = 4, 20, 9
    values["confusion"] = {"classes": names, "counts": counts}
    values["data"]["source"]["classes"] = dict.fromkeys(names, 5)
    text = Page(render(values)).text
    assert "The 2 most frequent confusions among 23 classes" in text
    assert text.index("class 11\nclass 2\n9\n100.0 %") < text.index("class 3\nclass 5\n4")
    assert "and 5 rarer classes" in text


def test_the_verdict_is_not_changed():
    values = sample.verdict()
    before = copy.deepcopy(values)
    render(values)
    assert values == before


def test_the_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(sample.verdict(), path)
    assert path.read_text(encoding="utf-8") == render(sample.verdict())
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_a_user_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        write_report(sample.verdict(), tmp_path / "report.html")
