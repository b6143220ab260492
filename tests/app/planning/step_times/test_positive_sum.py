from __future__ import annotations

import numpy as np
import pytest

from app.planning.step_times.positive_sum import Effect, PositiveSum, Term, fit_positive_sum

TERMS = (Term("read", "memory", 1.0), Term("start", "launch", 1.0, 1e-3))
RNG = np.random.default_rng(3)
VALUES = np.exp(RNG.normal(0, 1.5, (400, 2))) * np.array([0.01, 10.0])
GPUS = ["a" if index % 2 else "b" for index in range(400)]
ONE_GPU = {"gpu": ["a"] * 400}


def fit(measured: np.ndarray, columns: dict[str, list[str]] = ONE_GPU, effects: tuple[Effect, ...] = ()) -> PositiveSum:
    return fit_positive_sum(TERMS, effects, columns, VALUES, measured, np.ones(400), prior_sigma=1.0, noise=0.1)


def test_coefficients_are_recovered_despite_outliers() -> None:
    measured = VALUES @ np.array([2.0, 3e-3]) * np.exp(RNG.normal(0, 0.05, 400))
    measured[:20] *= 5
    assert fit(measured).coefficients == pytest.approx((2.0, 3e-3), rel=0.08)


def test_effect_multiplies_only_the_terms_of_its_group() -> None:
    slow = np.array([1.5 if gpu == "a" else 1 / 1.5 for gpu in GPUS])
    measured = VALUES[:, 0] * slow + VALUES[:, 1] * 1e-3
    effects = (Effect(("gpu",), "memory", 0.5),)
    fitted = fit(measured, {"gpu": GPUS}, effects)
    assert np.exp(fitted.factors[0]["a"] - fitted.factors[0]["b"]) == pytest.approx(2.25, rel=0.05)
    assert fitted.predict({"gpu": GPUS}, VALUES) == pytest.approx(measured, rel=0.05)


def test_effect_of_a_level_without_measurements_is_1() -> None:
    fitted = fit(VALUES @ np.array([2.0, 3e-3]), {"gpu": GPUS}, (Effect(("gpu",), None, 0.5),))
    unknown = fitted.predict({"gpu": ["c"] * 400}, VALUES)
    assert unknown == pytest.approx(VALUES @ np.array(fitted.coefficients))


def test_small_sigma_shrinks_an_effect_toward_1() -> None:
    slow = np.where(np.array(GPUS) == "a", 2.0, 1.0)
    measured = VALUES @ np.array([1.0, 1e-3]) * slow
    wide, narrow = (fit(measured, {"gpu": GPUS}, (Effect(("gpu",), None, sigma),)).factors[0] for sigma in (0.5, 0.001))
    assert wide["a"] - wide["b"] > 10 * (narrow["a"] - narrow["b"])


def test_coefficient_of_a_term_that_is_always_zero_is_its_prior() -> None:
    values = VALUES * np.array([1.0, 0.0])
    fitted = fit_positive_sum(TERMS, (), ONE_GPU, values, values[:, 0], np.ones(400), prior_sigma=1.0, noise=0.1)
    assert fitted.coefficients == pytest.approx((1.0, 1e-3), rel=0.01)
