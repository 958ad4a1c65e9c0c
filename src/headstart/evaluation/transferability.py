"""How well frozen features fit a task, told before anything is trained.

Every measure takes one vector for each text and is larger for what is likelier to transfer. Where
a Transformer gives several layers, `mean_of_blocks` makes one vector of them first: averaging the
representations of all blocks raises the correlation of H-score with the true ranking from 0.65 to
0.88, of LogME from 0.58 to 0.86 (Garbaciauskas, Ploner and Akbik 2024, "Choose Your Transformer",
aclanthology.org/2024.findings-acl.757).

Shapes: N rows of the target, M rows of a source, D width, L blocks, C classes of the target, Z
classes of the source.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Classes = NDArray[np.integer[Any]]

NEIGHBOURS = 5
FOLDS = 5

PROBE_STRENGTH = 0.01
"""C of the logistic probe on features of unit variance: with few labels and hundreds of features
scikit-learn's default of 1 learns the rows by heart."""

COMPONENTS_PER_CLASS = 5
"""Gaussians of NLEEP for each class, as its paper has it (section 3.3)."""

KEPT_VARIANCE = 0.8
"""Share of the variance that NLEEP's principal components keep, as its paper has it."""

NOISE = np.logspace(-10, 4, 113)
"""Ratios of noise to signal that LogME looks at, in units of the largest squared singular value."""

ROUNDING = 1e-6
"""Spread, as a share of the features' size, that is nothing but the rounding of float32."""

BLOCK = 512
"""Rows whose neighbours are looked for at a time."""


def mean_of_blocks(vectors: Floats) -> NDArray[np.float64]:
    """The mean (N, D) of what L blocks give, from (N, L + 1, D) with the embeddings first.

    The embeddings themselves are left out, as in the paper (see above).
    """
    return vectors[:, 1:].mean(1, dtype=np.float64)


def log_me(features: Floats, classes: Classes) -> float:
    """Largest log evidence of a linear map from features (N, D) to classes (N,), in nats a row.

    LogME (You, Liu, Wang and Long 2021, arXiv 2102.11005): each class, as a vector y of zeros and
    ones, is y = F w + noise with w ~ N(0, 1 / alpha) and noise ~ N(0, 1 / beta). The weights are
    integrated out, alpha and beta chosen to make y likeliest, and the log evidence divided by N;
    the mean over the classes.

    With r = alpha / beta given, the best beta has a closed form, so what is searched is one number:
    on a grid, then around its best point. That finds the highest maximum, where the paper's fixed
    point iteration finds the next one. The noise is at least 1e-10 of the largest squared singular
    value: features that tell the classes without any fault would else be infinitely likely.
    """
    features = np.asarray(features, dtype=np.float64)
    targets = _one_hot(classes)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    variances = singular**2
    inside = (left.T @ targets) ** 2
    outside = np.maximum(0.0, (targets**2).sum(0) - inside.sum(0))
    scale = variances.max(initial=0.0) or 1.0
    found = [
        _best_evidence(variances / scale, inside[:, c], float(outside[c]), len(features))
        for c in range(targets.shape[1])
    ]
    return float(np.mean(found))


def _best_evidence(
    variances: NDArray[np.float64], inside: NDArray[np.float64], outside: float, num_rows: int
) -> float:
    """Largest log evidence a row of one class.

    Args:
        variances: (K,) squared singular values of the features.
        inside: (K,) squared share of the class along each.
        outside: squared share along none.
    """
    from scipy.optimize import minimize_scalar

    def cost(log_ratio: Any) -> Any:
        ratio = np.exp(np.asarray(log_ratio))[..., None]
        residue = (inside * ratio / (ratio + variances)).sum(-1) + outside
        volume = np.log1p(variances / ratio).sum(-1)
        return 0.5 * (math.log(2 * math.pi) + 1 + np.log(residue / num_rows) + volume / num_rows)

    grid = np.log(NOISE)
    best = int(np.argmin(cost(grid)))
    low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
    found = minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    return -min(float(found.fun), float(cost(grid[best])))


