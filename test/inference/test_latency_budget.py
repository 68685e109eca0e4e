import itertools

import pytest

from seg_ros.inference.latency_budget import FIRST_PATIENCE_S, LONGEST_PATIENCE_S, STEPS, LatencyBudget
from seg_ros.inference.settings import Settings

BUDGET_MS = 50.0


class Computer:
    """Frames at 30 Hz, whose latency depends on the step and the load."""

    COSTS_MS = (60.0, 40.0, 26.0, 14.0, 13.0, 12.0)

    def __init__(self) -> None:
        self.budget, self.now_s, self.load = LatencyBudget(), 0.0, 1.0
        self.steps: list[tuple[float, int]] = []

    def run(self, seconds: float, *, has_segments: bool = True, budget_ms: float = BUDGET_MS) -> int:
        end = self.now_s + seconds
        while self.now_s < end:
            for _ in range(15):
                self.budget.add(self.load * self.COSTS_MS[self.budget.index])
            self.now_s += 0.5
            if self.budget.update(budget_ms, self.now_s, has_segments=has_segments):
                self.steps.append((self.now_s, self.budget.index))
        return self.budget.index


@pytest.fixture
def computer() -> Computer:
    return Computer()


def test_steps_go_down_until_the_budget_is_kept(computer: Computer) -> None:
    assert computer.run(3) == 1
    computer.load = 1.5
    assert computer.run(3) == 2
    computer.load = 10
    assert computer.run(5) == len(STEPS) - 1, 'the last step stays'


def test_a_step_is_told_with_its_budget(computer: Computer) -> None:
    computer.run(3)
    step = STEPS[computer.budget.index].name
    assert computer.budget.describe(BUDGET_MS) == f'latency budget of 50 ms: {step}'
    assert computer.budget.describe(0) == f'latency budget is switched off: {step}'


def test_without_segments_leaving_them_out_is_not_a_step(computer: Computer) -> None:
    computer.run(3, has_segments=False)
    assert [step for _, step in computer.steps] == [2]


def test_steps_go_up_again_when_the_load_is_gone(computer: Computer) -> None:
    computer.load = 2
    assert computer.run(5) == 3
    computer.load = 0.5
    assert computer.run(100) == 0
    ups = [now_s for now_s, _ in computer.steps[3:]]
    assert all(b - a >= FIRST_PATIENCE_S for a, b in itertools.pairwise(ups))


def test_constant_load_makes_no_steps_to_and_fro(computer: Computer) -> None:
    computer.run(3)
    n_before = len(computer.steps)
    computer.run(LONGEST_PATIENCE_S - 10)
    assert len(computer.steps) == n_before
    computer.run(20)
    assert len(computer.steps) == n_before + 2, 'one try after a long time, taken back at once'


def test_no_budget_gives_full_quality_at_once(computer: Computer) -> None:
    computer.load = 3
    assert computer.run(5) > 1
    assert computer.run(0.5, budget_ms=0) == 0


def test_a_few_frames_decide_nothing() -> None:
    budget = LatencyBudget()
    for _ in range(7):
        budget.add(1000)
        assert not budget.update(BUDGET_MS, 1.0, has_segments=True)
    budget.add(1000)
    assert budget.update(BUDGET_MS, 1.0, has_segments=True)


def test_a_step_that_cannot_be_loaded_is_left_out(computer: Computer) -> None:
    computer.load = 1.5
    assert computer.run(5) == 2
    computer.budget.refuse()
    assert computer.run(0.5) in (1, 3)
    assert computer.run(5) == 3


def test_settings_and_rate_of_the_steps() -> None:
    budget = LatencyBudget()
    assert budget.applied(Settings(), (360, 480)) == Settings()
    assert budget.max_rate_hz(0, 30) == 0
    budget.index = 3
    assert budget.applied(Settings(max_rate_hz=5), (360, 480)) == Settings(
        max_rate_hz=5, input_height=192, input_width=256
    )
    budget.index = 4
    assert (budget.max_rate_hz(0, 30), budget.max_rate_hz(5, 30)) == (15, 5)
