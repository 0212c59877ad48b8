import pytest

from robowm.learning.schedule import learning_rate_factor


def factor(update, updates=110):
    return learning_rate_factor(update, updates=updates, warmup=10, final_fraction=0.1)


def test_rises_linearly_then_falls_along_a_cosine():
    assert factor(0) == pytest.approx(0.1)
    assert factor(4) == pytest.approx(0.5)
    assert factor(10) == pytest.approx(1.0)
    assert factor(10 + 99 / 2) == pytest.approx((1.0 + 0.1) / 2)
    assert factor(109) == pytest.approx(0.1)
    assert all(factor(i) >= factor(i + 1) for i in range(10, 109))


def test_stays_at_one_while_the_length_is_unknown():
    assert factor(500, updates=None) == 1.0


def test_a_run_shorter_than_its_warmup_is_defined():
    assert factor(3, updates=4) == pytest.approx(0.4)
