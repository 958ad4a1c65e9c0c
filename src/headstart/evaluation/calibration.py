"""Whether a model is right as often as it says, and how to make it so.

Temperature scaling (Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural
Networks", section 4.2) divides all logits by one number T, chosen so that rows the model has not
seen are likeliest. That changes no answer, only how sure it is said to be.

Few labels say little about T, and where the model happens to be right on all of them, T falls to 0
and every answer becomes certain. So T is shrunk: before any row is seen, log T is held to be normal
around 0 with standard deviation `PRIOR`, and the likeliest T afterwards is taken (maximum a
posteriori). PRIOR = 0.5 says that T lies between 0.38 and 2.7, 19 times in 20. In simulated worlds
with two classes and true temperatures from 0.7 to 2.5, T fitted on 16 rows so lost at most a
sixteenth of the likelihood that plain fitting lost; on 64 rows less at 0.7 to 1.5, and 0.002 nats
more at 2.5; with 256 rows the prior was no longer felt.

Shapes: S seeds, N rows, C classes, B bins.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.intervals import Interval, interval, mean_interval
from headstart.evaluation.metrics import log_losses, squared_errors
from headstart.evaluation.scores import Classes
from headstart.tasks.temperature import Temperature

PRIOR = 0.5
"""Standard deviation of log T before any row is seen."""

FARTHEST = 3.0
"""Largest |log T| that is looked at: temperatures from 0.05 to 20."""

MOST_BINS = 15
ROWS_IN_A_BIN = 20
DRAWS = 2000
STEPS = 33

Reals = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Bin:
    """Rows of about equal confidence.

    Attributes:
        confidence: the mean probability of the predicted class.
        accuracy: the share that is right, with Wilson's interval.
        count: rows.
    """

    confidence: float
    accuracy: Interval
    count: int


def probabilities_of(logits: Reals, temperature: Temperature | None = None) -> Reals:
    """Probabilities (..., C) of logits (..., C), at temperature 1 where none is given."""
    from scipy.special import softmax

    return np.asarray(softmax(logits / (temperature.value if temperature else 1.0), axis=-1))


def fit_temperature(logits: Reals, truth: Classes, *, prior: float | None = PRIOR) -> Temperature:
    """Fit the temperature on rows that the model was not trained on.

    Args:
        logits: (N, C), or (S, N, C) of S models for the same N rows, such as out-of-fold logits of
            repeated folds; the models share one temperature, and count as N rows all the same.
        truth: (N,) true class.
        prior: standard deviation of log T before any row is seen; None fits without, as Guo et al.

    Returns:
        T with a 95 % interval, from the curvature of the posterior at its peak in log T (Laplace).
        Without rows it is 1, as sure as the prior.

    Raises:
        ValueError: the shapes do not fit, or there are neither rows nor a prior.
    """
    from scipy.optimize import minimize_scalar

    given = np.asarray(logits, dtype=np.float64)
    logits = given[None] if given.ndim == 2 else given
    if logits.ndim != 3 or logits.shape[1] != len(truth):
        raise ValueError(
            f"logits must be (N, C) or (S, N, C) and truth (N,); got {given.shape} and "
            f"{np.shape(truth)}."
        )
    if not logits.size and prior is None:
        raise ValueError("without rows and without a prior there is nothing to fit from.")
    precision = 0.0 if prior is None else prior**-2

    def cost(log_temperature: float) -> float:
        return _fit(logits, truth, log_temperature)[0] + precision * log_temperature**2 / 2

    # The likelihood may have a second, lower peak where prior and rows disagree: look everywhere.
    grid = np.linspace(-FARTHEST, FARTHEST, 13)
    near = float(grid[np.argmin([cost(u) for u in grid])])
    bounds = (max(-FARTHEST, near - 0.5), min(FARTHEST, near + 0.5))
    found = float(minimize_scalar(cost, bounds=bounds, method="bounded").x)
    curvature = _fit(logits, truth, found)[1] + precision
    spread = 1.959964 / math.sqrt(curvature) if curvature > 0 else 2 * FARTHEST
    low, high = max(-FARTHEST, found - spread), min(FARTHEST, found + spread)
    return Temperature(math.exp(found), math.exp(low), math.exp(high), len(truth), prior)


def _fit(logits: Reals, truth: Classes, log_temperature: float) -> tuple[float, float]:
    """Negative log-likelihood of (S, N, C) logits, S models counting as one, and its curvature.

    Returns:
        Both summed over rows; the second derivative is by log T.
    """
    from scipy.special import log_softmax

    if not logits.size:
        return 0.0, 0.0
    scaled = logits * math.exp(-log_temperature)
    log_p = log_softmax(scaled, axis=-1)
    true = np.arange(len(truth))
    loss = -float(log_p[:, true, truth].mean(0).sum())
    p = np.exp(log_p)
    mean = (p * scaled).sum(-1)
    slope = mean - scaled[:, true, truth]  # by the logarithm of 1 / T
    spread = (p * scaled**2).sum(-1) - mean**2
    return loss, float((slope + spread).mean(0).sum())


def reliability(probabilities: Reals, truth: Classes, *, num_bins: int | None = None) -> list[Bin]:
    """The reliability diagram: how often the model is right where it is about equally sure.

    Bins hold equally many rows, as far as equally sure rows, which stay together, allow it; bins
    of equal width would leave most rows in one and noise in the others (Nguyen and O'Connor 2015;
    Roelofs, Cain, Shlens and Mozer 2022, "Mitigating Bias in Calibration Error Estimation").

    Args:
        probabilities: (N, C).
        truth: (N,) true class.
        num_bins: B at most. Default: one for every 20 rows, 2 at least and 15 at most.

    Raises:
        ValueError: the shapes do not fit, or there is no row.
    """
    confidence, right = confidence_and_right(probabilities, truth)
    place = _places(confidence, num_bins)
    return [
        Bin(
            confidence=float(confidence[place == number].mean()),
            accuracy=interval("accuracy", np.ones(int(mine.sum()), int), right[mine].astype(int)),
            count=int(mine.sum()),
        )
        for number in range(int(place.max()) + 1)
        for mine in (place == number,)
    ]


def confidence_and_right(
    probabilities: Reals, truth: Classes
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The probability (N,) of each row's predicted class, and whether that is the true one (N,).

    Raises:
        ValueError: the shapes do not fit, or there is no row.
    """
    if np.ndim(probabilities) != 2 or len(probabilities) != len(truth) or not len(truth):
        raise ValueError(
            f"probabilities must be (N, C) and truth (N,) with N at least 1; got "
            f"{np.shape(probabilities)} and {np.shape(truth)}."
        )
    predicted = np.argmax(probabilities, axis=1)
    confidence = np.asarray(probabilities, dtype=np.float64)[np.arange(len(truth)), predicted]
    return confidence, predicted == truth


