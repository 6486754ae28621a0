"""Seconds are counted once, whatever order times come in."""

import numpy as np

from mtlzoo.online.clock import Clock


def told(clock, times, kind="event"):
    return [clock.read(time, kind) for time in times]


def test_times_in_disorder_count_once():
    clock = Clock()
    assert told(clock, [100, 98, 101, 99, 102]) == [0, 0, 1, 1, 2]
    assert clock.backwards == 2
    assert clock.read(np.array([103.0, 110.0, 90.0]), "event") == 10


def test_a_clock_that_was_set_back_is_followed_and_late_rows_are_not():
    clock = Clock()
    assert told(clock, [5000, 5010, 10, 5020]) == [0, 10, 10, 20]
    assert told(clock, [1420, 1425, 1430, 1435]) == [20, 20, 20, 25]
    assert clock.backwards == 4


def test_a_time_far_ahead_is_believed_when_others_say_so():
    clock = Clock()
    assert told(clock, [0, 1e12, 5]) == [0, 0, 5]
    assert clock.read(np.array([6.0, 1e12, 7.0]), "event") == 7
    assert told(clock, [10**6, 10**6 + 1, 10**6 + 2]) == [7, 7, 10**6 + 2]
    assert clock.backwards == 0


def test_the_time_of_arrival_does_not_count_beside_that_of_rows():
    clock = Clock()
    assert told(clock, [50, 53], "arrival") == [0, 3]
    for i in range(3):
        assert clock.read(100 + i, "event") == clock.read(60 + i, "arrival") == 3 + i


def test_one_goes_on_from_a_state():
    one, other = Clock(), Clock()
    told(one, [5000, 10, 11])
    other.set_state(one.get_state())
    assert told(one, [12, 15]) == told(other, [12, 15]) == [0, 3]
    assert one.get_state() == other.get_state()
