"""The noise schedule, its posterior against Gaussian conditioning, and the sampler on oracles."""

from __future__ import annotations

import numpy as np
import pytest

from MambaSynthLib.errors import RequestError
from MambaSynthLib.methods.cravim import synthesis
from MambaSynthLib.methods.cravim.config import Sampling
from MambaSynthLib.methods.diffusion import Schedule, levels, posterior

CRAVIM = Schedule()
SCHEDULES = [CRAVIM, Schedule(1), Schedule(8), Schedule(4, 0.5, 5.0), Schedule(1000)]
PAIRS = [(high, low) for high in range(1, 5) for low in range(high)]


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("betas", [1e-8, 0.478255, 0.849206, 0.956418, 0.987404]),
        ("a", [1, 0.722319, 0.388322, 0.208764, 0.112232]),
        ("sigma", [1e-4, 0.69156, 0.921524, 0.977966, 0.993682]),
        ("signal", [1, 0.722319, 0.280492, 0.0585566, 0.00657194]),
        ("noise", [0, 0.69156, 0.959856, 0.998284, 0.999978]),
    ],
)
def test_the_default_schedule_has_the_published_numbers(name, table):
    np.testing.assert_allclose(getattr(CRAVIM, name), table, rtol=5e-6, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_the_kept_variance_is_the_integral_of_beta(schedule):
    """abar_i / abar_{i-1} = exp(-integral of beta(s) ds), beta(s) linear, here by quadrature."""
    s = np.linspace(schedule.eps, 1, schedule.steps + 1)
    for i in range(1, schedule.steps + 1):
        middle = (s[i - 1] + s[i]) / 2  # exact for a linear function
        beta = schedule.beta_min + middle * (schedule.beta_max - schedule.beta_min)
        expected = np.exp(-beta * (s[i] - s[i - 1]))
        assert 1 - schedule.betas[i] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_every_level_preserves_the_variance_and_adds_noise(schedule):
    np.testing.assert_allclose(schedule.signal**2 + schedule.noise**2, 1)
    np.testing.assert_allclose(schedule.a**2 + schedule.sigma**2, 1)
    assert schedule.signal[0] == 1 and schedule.noise[0] == 0
    assert np.all(np.diff(schedule.signal) < 0) and np.all(np.diff(schedule.noise) > 0)


def test_noising_step_by_step_composes_to_the_closed_form():
    """The mean and variance after i steps x -> a x + sigma eps, followed exactly."""
    mean, variance = 1.0, 0.0
    for level in range(1, 5):
        mean = CRAVIM.a[level] * mean
        variance = CRAVIM.a[level] ** 2 * variance + CRAVIM.sigma[level] ** 2
        assert mean == pytest.approx(CRAVIM.signal[level], rel=1e-12)
        assert variance == pytest.approx(CRAVIM.noise[level] ** 2, rel=1e-12)


def test_noising_random_numbers_step_by_step_gives_the_closed_forms_distribution():
    rng = np.random.default_rng(0)
    x = np.full(200_000, 0.8)
    for level in range(1, 4):
        x = CRAVIM.a[level] * x + CRAVIM.sigma[level] * rng.standard_normal(x.shape)
        assert x.mean() == pytest.approx(0.8 * CRAVIM.signal[level], abs=0.01)
        assert x.std() == pytest.approx(CRAVIM.noise[level], abs=0.01)


def conditioned(schedule: Schedule, high: int, low: int) -> tuple[float, float, float]:
    """E[x_low | x_high, x_0] = p x_0 + q x_high and its deviation, by regression on covariances.

    x_low = s x_0 + eps, x_high = k x_low + eps' with independent noise, given x_0.
    """
    keep = np.prod(schedule.a[low + 1 : high + 1])
    var_low = schedule.noise[low] ** 2
    covariance = np.array([[var_low, keep * var_low], [keep * var_low, 0.0]])
    covariance[1, 1] = keep**2 * var_low + (1 - keep**2)
    mean = np.array([schedule.signal[low], keep * schedule.signal[low]])  # times x_0
    gain = covariance[0, 1] / covariance[1, 1]
    variance = covariance[0, 0] - gain * covariance[1, 0]
    return float(mean[0] - gain * mean[1]), float(gain), float(np.sqrt(max(variance, 0)))


@pytest.mark.parametrize(("high", "low"), PAIRS)
@pytest.mark.parametrize("schedule", [CRAVIM, Schedule(8, 0.3, 9.0)], ids=str)
def test_the_posterior_is_the_gaussian_conditioned_on_both_ends(schedule, high, low):
    q = posterior(schedule, high, low)
    found = (q.of_estimate, q.of_current, q.std)
    np.testing.assert_allclose(found, conditioned(schedule, high, low), rtol=1e-9, atol=1e-9)


def test_the_posterior_has_the_published_numbers():
    found = [posterior(CRAVIM, t + 1, t) for t in range(4)]
    c1, c2 = [1, 0.665778, 0.269191, 0.0578216], [0, 0.201576, 0.193001, 0.111852]
    np.testing.assert_allclose([q.of_estimate for q in found], c1, atol=1e-6)
    np.testing.assert_allclose([q.of_current for q in found], c2, atol=1e-6)
    np.testing.assert_allclose([q.std for q in found], [0, 0.663942, 0.94032, 0.991998], atol=1e-6)


@pytest.mark.parametrize("high", [1, 2, 3, 4])
def test_the_posterior_at_level_zero_is_the_estimate_itself(high):
    q = posterior(CRAVIM, high, 0)
    assert (q.of_estimate, q.of_current, q.std) == (pytest.approx(1, abs=1e-12), 0, 0)


@pytest.mark.parametrize(("high", "low"), PAIRS)
def test_the_posterior_keeps_the_distribution_of_the_lower_level(high, low):
    """Drawing x_high given x_0 and then x_low must give q(x_low | x_0)."""
    q = posterior(CRAVIM, high, low)
    mean = q.of_estimate + q.of_current * CRAVIM.signal[high]
    variance = q.of_current**2 * CRAVIM.noise[high] ** 2 + q.std**2
    assert mean == pytest.approx(CRAVIM.signal[low], abs=1e-12)
    assert variance == pytest.approx(CRAVIM.noise[low] ** 2, abs=1e-12)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(1, [4, 0]), (2, [4, 2, 0]), (3, [4, 3, 1, 0]), (4, [4, 3, 2, 1, 0])],
)
def test_the_levels_run_from_pure_noise_to_the_clean_image(steps, expected):
    assert levels(CRAVIM, steps) == expected


