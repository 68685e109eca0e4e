import numpy as np

from seg_ros.replay.latency import FrameLedger


def test_frames_are_matched_by_stamp() -> None:
    ledger = FrameLedger()
    for stamp, now_s in ((10, 0.0), (20, 1.0), (30, 2.0)):
        ledger.publish(stamp, now_s)
    assert ledger.result(30, 2.25)
    assert ledger.result(10, 2.5)
    assert not ledger.result(10, 2.6)
    assert not ledger.result(99, 2.7)
    assert (ledger.n_in, ledger.n_out, ledger.n_ambiguous) == (3, 2, 0)
    np.testing.assert_allclose(ledger.latency_ms, [250, 2500])


def test_frames_one_at_a_time_may_share_a_stamp() -> None:
    ledger = FrameLedger()
    for start_s in range(4):
        ledger.publish(0, start_s)
        assert ledger.result(0, start_s + 0.5)
    assert ledger.n_out == 4
    np.testing.assert_allclose(ledger.latency_ms, [500] * 4)


def test_latency_in_doubt_is_left_out() -> None:
    ledger = FrameLedger()
    ledger.publish(0, 0.0)
    ledger.publish(0, 1.0)
    assert ledger.result(0, 2.0)  # of which of the two?
    assert (ledger.n_out, ledger.n_ambiguous, len(ledger.latency_ms)) == (1, 1, 0)


def test_a_frame_given_up_is_lost_and_its_late_result_not_counted() -> None:
    ledger = FrameLedger()
    ledger.publish(1, 0.0)
    ledger.give_up(1)
    ledger.give_up(1)
    assert not ledger.result(1, 9.0)
    ledger.publish(0, 10.0)
    ledger.give_up(0)
    ledger.publish(0, 11.0)
    ledger.result(0, 11.1)  # may be the late one of the frame before
    assert (ledger.n_in, ledger.n_out, ledger.n_ambiguous, len(ledger.latency_ms)) == (3, 1, 1, 0)
