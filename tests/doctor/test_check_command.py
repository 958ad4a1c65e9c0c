"""headstart check as its users run it."""

from __future__ import annotations

import json

import pytest
from tests.commands import Here, write_csv, write_reviews


@pytest.fixture
def here(capsys, monkeypatch) -> Here:
    return Here(capsys, monkeypatch)


def test_what_is_printed(here, tiny_bert, tmp_path) -> None:
    films, shop = write_reviews(tmp_path)
    rows = [["fine &amp; well", "positive"], ["it broke", "negative"], ["it  broke", "negative"]]
    with shop.open("a") as file:
        file.writelines(f"{text},{label}\n" for text, label in rows)
    done = here("check", "--source", films, "--target", shop, "--backbone", tiny_bert)
    assert done.code == 0
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80 or str(tmp_path) in max(lines, key=len)
    said = " ".join(done.out.split())
    assert "97 rows (49 positive, 48 negative)" in said
    assert "- target: 1 of 86 (1.2 %) texts hold tags or entities" in said
    assert "row 85: 'fine &amp; well'" in said and "row 87: as row 86" in said
    assert "source has" in said and "tells them apart in" in said
    assert "a pass over the rows takes" in said and "headstart transfer on these rows" in said
    assert said.index("Warnings (") < said.index("Notes (")


def test_quick_opens_no_backbone(here, tmp_path) -> None:
    films, shop = write_reviews(tmp_path)
    done = here("check", "--target", shop, "--test", films, "--quick", "--backbone", "no-such")
    assert done.code == 0 and "Training all of" not in done.out
    done = here("check", "--target", shop, "--backbone", tmp_path / "no-such")
    assert done.code == 2 and "no-such" in done.err and "Traceback" not in done.err


def test_json_is_all_that_is_printed(here, tmp_path) -> None:
    films, shop = write_reviews(tmp_path)
    done = here("check", "--source", films, "--target", shop, "--quick", "--json")
    values = json.loads(done.out)
    assert [each["key"] for each in values["sets"]] == ["source", "target"]
    assert values["cost"] is None and values["shifts"][0]["known_words"] <= 1


def test_fixing(here, tmp_path) -> None:
    _, shop = write_reviews(tmp_path)
    with shop.open("a") as file:
        file.write("a<br>b,positive\n,negative\n")
    done = here("check", "--target", shop, "--quick", "--fix", "--out", tmp_path / "mended")
    assert done.code == 0
    said = " ".join(done.out.split())
    assert "target: 1 text mended, 1 row left out; 84 rows in" in said
    assert (tmp_path / "mended" / "target" / "shop.csv").read_text().endswith("a b,positive\n")
    assert (tmp_path / "mended" / "changes.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quick"], "nothing to look at"),
        (["--target", "SHOP", "--quick", "--fix"], "--fix and --out go together"),
        (["--target", "SHOP", "--quick", "--text", "sorce=review"], "Did you mean 'source'"),
        (["--target", "SHOP", "--quick", "--label", "sentimnt"], "Did you mean 'sentiment'"),
        (["--target", "SHOPS", "--source", "FILMS", "--quick"], "there is no such file"),
    ],
)
def test_what_cannot_be_is_said(here, tmp_path, options, message) -> None:
    films, shop = write_reviews(tmp_path)
    names = {"SHOP": shop, "FILMS": films, "SHOPS": tmp_path / "shops.csv"}
    done = here("check", *(names.get(option, option) for option in options))
    assert done.code == 2 and message in done.err and not done.out
    assert "Traceback" not in done.err


def test_a_table_of_one_class_is_refused_by_name(here, tmp_path) -> None:
    path = write_csv(tmp_path / "one.csv", [["a b", "x"], ["c d", "x"]], ["text", "label"])
    done = here("check", "--target", path, "--quick")
    assert done.code == 2 and "all 2 labels are 'x'" in done.err
