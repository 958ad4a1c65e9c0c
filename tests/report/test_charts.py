import pytest

from headstart.report.charts import Axis, curves, thin, whiskers
from headstart.report.words import clip, count, hundredths, memory, number, points, rate, share


def test_axes_take_round_steps_that_enclose_the_values():
    axis = Axis.around([0.822, 0.899])
    assert (axis.low, axis.high, axis.step) == pytest.approx((0.82, 0.9, 0.02))
    assert [tick.label for tick in axis.ticks(100)] == ["82", "84", "86", "88", "90"]
    assert [tick.place for tick in axis.ticks()] == pytest.approx([0, 25, 50, 75, 100])
    assert axis.place(0.86) == pytest.approx(50)


def test_axes_of_one_value_and_of_no_spread():
    for value in (0.0, 1.0, -3.5, 1e-9):
        axis = Axis.around([value, value])
        assert axis.low <= value <= axis.high and axis.low < axis.high


def test_steps_end_where_the_log_ends():
    axis = Axis.up_to(5036)
    assert axis.high == 5036
    assert [tick.label for tick in axis.ticks()] == ["0", "2,000", "4,000"]


def test_a_gain_is_drawn_with_zero_in_sight():
    drawn = whiskers([{"value": 0.034, "low": 0.011, "high": 0.056}], with_zero=True)
    assert drawn.origin == 0
    assert [tick.label for tick in drawn.ticks] == ["0", "+2", "+4", "+6"]
    assert drawn.rows[0].value == pytest.approx(100 * 0.034 / 0.06, abs=0.01)
    harmful = whiskers([{"value": -0.02, "low": -0.03, "high": -0.01}], with_zero=True)
    assert harmful.origin == 100
    assert harmful.ticks[0].label == "−3"


def test_thinning_takes_means_of_neighbours():
    assert thin([(1, 1.0), (2, 3.0), (3, 5.0), (4, 7.0), (5, 9.0)], limit=3) == [
        (2, 2.0),
        (4, 6.0),
        (5, 9.0),
    ]
    assert thin([], limit=3) == []
    assert len(thin([(i, 0.0) for i in range(4001)])) <= 200


def test_seeds_of_a_stage_share_a_chart_and_validation_has_its_own():
    log = [{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.5, "validation": {"accuracy": 0.8}}]
    stages = [{"name": "tune", "arm": ["b"], "seed": seed, "log": log} for seed in range(3)]
    loss, accuracy = curves([*stages, {"name": "probe", "arm": ["b"], "seed": 0, "log": []}])
    assert (loss.title, loss.measure) == ("tune", "training loss")
    assert loss.legend == [("first", "seed 0"), ("other", "seeds 1, 2")]
    assert loss.lines[-1].kind == "first", "over the others"
    assert loss.lines[-1].points[-1] == pytest.approx((100, 100 - 100 * 0.5 / 0.8))
    assert accuracy.measure == "validation accuracy"
    assert loss.summary == "seed 0: from 0.700 at step 1 to 0.500 at step 2"


def test_stages_of_one_name_are_told_apart_by_their_ways():
    log = [{"step": 1, "loss": 0.7}]
    stages = [{"name": "probe", "arm": arms, "seed": 0, "log": log} for arms in (["a"], ["b", "c"])]
    assert [chart.title for chart in curves(stages)] == ["probe, a", "probe, b and c"]


def test_a_validation_loss_is_drawn_over_the_training_loss():
    log = [{"step": 5, "loss": 0.7, "validation": {"loss": 0.9}}]
    (chart,) = curves([{"name": "tune", "seed": 0, "log": log}])
    assert chart.legend == [("first", "seed 0"), ("checked", "validation, seed 0")]


def test_numbers_read_well():
    assert number(10072) == "10,072" and number(-3) == "−3" and number(None) == "–"
    assert share(0.9964) == "99.6 %" and hundredths(0.847) == "84.7"
    assert points(0.034) == "+3.4" and points(-0.02) == "−2.0" and points(float("nan")) == "–"
    assert [rate(x) for x in (1e-4, 2.5e-5, 0.0, None)] == ["1e−4", "2.5e−5", "frozen", "–"]
    assert memory(1_412_000_000) == "1.41 GB" and memory(97_000_000) == "97 MB"
    assert count(1, "seed") == "1 seed" and count(3, "class", "classes") == "3 classes"
    assert clip("x" * 1000) == "x" * 1000