@pytest.mark.parametrize("total", [1, 2, 3, 5, 8, 30])
def test_no_level_is_visited_twice_whatever_the_number_of_steps(total):
    for steps in range(1, total + 1):
        visited = levels(Schedule(total), steps)
        assert visited[0] == total and visited[-1] == 0 and len(visited) == steps + 1
        assert all(high > low for high, low in zip(visited, visited[1:], strict=False))


@pytest.mark.parametrize("steps", [-1, 0, 5, 100])
def test_a_number_of_steps_that_the_model_does_not_have_is_refused(steps):
    with pytest.raises(RequestError, match=f"steps is {steps}; give 1 to 4"):
        levels(CRAVIM, steps)


# ---- the sampler


def synthesize(network, source, noise):
    """One source and one target, without the axis that would hold more of them."""
    sampling = Sampling(4, 0.1, 20.0, default_steps=4, default_samples=1)
    return synthesis.synthesize(network, source[:, None], noise, sampling)[:, 0, 0]


def pictures(steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(steps)
    source, target = rng.uniform(-1, 1, (2, 3, 8, 12)).astype(np.float32)
    return source, target, rng.standard_normal((steps, 3, 8, 12)).astype(np.float32)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_network_that_knows_the_target_returns_exactly_the_target(steps):
    source, target, noise = pictures(steps)
    calls = []

    def oracle(images: np.ndarray) -> np.ndarray:
        calls.append(images)
        return np.stack([source, target], axis=1)

    assert np.array_equal(synthesize(oracle, source, noise), target)
    assert len(calls) == steps
    assert all(np.array_equal(images[:, 0], source) for images in calls)
    assert all(images.dtype == np.float32 for images in calls)
    assert np.array_equal(calls[0][:, 1], noise[0])


def test_each_later_call_sees_the_posteriors_draw_from_the_call_before():
    source, _, noise = pictures(4)
    seen, answers = [], np.random.default_rng(9).uniform(-1, 1, (4, 3, 2, 8, 12))
    answers = answers.astype(np.float32)

    def network(images: np.ndarray) -> np.ndarray:
        seen.append(images[:, 1])
        return answers[len(seen) - 1]

    result = synthesize(network, source, noise)
    for step, (high, low) in enumerate([(4, 3), (3, 2), (2, 1)]):
        p, q, deviation = conditioned(CRAVIM, high, low)
        expected = p * answers[step, :, 1] + q * seen[step] + deviation * noise[step + 1]
        np.testing.assert_allclose(seen[step + 1], expected, atol=1e-6)
    assert np.array_equal(result, answers[3, :, 1])


def test_with_the_true_target_the_network_sees_the_training_noise_levels():
    """The noised images of the sampler have the mean and deviation of q(x_level | x_0)."""
    target = np.full((1, 300, 300), 0.5, dtype=np.float32)
    noise = np.random.default_rng(0).standard_normal((4, 1, 300, 300)).astype(np.float32)
    seen = []

    def oracle(images: np.ndarray) -> np.ndarray:
        seen.append(images[:, 1])
        return np.stack([target, target], axis=1)

    synthesize(oracle, target, noise)
    for level, image in zip([3, 2, 1], seen[1:], strict=True):
        # level 4 starts from pure noise, without the 0.7 % of signal that training leaves there
        start = posterior(CRAVIM, 4, 3).of_current * CRAVIM.signal[4] * 0.5
        expected = 0.5 * CRAVIM.signal[level]
        assert image.mean() == pytest.approx(expected, abs=0.015 + start)
        assert image.std() == pytest.approx(CRAVIM.noise[level], abs=0.01)


def test_one_step_uses_only_the_first_noise():
    source, _, noise = pictures(1)
    result = synthesize(lambda images: images[:, ::-1] * 2, source, noise)
    assert np.array_equal(result, source * 2)
    result = synthesize(lambda images: images * 2, source, noise)
    assert np.array_equal(result, noise[0] * 2)


@pytest.mark.parametrize("steps", [0, 5])
def test_noise_for_a_wrong_number_of_steps_is_refused_before_any_network_call(steps):
    source, _, noise = pictures(steps)

    def forbidden(images: np.ndarray) -> np.ndarray:
        raise AssertionError("the network was called")

    with pytest.raises(RequestError, match=f"steps is {steps}"):
        synthesize(forbidden, source, noise)
