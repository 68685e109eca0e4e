import torch

from seg_ros.evaluation.units import UnitRecord
from seg_ros.reports.unit_portraits import choose_units


def test_units_that_stand_out_come_first() -> None:
    record = UnitRecord(2)
    for _ in range(2):
        maps = torch.rand(4, 8, 8)
        maps[2, 3, 3], maps[0, 1, 1], maps[3] = 50, 5, 0
        record.add(maps)
    assert choose_units(record, 2) == [2, 0]
    assert choose_units(record, 9)[-1] == 3