def _places(confidence: NDArray[np.float64], num_bins: int | None) -> NDArray[np.int64]:
    """(N,) the bin of each row, from 0 for the least sure; equal rows are in the same one."""
    from scipy.stats import rankdata

    num_rows = len(confidence)
    count = num_bins or min(MOST_BINS, max(2, num_rows // ROWS_IN_A_BIN))
    wanted = ((rankdata(confidence) - 0.5) * count / num_rows).astype(np.int64)
    return np.unique(wanted, return_inverse=True)[1]  # bins that hold nothing are left out


def expected_calibration_error(
    probabilities: Reals,
    truth: Classes,
    *,
    num_bins: int | None = None,
    level: float = 0.95,
    num_draws: int = DRAWS,
) -> Interval:
    """How far confidence is from being right, on average over rows, without the bias of bins.

    The plain estimate, the mean over bins of |share right - mean confidence|, is above 0 even for a
    perfect model, as chance alone makes each bin differ; and its distribution near 0 is one that
    no plain bootstrap follows. So tests are inverted: for a range of true errors, test sets are
    drawn that differ from the model's confidence by that much, and the interval holds the errors
    under which what was found is not out of the ordinary. The value is the error under which half
    of the test sets look worse than this one. In what shape confidence and truth differ, which
    hardly matters, is taken from a logistic curve through the bins (Cox 1958, "Two further
    applications of a model for binary regression", Biometrika 45, 562).

    Args:
        probabilities: (N, C) of one model.
        truth: (N,) true class.
        num_bins: as in `reliability`.
        level: share of intervals that shall hold the true value.
        num_draws: test sets drawn for each of 33 errors; the same ones at each call.

    Returns:
        In [0, 1]; `low` is 0 where the rows do not tell the model from a perfect one.

    Raises:
        ValueError: the shapes do not fit, or there is no row.
    """
    confidence, right = confidence_and_right(probabilities, truth)
    place = _places(confidence, num_bins)
    count = np.bincount(place)
    sure, share = np.bincount(place, confidence) / count, np.bincount(place, right) / count
    found = float(count @ np.abs(share - sure)) / len(truth)
    shape = _gap(count, sure, share)
    errors, worse, better = _as_bad(count, sure, shape, found, num_draws)
    tail = (1 - level) / 2
    low, value = (float(np.interp(chance, worse, errors)) for chance in (tail, 0.5))
    high = _last(errors, better, tail)
    if errors[-1] < found + 0.9 * _margin(len(truth)):  # none is right more often than always
        errors, _, better = _as_bad(count, sure, -sure, found, num_draws)
        high = max(high, _last(errors, better, tail))
    return Interval(value, min(low, value), max(high, value))


def _gap(
    count: NDArray[np.int64], sure: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(B,) by how much the share right differs from confidence, as a smooth curve has it."""
    from scipy.optimize import minimize
    from scipy.special import expit, logit

    x = logit(np.clip(sure, 1e-4, 1 - 1e-4))

    def cost(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        p = expit(line[0] + line[1] * x)
        safe, off = np.clip(p, 1e-9, 1 - 1e-9), line - np.array([0.0, 1.0])
        loss = -(count @ (share * np.log(safe) + (1 - share) * np.log1p(-safe)))
        rest = count * (p - share)
        return float(loss + off @ off / 8), np.array([rest.sum(), rest @ x]) + off / 4

    line = minimize(cost, np.array([0.0, 1.0]), jac=True).x
    gap = np.asarray(expit(line[0] + line[1] * x) - sure)
    return gap if np.abs(gap).max() > 1e-6 else -sure


def _margin(num_rows: int) -> float:
    """More than chance adds to an error of N rows: four standard deviations at the most."""
    return 2 / math.sqrt(num_rows)


def _as_bad(
    count: NDArray[np.int64],
    sure: NDArray[np.float64],
    shape: NDArray[np.float64],
    found: float,
    num_draws: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """For each of a range of true errors, how often a test set looks at least, at most, so bad.

    Returns:
        The errors, ascending; the share of draws whose plain error is as large as `found` or
        larger, ascending; and as small or smaller, descending.
    """
    random, num_rows = np.random.default_rng(0), int(count.sum())
    unit = float(count @ np.abs(shape)) / num_rows
    weights = random.multinomial(num_rows, count / num_rows, num_draws).T / num_rows
    shape_of_draws = (len(count), num_draws)
    errors, worse, better = [], [], []
    for times in np.linspace(0, (found + _margin(num_rows)) / unit, STEPS):
        true = np.clip(sure + times * shape, 0, 1)
        right = random.binomial(count[:, None], true[:, None], shape_of_draws) / count[:, None]
        drawn = (weights * np.abs(right - sure[:, None])).sum(0)
        errors.append(float(count @ np.abs(true - sure)) / num_rows)
        worse.append(np.mean(drawn >= found - 1e-9))
        better.append(np.mean(drawn <= found + 1e-9))
    return (
        np.array(errors),
        np.maximum.accumulate(worse),
        np.minimum.accumulate(better),
    )


def _last(errors: NDArray[np.float64], better: NDArray[np.float64], tail: float) -> float:
    """The largest error under which doing so well is no rarer than `tail`."""
    return float(np.interp(-tail, -better, errors))


def describe_calibration(
    logits: Reals, truth: Classes, temperature: Temperature | None = None
) -> dict[str, Any]:
    """What a report shows of one model's calibration on test rows.

    Args:
        logits: (N, C) of test rows.
        truth: (N,) true class.
        temperature: fitted on other rows; None describes the model as it is.

    Returns:
        Plain values: "temperature" (or None), and for "before" and, with a temperature, "after":
        "error" (`expected_calibration_error`), "brier" in [0, 2], "log_loss" in nats, each as
        value, low, high; and "bins" (`reliability`).
    """
    values: dict[str, Any] = {"temperature": temperature and temperature.to_values()}
    for name, chosen in (("before", None), ("after", temperature)):
        if name == "before" or chosen is not None:
            p = probabilities_of(np.asarray(logits, dtype=np.float64), chosen)
            values[name] = {
                "error": asdict(expected_calibration_error(p, truth)),
                "brier": asdict(mean_interval(squared_errors(p, truth))),
                "log_loss": asdict(mean_interval(log_losses(p, truth))),
                "bins": [asdict(found) for found in reliability(p, truth)],
            }
    return values
