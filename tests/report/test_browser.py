"""The pages in a real browser: silent, whole, fit for a phone, dark and light, keyboard, paper."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.report import sample

import headstart
from headstart.report.html import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser is installed")


@dataclass
class Browser:
    """Opens pages, and hears what they say and ask for."""

    chromium: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, file: Path, width: int = 1000, **context: Any) -> Any:
        viewport = {"width": width, "height": 800}
        tab = self.chromium.new_context(viewport=viewport, **context).new_page()
        tab.on("console", lambda message: self.said.append(message.text))
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("request", lambda request: self.asked.append(request.url))
        tab.goto(file.as_uri())
        return tab


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def browser(chromium) -> Browser:
    return Browser(chromium)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """A page of every kind."""
    import json

    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for name, values in (("verdict", sample.verdict()), ("hostile", sample.hostile())):
        found[name] = folder / f"{name}.html"
        write_report(values, found[name])
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "verdict.json").write_text(json.dumps(sample.verdict()))
    found["comparison"] = folder / "comparison.html"
    headstart.compare_runs([folder / "one", folder / "two"]).write_html(found["comparison"])
    return found


KINDS = ("verdict", "hostile", "comparison")


@pytest.mark.parametrize("kind", KINDS)
def test_pages_are_silent_whole_and_ask_for_nothing(browser, pages, kind):
    tab = browser.open(pages[kind])
    assert browser.said == [] and browser.asked == [pages[kind].as_uri()]
    assert tab.locator("section h2").count() == tab.locator("nav a").count() > 5
    assert tab.locator("svg[role=img]").count() > 5
    assert tab.locator("img").count() == 0
    boxes = tab.locator("svg[role=img]").evaluate_all("all => all.map(e => e.clientWidth)")
    assert min(boxes) > 50, "every chart has room"


@pytest.mark.parametrize("kind", KINDS)
def test_a_phone_needs_no_sideways_scrolling(browser, pages, kind):
    tab = browser.open(pages[kind], width=360)
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    outside = tab.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre, svg, "
        ".skip, .aside') && e.getBoundingClientRect().right > 361).map(e => e.outerHTML)"
    )
    assert outside == []


TEXTS = (
    "h1",
    "p",
    ".quiet",
    ".eyebrow b",
    "nav a",
    "td",
    ".range",
    "th",
    "caption span",
    "figcaption",
    ".mark",
    "blockquote",
    ".word.for",
    ".word.against",
    ".severity",
    ".matrix td",
    "svg text",
    ".legend li",
    "pre code",
    "dt",
    "select",
)

CONTRAST = """selector => [...document.querySelectorAll(selector)].slice(0, 40).map(e => {
  const painter = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const style = getComputedStyle(e), stack = [];
  for (let n = e; n; n = n.parentElement) stack.unshift(getComputedStyle(n).backgroundColor);
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = () => { const [r, g, b] = [...painter.getImageData(0, 0, 1, 1).data].map(channel);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const paint = color => { painter.fillStyle = color; painter.fillRect(0, 0, 1, 1); };
  for (const color of ['white', ...stack]) paint(color);
  const below = light();
  paint(e.closest('svg') ? style.fill : style.color);
  const above = light();
  return (Math.max(above, below) + 0.05) / (Math.min(above, below) + 0.05);
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_dark_and_light(browser, tmp_path, scheme):
    values = sample.verdict()
    values["data"]["findings"] += [
        {"kind": "x", "message": "m", "count": 1, "rows": [1], "remedy": "r", "severity": severity}
        for severity in ("harmful", "warning")
    ]
    write_report(values, tmp_path / "page.html")
    tab = browser.open(tmp_path / "page.html", color_scheme=scheme)
    for selector in TEXTS:
        found = tab.evaluate(CONTRAST, selector)
        assert found, selector
        assert min(found) >= 4.5, (selector, min(found))


def test_the_keyboard_reaches_what_can_be_used(browser, pages):
    tab = browser.open(pages["verdict"])
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    reached = set()
    for _ in range(80):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate(
            "document.activeElement.id || document.activeElement.getAttribute('href') || "
            "document.activeElement.getAttribute('aria-label')"
        ))  # fmt: skip
    assert {"mixed-up", "answered", "#cost", "recipe.toml", "Confusion matrix"} <= reached
    tab.locator("nav a").first.focus()
    tab.keyboard.press("Tab")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_mistakes_of_two_classes_can_be_looked_at_alone(browser, pages):
    tab = browser.open(pages["verdict"])
    shown = tab.locator(".mistakes > li:visible")
    assert shown.count() == 20
    tab.locator("#mixed-up").select_option("1")
    assert shown.count() == 10
    assert tab.locator("#mixed-up-status").inner_text() == "10 shown"
    assert len(set(shown.locator("p").evaluate_all(
        "all => all.map(e => [...e.querySelectorAll('b')].map(b => b.innerText).join())"
    ))) == 1  # fmt: skip
    tab.locator("#mixed-up").select_option("")
    assert shown.count() == 20


def test_the_dial_tells_what_answering_fewer_gives(browser, pages):
    tab = browser.open(pages["verdict"])
    dial, says = tab.locator("#answered"), tab.locator("#answered-says")
    assert says.inner_text().startswith("Answer 80 %: 92.3 % are right")
    dial.focus()
    tab.keyboard.press("End")
    assert says.inner_text().startswith("Answer 100 %: 88.0 % are right")
    assert "50.0 % sure" in says.inner_text()


def test_names_and_roles_are_told_to_a_screen_reader(browser, pages):
    tab = browser.open(pages["verdict"])
    assert tab.get_by_role("main").count() == tab.get_by_role("navigation").count() == 1
    assert tab.get_by_role("heading", level=1).count() == 1
    for region in tab.locator("section").all():
        assert region.get_attribute("aria-labelledby")
    assert tab.get_by_role("table").count() == tab.locator("caption").count()
    assert tab.get_by_label("Share of rows to answer").count() == 1
    chart = tab.get_by_role("img", name=re.compile("target only: 60.0 % at 8 to 82.5 % at 256"))
    assert chart.count() == 1


def test_paper_is_white_and_holds_everything(browser, pages):
    tab = browser.open(pages["verdict"], color_scheme="dark")
    tab.locator("#mixed-up").select_option("1")
    tab.emulate_media(media="print")
    assert tab.locator("nav").is_hidden() and tab.locator("#answered").is_hidden()
    assert tab.locator(".mistakes > li:visible").count() == 20, "also those not looked at"
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(28, 30, 33)"
    assert len(tab.pdf(format="A4")) > 20_000


def test_without_its_script_a_page_lacks_only_its_controls(browser, pages):
    tab = browser.open(pages["verdict"], java_script_enabled=False)
    assert tab.locator(".controls:visible").count() == 0
    assert tab.locator(".mistakes > li:visible").count() == 20
    assert tab.locator("svg[role=img]:visible").count() > 5
