import numpy as np

from seg_ros.segments.matching import match_segments
from seg_ros.segments.regions import Regions, region_shapes
from seg_ros.segments.segments import Segments


def test_only_mutual_neighbours_within_reach_match() -> None:
    def segments(*codes: int) -> Segments:
        ids = np.repeat(np.arange(len(codes), dtype=np.int32), 4)[None].repeat(4, 0)
        packed = np.array(codes, np.uint8)[:, None]
        n = len(codes)
        return Segments(Regions(ids, n), packed, np.zeros((n, 8), np.float32), np.full(n, 255, np.uint8))

    one, other = segments(0b0, 0b1, 0b11110000), segments(0b1, 0b11111111)
    shapes = [region_shapes(one.regions), region_shapes(other.regions)]
    found = match_segments(one, other, shapes, radius=0.5, min_area=0.01)
    assert [(pair.a, pair.b, pair.distance) for pair in found] == [(2, 1, 0), (3, 2, 4)]
    assert [(p.a, p.b) for p in match_segments(one, other, shapes, radius=0.4, min_area=0.01)] == [(2, 1)]
    assert match_segments(one, other, shapes, radius=1, min_area=0.9) == []
