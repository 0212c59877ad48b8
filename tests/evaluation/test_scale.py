import pytest

from robowm.evaluation import scale
from robowm.evaluation.peers import Measured
from robowm.evaluation.scale import AXES, Point
from robowm.evaluation.workloads import folder


def rows(axis, seconds, parameters=None):
    """As :func:`robowm.evaluation.peers.measure` returns them."""
    found = []
    for number, (workload, s) in enumerate(zip(axis.workloads(), seconds, strict=True)):
        facts = {} if parameters is None else {"parameters": parameters[number]}
        found.append(Measured(workload, facts, [s, s, 9 * s], [s / 2] * 3, 100.0 + number))
    return found


def test_points_are_medians_by_size():
    axis = AXES["batch"]
    measured = rows(axis, [0.5, 0.4, 0.3, 0.2, 0.1])
    measured[1].missing = "its process ended"
    assert scale.points(measured, axis) == [
        Point(4, 500.0, 250.0, 100.0),
        Point(16, 300.0, 150.0, 102.0),
        Point(32, 200.0, 100.0, 103.0),
        Point(64, 100.0, 50.0, 104.0),
    ]


def test_a_model_is_as_large_as_its_parameters():
    axis = AXES["size"]
    found = scale.points(rows(axis, [1.0, 2.0, 4.0], [10, 1000, 100]), axis)
    assert [point.at for point in found] == [10, 100, 1000]


def test_the_exponent_is_of_the_last_doubling():
    found = [Point(1, 9, 9, 1), Point(2, 5, 5, 2), Point(4, 20, 20, 4)]
    assert scale.exponent(found, "cpu_ms") == pytest.approx(2)
    assert scale.exponent(found, "peak_mib") == pytest.approx(1)


def test_what_is_written_has_every_axis():
    found = {
        name: scale.points(rows(axis, [0.1] * len(axis.values), [1, 2, 3]), axis)
        if name == "size"
        else scale.points(rows(axis, [0.1] * len(axis.values)), axis)
        for name, axis in AXES.items()
    }
    facts = {"cpu": "one", "cores": 1, "threads": 1, "memory_gib": 1.0, "load_average": 0.0}
    facts |= {"torch": "2", "gemm_fp32_gflops": 1.0, "gemm_bf16_gflops": 2.0}
    text = scale.markdown(facts, found)
    assert all(axis.what in text for axis in AXES.values())
    assert scale.plot(found).png()


def test_every_process_is_there():
    assert all((folder() / "peers" / axis.file).is_file() for axis in AXES.values())