def h_score(features: Floats, classes: Classes) -> float:
    """How much of the spread of features (N, D) lies between classes (N,); at most C - 1.

    H-score is the trace of the features' inverse covariance times the covariance of the classes'
    means (Bao et al. 2019, "An Information-Theoretic Approach to Transferability in Task Transfer
    Learning"). With few rows the covariance cannot be inverted, so it is drawn towards a multiple
    of the identity by Ledoit and Wolf's share s, and the means' covariance is scaled by 1 - s
    (Ibrahim, Ponomareva and Mazumder 2022, "Newer is not always better", section 3).
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    centred = np.asarray(features, dtype=np.float64)
    if _alike(centred):
        return 0.0
    centred = centred - centred.mean(0)
    num_rows, width = centred.shape
    spread = centred.T @ centred / num_rows
    variance = np.trace(spread) / width
    share = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
    targets = _one_hot(classes)
    means = targets.T @ centred / np.sqrt(targets.sum(0) * num_rows)[:, None]
    # The shrunken covariance is inverted by its eigenvalues, of which a share of 0 leaves some 0.
    values, axes = np.linalg.eigh(spread)
    values = (1 - share) * np.maximum(values, 0.0) + share * variance
    kept = values > 1e-12 * values.max()
    along = (means @ axes[:, kept]) ** 2
    return float((1 - share) * (along / values[kept]).sum())


def leep(probabilities: Floats, classes: Classes) -> float:
    """Mean log probability, in nats, that a source's answers give the target's classes; at most 0.

    LEEP (Nguyen, Hassner, Seeger and Archambeau 2020, arXiv 2002.12462): a source model says
    probabilities of its own Z classes; how often class y goes with each of them is counted on the
    target, P(y | z); the row's class is then predicted by sum over z of P(y | z) times what the
    source says of z. No source label has to mean a target label.

    Args:
        probabilities: (N, Z) of the source's classes for the target's rows; rows sum to 1.
        classes: (N,) of the target.
    """
    said = np.asarray(probabilities, dtype=np.float64)
    together = _one_hot(classes).T @ said
    sums = together.sum(0)
    given = np.divide(together, sums, out=np.zeros_like(together), where=sums > 0)
    places = np.unique(classes, return_inverse=True)[1]
    likely = np.einsum("nz,nz->n", said, given.T[:, places].T)
    # A row's own share of P(y | z) keeps this above 0 but for the rounding of tiny probabilities.
    return float(np.log(np.maximum(likely, np.finfo(np.float64).tiny)).mean())


def nleep(features: Floats, classes: Classes) -> float:
    """LEEP of a mixture of Gaussians in the place of a source's head; at most 0.

    NLEEP (Li et al. 2021, "Ranking Neural Checkpoints", arXiv 2011.11200): the first principal
    components of the features (N, D), with 80 % of their variance, are explained by five Gaussians
    for each class, and which of them a row comes from stands for the source's answer.

    Raises:
        ValueError: there are fewer than two rows for a Gaussian (`nleep_rows`).
    """
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    num_classes = len(np.unique(classes))
    if len(features) < nleep_rows(num_classes):
        raise ValueError(
            f"NLEEP of {num_classes} classes needs {nleep_rows(num_classes)} rows; got "
            f"{len(features)}."
        )
    points = np.asarray(features, dtype=np.float64)
    if _alike(points):
        return leep(np.ones((len(points), 1)), classes)
    reduced = PCA(KEPT_VARIANCE, svd_solver="full").fit_transform(points)
    reduced /= reduced.std()  # so that the floor of the Gaussians' variance is always as low
    with warnings.catch_warnings():
        # A mixture that is still moving after 100 rounds tells the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture = GaussianMixture(COMPONENTS_PER_CLASS * num_classes, random_state=0).fit(reduced)
    return leep(mixture.predict_proba(reduced), classes)


def nleep_rows(num_classes: int) -> int:
    """The fewest rows that NLEEP is computed from: two for each Gaussian."""
    return 2 * COMPONENTS_PER_CLASS * num_classes


def neighbours(features: Floats, classes: Classes, count: int = NEIGHBOURS) -> Classes:
    """Answer each of N rows by the vote of its nearest others: leave one out.

    Args:
        features: (N, D); nearest by Euclidean distance.
        classes: (N,), N at least 2.
        count: how many neighbours vote; a tie goes to the class of the nearest among the tied.

    Returns:
        (N,) classes.
    """
    points = np.asarray(features, dtype=np.float64)
    points = points - points.mean(0)
    squares = (points**2).sum(1)
    names, places = np.unique(classes, return_inverse=True)
    count = min(count, len(points) - 1)
    # What the k-th neighbour adds to its own vote breaks ties and outweighs nothing else.
    weights = 1 + 1e-6 * 0.5 ** np.arange(count)
    answers = np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(points)))
        far = squares[rows, None] + squares - 2 * points[rows] @ points.T
        far[np.arange(len(rows)), rows] = np.inf
        nearest = np.argsort(far, axis=1, kind="stable")[:, :count]
        votes = np.zeros((len(rows), len(names)))
        np.add.at(votes, (np.arange(len(rows))[:, None], places[nearest]), weights)
        answers[rows] = votes.argmax(1)
    return names[answers]


def folds(classes: Classes, count: int = FOLDS, seed: int = 0) -> Classes:
    """The fold of each of N rows, (N,) from 0: every class spread evenly, at random.

    There are `count` folds, or as many as there are rows.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(classes))
    order = order[np.argsort(np.asarray(classes)[order], kind="stable")]
    found = np.empty(len(classes), dtype=np.int64)
    found[order] = np.arange(len(classes)) % min(count, len(classes))
    return found


