import torch

from seg_ros.evaluation.units import UnitRecord
from seg_ros.reports.unit_portraits import Subject, as_picture, choose_units


def test_units_that_stand_out_come_first() -> None:
    record = UnitRecord(2)
    for _ in range(2):
        maps = torch.rand(4, 8, 8)
        maps[2, 3, 3], maps[0, 1, 1], maps[3] = 50, 5, 0
        record.add(maps)
    assert choose_units(record, 2) == [2, 0]
    assert choose_units(record, 9)[-1] == 3


def test_nothing_is_grey_and_signs_are_dark_and_bright() -> None:
    projection = torch.zeros(9, 9, 3)
    projection[4, 4] = torch.tensor([-2.0, 2.0, 1.0])
    picture = as_picture(projection)
    assert picture[4, 4].tolist() == [0, 255, 191]
    picture[4, 4] = 128
    assert (picture == 128).all()
    assert (as_picture(torch.zeros(3, 3, 3)) == 128).all()


def test_units_of_an_int8_model_are_followed_in_float() -> None:
    subject = Subject.load('lite_camvid_int8', 'lateral.0', 'auto', 'cpu', 1)
    assert (subject.quantization, subject.n_units) == ('fp32', 28)
