"""What a run prints where there is no terminal."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from MambaSynthTraining.engine.progress import Lines, span


def lines(capsys, seconds: float, each: float, first: int = 0, processes: int = 1) -> list[str]:
    """Of a run of 100 iterations from ``first`` on that take ``each`` seconds."""
    now = [1000.0]
    rates = SimpleNamespace(param_groups=[{"lr": 2e-4}])
    state = SimpleNamespace(iteration=first, optimizers={"generators": rates})
    training = SimpleNamespace(
        state=state, recipe=SimpleNamespace(iterations=100), terms={"cyc_a": torch.tensor(0.25)}
    )
    told = Lines(training, seconds, clock=lambda: now[0])
    trainer = SimpleNamespace(is_global_zero=True, world_size=processes)
    told.on_train_start()
    while state.iteration < 100:
        now[0] += each
        state.iteration += 1
        told.on_train_batch_end(trainer)
    return capsys.readouterr().err.splitlines()


def test_a_line_tells_iteration_losses_rate_and_time_left_every_so_many_seconds(capsys):
    found = lines(capsys, seconds=30, each=2)
    assert len(found) == 200 // 30
    assert found[0] == (
        "iteration 15 of 100: cyc_a 0.25; learning rate generators 0.0002; 2 s an iteration, "
        "3 min left"
    )
    assert found[-1].startswith("iteration 90 of 100:") and found[-1].endswith("20 s left")


def test_a_run_that_goes_on_judges_its_speed_by_what_it_did_itself(capsys):
    assert "2 s an iteration, 54 s left" in lines(capsys, 30, 2, first=58)[0]


def test_iterations_longer_than_the_interval_have_a_line_each(capsys):
    assert len(lines(capsys, 30, 40)) == 100


def test_the_losses_are_those_of_this_processs_slices(capsys):
    """Its terms are its share of the mean over all processes."""
    assert "cyc_a 0.5;" in lines(capsys, 30, 2, processes=2)[0]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (240, "4 min"), (9000, "2.5 h")]
)
def test_a_span_is_told_in_a_unit_that_suits_it(seconds, text):
    assert span(seconds) == text