def cross_validated(features: Floats, classes: Classes, seed: int = 0) -> Classes:
    """Answer each of N rows by a logistic probe on the other four fifths.

    Args:
        features: (N, D).
        classes: (N,).
        seed: of the folds.

    Returns:
        (N,) classes.
    """
    parts = folds(classes, seed=seed)
    answers = np.empty_like(classes)
    for part in range(parts.max() + 1):
        held = parts == part
        names = np.unique(classes[~held])
        said = probe(features[~held], classes[~held], features[held])
        answers[held] = names[said.argmax(1)]
    return answers


def probe(features: Floats, classes: Classes, others: Floats) -> NDArray[np.float64]:
    """Probabilities (N, Z) of other rows (N, D) by logistic regression on M rows.

    Features are scaled to unit variance by the M rows.

    Args:
        features: (M, D).
        classes: (M,), of Z classes.
        others: (N, D).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(classes)) == 1:
        return np.ones((len(others), 1))
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=PROBE_STRENGTH, max_iter=2000)
    model.fit(scaler.transform(features), classes)
    return model.predict_proba(scaler.transform(others))


def similarity(source: Floats, target: Floats) -> float:
    """Cosine of the mean of M source vectors (M, D) and that of N target vectors (N, D).

    The source whose texts lie nearest to the target's is the likeliest to help (Vu et al. 2020,
    arXiv 2005.00770, "TextEmb"; Poth et al. 2021, arXiv 2104.08247, "SEmb"). No label is used.
    """
    ours, theirs = (np.asarray(v, dtype=np.float64).mean(0) for v in (source, target))
    lengths = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float(ours @ theirs) / lengths if lengths > 0 else 0.0


def _alike(features: NDArray[np.float64]) -> bool:
    """Whether all rows are the same up to rounding, so that what differs tells nothing."""
    return bool((features.std(0) <= ROUNDING * np.sqrt((features**2).mean())).all())


def _one_hot(classes: Classes) -> NDArray[np.float64]:
    """(N, C) zeros and ones, for the C classes that occur, sorted."""
    names = np.unique(classes)
    return (np.asarray(classes)[:, None] == names).astype(np.float64)
