"""The theory against formulas of other papers, written anew."""

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtri, softmax
from scipy.stats import qmc

from dp_theory import LOGISTIC, SQUARE, Group, SoftmaxProblem, SpanProblem, make_rule, make_selection, predict
from tests.dp_theory.ridge.printed import KINDS, printed_moments, printed_theorem1


def eigenlearning(spectrum, target, noise, n, ridge):
    """Simon et al. (2110.03922): the overlap of estimate and target, and the mean squared error on fresh labels.

    target: coefficients of the regression function in units of the eigenfunctions. ridge is that of kernel regression,
    which is n times ours.
    """
    kappa = brentq(lambda k: np.sum(spectrum / (spectrum + k)) + ridge / k - n, 1e-15, 1e6, xtol=1e-300, rtol=1e-14)
    learnability = spectrum / (spectrum + kappa)
    overfitting = n / (n - np.sum(learnability**2))
    error = overfitting * (np.sum(((1 - learnability) * target) ** 2) + noise)
    return float(learnability @ target**2), float(error)


@pytest.mark.parametrize(
    ("capacity", "source", "rows", "lam"),
    [(0.5, 1.0, 0.3, 1e-4), (1.2, 3.0, 2.5, 0.1), (1.5, 1.0, 2.5, 1e-4), (1.5, 3.0, 0.3, 0.1)],
)
def test_plain_rows_of_any_spectrum_are_kernel_regression(capacity, source, rows, lam):
    """Sign labels are √(2/π) of the normalised margin, and noise that is uncorrelated with it."""
    d = 400
    index = np.arange(1, d + 1.0)
    spectrum = index**-capacity
    along = index ** (-source / 2)  # Σ^½ w0
    target = np.sqrt(2 / np.pi) * along / np.linalg.norm(along)
    n = rows * d
    overlap, error = eigenlearning(spectrum, target, 1 - 2 / np.pi, n, n * lam)
    found = predict(SpanProblem(along / np.sqrt(spectrum), [Group()], d / n, lam, spectrum))
    assert found.overlap == pytest.approx(overlap / np.linalg.norm(target), rel=1e-8)
    assert found.squared_norm == pytest.approx(error - 1 + 2 * overlap, rel=1e-8)


def mixture(alpha, mu, lam, prox):
    """Mignacco et al. (2006.06560): overlap and squared norm for two Gaussian clouds about ±mu, alpha rows a dimension.

    prox(u, gamma) minimises gamma·loss(h) + (h − u)²/2 over the margin h, where u is normal with mean mu·m and variance
    q. lam |w|²/2 stands beside the sum over rows, divided by the dimension.
    """
    x = np.linspace(-9, 9, 2001)
    weight = np.exp(-(x**2) / 2)
    weight = weight / weight.sum()

    def moved(state):
        m, q, gamma = state
        u = mu * m + np.sqrt(q) * x
        force = (prox(u, gamma) - u) / gamma
        stiff = lam - alpha * (weight @ (force * x)) / np.sqrt(q)  # the mean slope, by Stein's lemma
        pull = alpha * mu * (weight @ force)
        return np.array([pull, (pull**2 / stiff + alpha * (weight @ force**2) / stiff), 1.0]) / stiff

    state = np.array([0.5, 0.5, 1.0])
    for _ in range(200):
        state = 0.5 * state + 0.5 * moved(state)
    return float(state[0]), float(state[1])


def clouds(alpha, mu, lam, loss):
    """Plain rows, selected and flipped: a row t of a coin's label y is kept in proportion to φ(t − mu y)/φ(t)."""
    most = 9.0
    group = Group(
        along=(1.0,), keep=lambda t, y: np.exp(mu * (y * t - most)) * (abs(t) < most), flip=0.5, breaks=(-most, most)
    )
    share = np.exp(mu**2 / 2 - mu * most)  # of a pool, that is kept
    return predict(SpanProblem((1.0,), [group], share / alpha, share * lam / alpha, loss=loss))


@pytest.mark.parametrize(("alpha", "mu", "lam"), [(0.5, 1.0, 0.1), (3.0, 1.5, 0.1)])
@pytest.mark.parametrize(
    ("loss", "prox"),
    [
        (SQUARE, lambda u, gamma: (u + gamma) / (1 + gamma)),
        (LOGISTIC, lambda u, gamma: LOGISTIC.prox(u, np.ones_like(u), gamma)),
    ],
)
def test_two_clouds(alpha, mu, lam, loss, prox):
    found = clouds(alpha, mu, lam, loss)
    overlap, squared_norm = mixture(alpha, mu, lam, prox)
    assert found.overlap == pytest.approx(overlap, rel=1e-6)
    assert found.squared_norm == pytest.approx(squared_norm, rel=1e-6)


