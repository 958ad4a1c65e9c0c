"""Where marks of the newer charts lie, from the values they are drawn from."""

import pytest

from headstart.report.energy import energy
from headstart.report.plots import Labels, coverage, label_curve, reliability
from headstart.report.view import pieces, worth
from headstart.report.words import MAX_CHARACTERS, signed, watt_hours


def point(labels, mean, half=0.02):
    return {"labels": labels, "mean": mean, "low": mean - half, "high": mean + half, "seeds": 3}


def test_each_doubling_of_labels_is_as_wide_as_the_next_and_0_stands_one_to_the_left():
    axis = Labels([8, 0, 16, 64])
    assert [axis.place(n) for n in (0, 8, 16, 32, 64)] == [0, 25, 50, 75, 100]
    assert [tick.label for tick in axis.ticks()] == ["0", "8", "16", "64"]


def test_labels_of_an_axis_do_not_touch_and_the_last_stays():
    ticks = Labels([8, 16, 32, 64, 128, 130]).ticks()
    assert ticks[-1].label == "130" and "128" not in [tick.label for tick in ticks]


def test_the_curve_has_both_lines_their_bands_and_the_bridge():
    curve = {
        "arm": "both", "with_source": [point(0, 0.7), point(8, 0.8)],
        "without_source": [point(8, 0.6), point(32, 0.9)],
        "saved": [{"labels": 8, "worth": 16.0, "low": 9.0, "high": None, "least": 8, "most": 32,
                   "reached": "within", "saved": 8.0}],
    }  # fmt: skip
    drawn = label_curve(curve, "source -> target")
    assert [stroke.kind for stroke in drawn.strokes] == ["alone", "with"]
    alone, helped = drawn.strokes
    assert [x for x, _ in alone.points] == pytest.approx([33.33, 100], abs=0.01)
    bottom, top = drawn.y_ticks[0], drawn.y_ticks[-1]
    low, high = float(bottom.label) / 100, float(top.label) / 100
    assert helped.points[1][1] == pytest.approx(100 - 100 * (0.8 - low) / (high - low), abs=0.01)
    assert len(helped.band) == 4
    start, end, said = drawn.bridge
    assert start.y == end.y == helped.points[1][1]
    assert end.x == pytest.approx(66.67, abs=0.01) and said.startswith("8 labels")
    assert drawn.summary == (
        "target only: 60.0 % at 8 to 90.0 % at 32; source -> target: 70.0 % at 0 to 80.0 % at 8"
    )
    assert label_curve({}, "x") is None


def test_what_labels_are_worth_is_told_where_it_is_open_too():
    saved = {"labels": 8, "low": 9.0, "high": None, "least": 8, "most": 32, "saved": None}
    assert worth({**saved, "worth": 16.4, "saved": 8.4, "reached": "within"}) == {
        "worth": "16 [9, …]", "saved": "8"}  # fmt: skip
    assert worth({**saved, "worth": None, "reached": "above"})["worth"] == "more than 32"
    assert worth({**saved, "worth": None, "reached": "below"})["worth"] == "fewer than 8"
    assert worth(None) == {"worth": "–", "saved": "–"}


def test_a_reliability_diagram_lies_on_equal_axes():
    accuracy = {"value": 0.7, "low": 0.6, "high": 0.8}
    drawn = reliability({"before": {"bins": [
        {"confidence": 0.8, "accuracy": accuracy, "count": 31}]}})  # fmt: skip
    ideal, before = drawn.strokes
    assert ideal.points == ((0, 100), (100, 0)) and drawn.x_ticks == drawn.y_ticks
    (mark,) = before.marks
    assert (mark.x, mark.y, mark.low, mark.high) == pytest.approx((50, 75, 100, 50))
    assert "31 rows, sure of 80.0 %, right in 70.0 % [60.0, 80.0]" in mark.title
    assert reliability({}) is None


def test_coverage_leaves_out_what_few_rows_tell():
    curve = [{"coverage": c, "risk": r, "threshold": 0.5}
             for c, r in ((0.0, 0.0), (0.05, 0.9), (0.5, 0.1), (1.0, 0.2))]  # fmt: skip
    drawn = coverage({"curve": curve})
    assert [x for x, _ in drawn.strokes[0].points] == [50, 100]
    assert drawn.y_ticks[0].label == "80"
    assert coverage({}) is None


def test_energy_is_time_by_power_and_says_where_power_is_from():
    found = energy({"machine": {"watts": 90.0, "watts_from": "a limit"}})
    assert found.watt_hours(1800) == pytest.approx(45)
    assert found.basis == "90 W, a limit"
    guessed = energy({"machine": {"threads": 2}, "stages": [{"peak_memory_bytes": 2e9}]})
    assert guessed.watts == pytest.approx(2 * 12 + 2 * 0.3725)
    assert "12 W for each of 2 threads" in guessed.basis and "2.0 GB of memory" in guessed.basis
    assert energy({"machine": {"threads": 2, "gpu": "a card"}}) is None
    assert energy({}) is None and guessed.watt_hours(None) is None


def test_long_texts_are_cut_where_others_are():
    text = "good " * 300
    words = [{"start": 5 * i, "end": 5 * i + 4, "score": 1.0} for i in range(300)]
    shown = "".join(piece.text for piece in pieces(text, words))
    assert shown == f"{text[:MAX_CHARACTERS]} … (500 characters more)"


def test_more_numbers_read_well():
    assert [watt_hours(x) for x in (0.031, 24.6, 2461, None)] == [
        "0.03 Wh", "25 Wh", "2.46 kWh", "–"]  # fmt: skip
    assert signed(-1.314) == "−1.31" and signed(0.2) == "+0.20"
