"""Which task comes when: shares by hand, exact quotas, an order that any step can be found in."""

import numpy as np
import pytest

from headstart.data.mixing import LAG, Mixture, Rule, Stream, mixing_shares, quotas

SIZES = [64, 16, 1]


def lengths(count, seed):
    return np.random.default_rng(seed).integers(3, 23, size=count)


PLAIN = Rule()


def mixture(rule=PLAIN, **options):
    parts = {"a": lengths(211, 1), "b": lengths(53, 2), "c": lengths(17, 3)}
    return Mixture(parts, rule, 64, 5, **({"epochs": 3} | options))


@pytest.mark.parametrize(
    ("by", "options", "want"),
    [
        ("proportional", {}, [64, 16, 1]),
        ("temperature", {"temperature": 2.0}, [8, 4, 1]),
        ("equal", {}, [1, 1, 1]),
        ("hand", {"given": [1.0, 2.0, 5.0]}, [1, 2, 5]),
        ("annealed", {"progress": 0.0}, [64, 16, 1]),
        ("annealed", {"progress": 1.0}, [64**0.2, 16**0.2, 1]),
        ("annealed", {"progress": 0.625}, [8, 4, 1]),  # alpha = 1 - 0.8 * 0.625 = 0.5
    ],
)
def test_shares(by, options, want):
    found = mixing_shares(by, SIZES, **options)
    np.testing.assert_allclose(found, np.array(want) / sum(want))


def test_quotas_are_exact_and_leave_no_task_out():
    random = np.random.default_rng(7)
    for _ in range(101):
        shares = random.dirichlet([0.1] * 5)
        total = int(random.integers(5, 97))
        found = quotas(shares, total)
        assert found.sum() == total
        assert found.min() >= 1
    assert quotas(np.array([0.5, 0.3, 0.2]), 10).tolist() == [5, 3, 2]
    assert quotas(np.array([0.99, 0.01]), 10).tolist() == [9, 1]
    assert quotas(np.array([0.9, 0.1]), 1).tolist() == [1, 0]


def test_an_epoch_of_proportional_mixing_is_one_pass_over_each():
    mixed = mixture()
    assert mixed.epoch_steps == sum(mixed.sizes)
    assert mixed.total == 3 * mixed.epoch_steps
    seen = {0: [], 1: [], 2: []}
    for step in range(mixed.epoch_steps):
        ((task, rows),) = mixed.asked(step)
        seen[task].append(rows)
    for task, count in enumerate((211, 53, 17)):
        assert sorted(np.concatenate(seen[task]).tolist()) == list(range(count))
    assert mixed.passes(mixed.total) == pytest.approx([3, 3, 3], abs=0.3)


@pytest.mark.parametrize("rule", [Rule("temperature", 3.0), Rule("annealed"),
                                  Rule("equal", several=True)])  # fmt: skip
def test_any_step_can_be_found_without_those_before(rule):
    walked = [mixture(rule).asked(step) for step in range(40)]
    there = mixture(rule)
    for step in (37, 3, 38, 0):
        for (k, rows), (want, others) in zip(there.asked(step), walked[step], strict=True):
            assert k == want
            assert np.array_equal(rows, others)


def test_annealed_mixing_ends_nearer_to_equal():
    mixed = mixture(Rule("annealed"), epochs=5)
    first, last = mixed.shares(0), mixed.shares(4)
    assert first[2] < last[2] < 1 / 3
    assert first[0] > last[0] > 1 / 3


def test_an_update_of_several_tasks_has_each_with_its_share_of_the_tokens():
    mixed = mixture(Rule("hand", given=(1.0, 1.0, 2.0), several=True))
    tokens = np.zeros(3)
    parts = [lengths(211, 1), lengths(53, 2), lengths(17, 3)]
    for step in range(mixed.total):
        asked = mixed.asked(step)
        assert [k for k, _ in asked] == [0, 1, 2]
        tokens += [parts[k][rows].sum() for k, rows in asked]
    np.testing.assert_allclose(tokens / mixed.total, [16, 16, 32], rtol=0.25)


@pytest.mark.parametrize("several", [False, True])
def test_a_task_that_leaves_is_gone_a_few_updates_later_and_the_others_take_its_place(several):
    before, after = mixture(Rule("equal", several=several)), mixture(Rule("equal", several=several))
    after.leave(0, step=11)
    for step in range(11 + LAG):
        assert [k for k, _ in before.asked(step)] == [k for k, _ in after.asked(step)]
    later = [k for step in range(11 + LAG, after.total) for k, _ in after.asked(step)]
    assert set(later) == {1, 2}
    if not several:
        kept = [(before.asked(s)[0][0], after.asked(s)[0][0]) for s in range(60, 80)]
        assert all(b == a for b, a in kept if b != 0), "the others keep their places"


def test_a_seed_decides_and_so_does_a_name():
    rows = lengths(101, 1)
    same, other = (Mixture({name: rows}, Rule(), 64, 5, epochs=1) for name in ("a", "b"))
    alone = Mixture({"a": rows, "b": rows}, Rule(), 64, 5, epochs=1)
    mine = [rows for step in range(alone.total) for k, rows in alone.asked(step) if k == 0]
    assert all(np.array_equal(same.asked(step)[0][1], part) for step, part in enumerate(mine))
    assert not np.array_equal(same.asked(0)[0][1], other.asked(0)[0][1])


def test_a_stream_goes_on_pass_after_pass():
    stream = Stream(lengths(31, 1), 64, 3)
    first = np.concatenate([stream.rows(n) for n in range(stream.size)])
    assert sorted(first.tolist()) == list(range(31))
    assert not np.array_equal(stream.rows(0), stream.rows(stream.size))