def teacher_of_classes(classes, alpha, lam):
    """Cornacchia et al. (2203.12094): cross-entropy on labels of a Gaussian teacher, alpha rows a dimension.

    Returns overlap and squared norm a class, and the test error. Their K x K matrices m, q and v are left general.
    lam |W|²/2 stands beside the sum over rows, divided by the dimension.
    """
    points = ndtri(qmc.Sobol(2 * classes, seed=0).random_base2(13))
    teacher, noise = points[:, :classes], points[:, classes:]
    identity = np.eye(classes)
    label = identity[teacher.argmax(1)]
    m, q, v = 0.3 * identity, identity, identity
    h = np.zeros_like(teacher)
    for _ in range(25):
        size, axes = np.linalg.eigh(q - m @ m.T)
        score = teacher @ m.T + noise @ (axes * np.sqrt(np.maximum(size, 0))) @ axes.T
        for _ in range(8):  # Newton's method: h + v ℓ'(h) = score
            share = softmax(h, axis=1)
            curvature = share[:, :, None] * (identity - share[:, None, :])
            off = score + (label - share) @ v - h
            h = h + np.linalg.solve(identity + v @ curvature, off[..., None])[..., 0]
        force = label - share
        stiffness = alpha * (curvature @ np.linalg.inv(identity + v @ curvature)).mean(0)
        pull = alpha * force.T @ teacher / len(teacher) + stiffness @ m
        scatter = alpha * force.T @ force / len(teacher)
        moved = np.linalg.inv(lam * identity + stiffness)
        m, q, v = (m + moved @ pull) / 2, (q + moved @ (pull @ pull.T + scatter) @ moved) / 2, (v + moved) / 2
    error = np.mean(score.argmax(1) != teacher.argmax(1))
    return float(np.trace(m)) / (classes - 1), float(np.trace(q)) / (classes - 1), float(error)


@pytest.mark.parametrize(("classes", "keep", "phi", "lam"), [(3, 0.5, 0.2, 0.05), (4, 1.0, 1.5, 0.1)])
def test_random_rows_of_many_classes_are_a_teacher_and_its_student(classes, keep, phi, lam):
    problem = SoftmaxProblem(classes, make_selection("random", classes, keep=keep), 0.7, phi, lam)
    found = predict(problem)
    expected = teacher_of_classes(classes, keep / phi, lam / phi)
    np.testing.assert_allclose((found.overlap, found.squared_norm, found.test_error), expected, rtol=6e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("phi", "lam"), [(0.2, 0.01), (1.5, 0.1)])
def test_labeller_pruner_and_truth_that_differ(kind, phi, lam):
    """Theorem 1 of Dohmatob et al. (2511.03492), at its three cosines."""
    of_labels, of_pruner, between = 0.8, 0.9, 0.6
    labeller = [of_labels, 0.6, 0]
    second = (between - of_labels * of_pruner) / 0.6
    pruner = [of_pruner, second, np.sqrt(1 - of_pruner**2 - second**2)]
    found = predict(SpanProblem([1, 0, 0], [Group(labeller=labeller, along=pruner, keep=KINDS[kind](0.7))], phi, lam))
    with mp.workdps(30):
        across = (of_labels - between * of_pruner) / np.sqrt(1 - between**2)
        moments = printed_moments(kind, mp.mpf(0.7), mp.mpf(between))
        expected = printed_theorem1(moments, mp.mpf(between), mp.mpf(phi), mp.mpf(lam), (across, of_pruner))
    np.testing.assert_allclose((found.test_error, found.overlap, found.squared_norm), np.float64(expected), rtol=1e-12)


def curated(rho, phi, keep, breaks=()):
    group = Group(labeller=[rho, np.sqrt(1 - rho**2)], along=[1, 0], keep=keep, breaks=breaks)
    return predict(SpanProblem([1, 0], [group], phi, 1e-3)).test_error


def test_the_figures_of_2511_03492_at_one_ridge():
    """Hard rows win if they are many and right (Fig. 1), easy ones if they are wrong (Theorem 2, Fig. 2)."""
    rules = 1.0, make_rule("keep-hard", keep=0.3), make_rule("keep-easy", keep=0.3)
    many, few, wrong = ([curated(rho, phi, rule) for rule in rules] for rho, phi in ((1, 0.04), (1, 2), (0.8, 0.04)))
    assert (np.argmin(many), np.argmin(wrong)) == (1, 2)
    assert few[0] < few[1]


@pytest.mark.parametrize(("keep", "end"), [(1.0, 0.280), (lambda t, y: (y * t > 0) & (abs(t) < 0.5), 0.074)])
def test_labels_of_the_last_learner_decay_unless_they_are_verified(keep, end):
    """Fig. 3 of 2511.03492, for six rounds."""
    error = 0.1
    for _ in range(6):
        error = curated(np.cos(np.pi * error), 0.2, keep, (-0.5, 0.5))
    assert error == pytest.approx(end, abs=5e-4)
