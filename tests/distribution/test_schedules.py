"""Schedules of pipelines: what is done when, how long that takes, what is in memory."""

import pytest

from mtlzoo.distribution import Schedule, Work

SIZES = [(1, 1), (1, 4), (2, 1), (2, 4), (3, 2), (3, 6), (4, 16), (8, 8)]


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("stages", "micro_batches"), SIZES)
def test_every_stage_does_everything_once_and_after_what_it_needs(name, stages, micro_batches):
    schedule = Schedule(name, stages, micro_batches)
    every = {(s, m) for s in range(stages) for m in range(micro_batches)}
    for works in (schedule.forward_pass(), schedule.backward_pass()):
        done = set()
        for kind, stage, part in works:
            assert (kind, stage, part) not in done
            if kind == "forward":
                assert stage == 0 or ("forward", stage - 1, part) in done
            else:
                assert stage == stages - 1 or ("backward", stage + 1, part) in done
                assert name == "gpipe" or ("forward", stage, part) in done
            done.add((kind, stage, part))
        kinds = {kind for kind, _, _ in works}
        assert done == {(kind, *each) for kind in kinds for each in every}
    assert {kind for kind, _, _ in schedule.forward_pass()} == {"forward"}
    assert ("forward" in kinds) == (name == "1f1b")


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("stages", "micro_batches"), SIZES)
@pytest.mark.parametrize("backward", [1.0, 2.0, 3.5])
def test_the_bubble_is_that_of_the_papers(name, stages, micro_batches, backward):
    schedule = Schedule(name, stages, micro_batches)
    expected = (stages - 1) / (micro_batches + stages - 1)
    assert schedule.bubble(1.0, backward) == pytest.approx(expected, abs=1e-12)
    passes = 2 if name == "1f1b" else 1
    makespan = (micro_batches + stages - 1) * (passes + backward)
    assert schedule.makespan(1.0, backward) == pytest.approx(makespan)


@pytest.mark.parametrize(("stages", "micro_batches"), SIZES)
def test_what_is_in_flight(stages, micro_batches):
    assert Schedule("gpipe", stages, micro_batches).in_flight() == [micro_batches] * stages
    expected = [min(stages - s, micro_batches) for s in range(stages)]
    assert Schedule("1f1b", stages, micro_batches).in_flight() == expected


def test_one_forward_one_backward_in_turns():
    order = Schedule("1f1b", stages=2, micro_batches=3).of_stage(0)
    assert order == [
        *(Work("forward", 0, 0), Work("forward", 0, 1), Work("backward", 0, 0)),
        *(Work("forward", 0, 2), Work("backward", 0, 1), Work("backward", 0, 2)),
    ]


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`schedule` should be one of \['gpipe', '1f1b'\]"):
        Schedule("zero bubble", 2, 2)
    with pytest.raises(ValueError, match=r"`stages` should be an integer .* Received: stages=0"):
        Schedule("gpipe", 0, 2)
    with pytest.raises(ValueError, match=r"Received: micro_batches=1\.5"):
        Schedule("gpipe", 2, 1.5)
    with pytest.raises(ValueError, match="Received: micro_batches=True"):
        Schedule("gpipe", 2, True)
