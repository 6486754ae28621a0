"""Rows that are held back from training, and which are kept."""

import numpy as np
import pytest
from stream_models import accounted, elements, model, rows

from mtlzoo.online import HeldBack, OnlineLearner, Reservoir, StreamBatch
from mtlzoo.online.holding_back import numbers_of


def test_which_rows_a_hash_says():
    chosen = HeldBack(10).chooses(np.arange(20_000))
    assert abs(chosen.mean() - 0.1) < 4 * np.sqrt(0.09 / 20_000)
    assert abs(np.corrcoef(chosen[1:], chosen[:-1])[0, 1]) < 4 / np.sqrt(20_000)
    parts = [HeldBack(10).chooses(np.arange(i, i + 7)) for i in range(0, 20_000, 7)]
    assert np.array_equal(np.concatenate(parts)[:20_000], chosen)
    assert not np.array_equal(HeldBack(10, seed=1).chooses(np.arange(20_000)), chosen)


@pytest.mark.parametrize("dtype", ["int64", str])
def test_a_row_that_is_delivered_again_is_chosen_again(dtype):
    held, ids = HeldBack(3), np.arange(300).astype(dtype)
    first = held.chooses(numbers_of(ids, np.arange(300)))
    again = held.chooses(numbers_of(ids[100:], np.arange(300, 500)))
    assert np.array_equal(first[100:], again) and 60 < first.sum() < 140
    assert numbers_of(None, np.arange(3)).tolist() == [0, 1, 2]


def test_the_newest_rows_of_each_task_are_kept():
    held = HeldBack(2, rows=5)
    random = np.random.default_rng(0)
    number, all_has = 0, []
    for size in (3, 4, 9, 1, 6, 8):
        has = random.random((size, 2)) < (0.9, 0.2)
        x = np.arange(number, number + size, dtype="float32")[:, None]
        held.add(StreamBatch(x, {"a": x[:, 0], "b": x[:, 0]}), has)
        all_has.append(has)
        number += size
    has = np.concatenate(all_has)
    wanted = sorted({*np.flatnonzero(has[:, 0])[-5:], *np.flatnonzero(has[:, 1])[-5:]})
    batch, kept, numbers = held.window()
    assert numbers.tolist() == wanted and batch.x[:, 0].tolist() == wanted
    assert np.array_equal(kept, has[wanted])
    assert held.window(since=30)[2].tolist() == [n for n in wanted if n >= 30]
    assert held.window(since=31) is None
    other = HeldBack(2, rows=5)
    other.set_state(held.get_state())
    assert other.window()[2].tolist() == wanted and other.seen == held.seen


@pytest.mark.slow
def test_they_are_neither_trained_on_nor_replayed():
    x, y = rows(160)
    held, memory = HeldBack(4), Reservoir(1000)
    learner = OnlineLearner(model(), batch_size=16, held_back=held, replay=memory)
    trained, train = [], learner._batches._steps.train

    def watched(new, old=None):
        trained.extend(part.x for part in (new, old) if part is not None)
        train(new, old)

    learner._batches._steps.train = watched
    counts = learner.run(elements(x, y, 16)).counts
    kept = {row.tobytes() for row in held.window()[0].x}
    assert len(kept) == counts["held_back"] == held.chooses(np.arange(160)).sum() > 20
    assert not kept & {row.tobytes() for batch in trained for row in batch}
    assert not kept & {row.tobytes() for row in memory.draw(memory.rows).x}
    assert counts["learned"] == memory.rows == 160 - len(kept) and accounted(counts)


def test_bad_arguments_are_errors():
    with pytest.raises(ValueError, match=r"`every` should be an integer of at least 2"):
        HeldBack(1)
    with pytest.raises(ValueError, match=r"`rows` should be an integer of at least 1"):
        HeldBack(2, rows=0)
