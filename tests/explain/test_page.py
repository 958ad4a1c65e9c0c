"""The page: safe, whole on its own, and alive in a real browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from tests.explain.conftest import classifier

from headstart.data.examples import Examples
from headstart.explain.explanation import Asked, explain
from headstart.explain.page import fragment, packed, page, script, style
from headstart.explain.shades import shades
from headstart.explain.terminal import plain

EVIL = 'great </script><img src=x onerror="alert(1)"> plot \x07 <b>dull</b>'


@pytest.fixture
def values(tiny_bert):
    other = classifier(tiny_bert, "cls")
    rows = Examples("train", [f"plot {w}" for w in ("great", "dull") * 5], ["good", "bad"] * 5,
                    np.arange(2, 12))  # fmt: skip
    asked = Asked("occlusion", attention=True, before=(("old <i>", other),), train=rows)
    return explain(classifier(tiny_bert), [EVIL, "the plot was great"], asked, name="mine & yours")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_what_texts_hold_is_shown_and_never_obeyed(values):
    whole = page(values)
    parser = Tags()
    parser.feed(whole)
    tags = [tag for tag, _ in parser.seen]
    assert "img" not in tags
    assert not [a for _, attributes in parser.seen for a in attributes if a.startswith("on")]
    assert "&lt;b&gt;" in whole or "&lt;" in whole
    assert "old &lt;i&gt;" in whole and "mine &amp; yours" in whole
    assert "\x07" not in whole


def test_the_page_asks_for_nothing(values):
    whole = page(values)
    assert not re.search(r"(src|href)=|@import|url\(|https?://", whole.replace("http-equiv", ""))
    assert whole.startswith("<!doctype html>") and whole.count("<script") == 1 + 2


def test_a_fragment_keeps_to_itself(values):
    part = fragment(values)
    assert part.startswith('<section class="hs-x"') and "<html" not in part and "<style" not in part
    names = set(re.findall(r'class="([^"]*)"', part))
    assert all(name.startswith("hs-") for one in names for name in one.split())
    assert all(rule.lstrip().startswith((".hs-", "@media", "--hs", "}")) or "{" not in rule
               for rule in style().splitlines())  # fmt: skip


def test_attention_is_packed_to_bytes(values):
    attention = values["texts"][1]["attention"][0]
    data = packed(attention)
    bytes_ = np.frombuffer(base64.b64decode(data["weights"]), np.uint8)
    back = (bytes_ / 255.0) ** 2
    want = np.array(attention["weights"])
    assert (data["layers"], data["heads"]) == want.shape[:2] == (3, 5)
    np.testing.assert_allclose(back.reshape(want.shape), want, atol=0.004)


def test_shades_give_the_text_back_and_show_what_is_unread(tiny_bert):
    trained = classifier(tiny_bert)
    trained.max_length = 5
    found = explain(trained, ["the plot was great, and dull"], Asked("occlusion"))
    text = found["texts"][0]
    pieces = shades(text, [word["score"] for word in text["words"]], signed=True)
    assert "".join(piece.text for piece in pieces) == text["text"]
    assert [piece.text for piece in pieces if piece.unread] == [" great, and dull"]
    assert max(piece.depth for piece in pieces) == 1
    assert "not read: 4 words; the text has 9 tokens, and the model reads 5" in plain(found)
    assert "hs-unread" in fragment(found)


def test_the_terminal_says_in_words_what_colours_say(values):
    shown = plain(values)
    assert "\x1b" not in shown
    assert "for " in shown and "in old <i>:" in shown and "near in the training data" in shown
    assert "Faithfulness (1 the best order" in shown


def test_the_page_is_alive_in_a_browser(values, tmp_path):
    sync = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser is installed")
    file = tmp_path / "why.html"
    file.write_text(page(values), encoding="utf-8")
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        wrong: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda message: wrong.append(message.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(file.as_uri())
        viewer = tab.locator(".hs-attention").nth(1)
        status, weights = viewer.locator(".hs-status"), values["texts"][1]["attention"][0]
        viewer.locator("button").first.focus()
        tab.keyboard.press("ArrowRight")
        assert _told(status.inner_text()) == _most(weights, layer=2, head=None, query=1)
        tab.keyboard.press("ArrowUp")
        tab.keyboard.press("PageDown")
        assert "(layer 2, head 1)" in status.inner_text()
        assert _told(status.inner_text()) == _most(weights, layer=1, head=0, query=1)
        viewer.locator("button").nth(4).hover()
        assert status.inner_text().startswith("great looks at")
        viewer.locator(".hs-layer").select_option("rollout")
        assert "(all layers)" in status.inner_text()
        browser.close()
    assert wrong == [] and asked == [file.as_uri()]


def _told(status: str) -> str:
    return re.search(r"looks at (.*?) \d", status).group(1)


def _most(attention, layer: int, head: int | None, query: int) -> str:
    weights = np.array(attention["weights"])[layer]
    row = (weights.mean(0) if head is None else weights[head])[query]
    return attention["keys"][int(row.argmax())]


def test_data_in_a_script_cannot_end_it():
    from headstart.explain.page import script_data

    made = str(script_data({"a": EVIL}))
    assert "<" not in made and json.loads(made) == {"a": EVIL}
    assert "innerHTML" not in script()
