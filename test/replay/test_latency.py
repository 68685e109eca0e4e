import numpy as np

from seg_ros.replay.latency import LatencyLog


def test_frames_are_matched_by_stamp() -> None:
    latencies = LatencyLog()
    for stamp, now_s in ((10, 0.0), (20, 1.0), (30, 2.0)):
        latencies.publish(stamp, now_s)
    assert latencies.result(30, 2.25)
    assert latencies.result(10, 2.5)
    assert not latencies.result(10, 2.6)
    assert not latencies.result(99, 2.7)
    assert (latencies.n_in, latencies.n_out, latencies.n_ambiguous) == (3, 2, 0)
    np.testing.assert_allclose(latencies.latency_ms, [250, 2500])


def test_frames_one_at_a_time_may_share_a_stamp() -> None:
    latencies = LatencyLog()
    for start_s in range(4):
        latencies.publish(0, start_s)
        assert latencies.result(0, start_s + 0.5)
    assert latencies.n_out == 4
    np.testing.assert_allclose(latencies.latency_ms, [500] * 4)


def test_latency_in_doubt_is_left_out() -> None:
    latencies = LatencyLog()
    latencies.publish(0, 0.0)
    latencies.publish(0, 1.0)
    assert latencies.result(0, 2.0)  # of which of the two?
    assert (latencies.n_out, latencies.n_ambiguous, len(latencies.latency_ms)) == (1, 1, 0)


def test_a_frame_given_up_is_lost_and_its_late_result_not_counted() -> None:
    latencies = LatencyLog()
    latencies.publish(1, 0.0)
    latencies.give_up(1)
    latencies.give_up(1)
    assert not latencies.result(1, 9.0)
    latencies.publish(0, 10.0)
    latencies.give_up(0)
    latencies.publish(0, 11.0)
    latencies.result(0, 11.1)  # may be the late one of the frame before
    assert (latencies.n_in, latencies.n_out, latencies.n_ambiguous, len(latencies.latency_ms)) == (3, 1, 1, 0)
