import pytest

from seg_ros.reports.bag_canvas import PlotScale, fit_log_scale, fit_scale
from seg_ros.reports.bag_values import file_size, percent


def test_scales() -> None:
    assert PlotScale(0, 10).ticks() == [0, 2, 4, 6, 8, 10]
    assert PlotScale(-0.02, 0.11).ticks() == [0, 0.05, 0.1]
    assert PlotScale(3, 0)(3) == 0
    assert PlotScale(1, 100, is_log=True)(10) == pytest.approx(0.5)
    assert PlotScale(9, 1100, is_log=True).ticks() == [10, 100, 1000]
    assert fit_log_scale([1, 500], 20).is_log
    assert not fit_log_scale([0, 500], 20).is_log
    for values in ([], [0.0], [5.0], [-3.0, 4.0], [1e-9], [1e9, 2e9]):
        scale = fit_scale(values)
        assert all(0 <= scale(value) <= 1 for value in values)
        assert 2 <= len(scale.ticks()) <= 11
    assert (percent(0.00214), percent(0.5), percent(None)) == ('0.21 %', '50.0 %', '–')
    assert [file_size(n) for n in (12, 905224, 3171112, 5.2e9)] == ['12 B', '905 KB', '3.17 MB', '5.2 GB']
