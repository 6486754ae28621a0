"""The weights of the best epochs: how long they are kept, and where."""

import numpy as np

from mtlzoo.training.task_scheduling import best_weights
from mtlzoo.training.task_scheduling.best_weights import WeightsOfEpochs


def test_weights_outlive_their_need_by_an_epoch_and_a_full_disk(tmp_path, monkeypatch, caplog):
    kept = WeightsOfEpochs(tmp_path, writes=True)
    for epoch, needed in enumerate([{0}, {0, 1}, {2}, {2, 3}]):
        kept.keep(epoch, [np.full(2, epoch)])
        kept.drop_all_but(needed)
        there = {int(path.stem[-5:]) - 1 for path in tmp_path.iterdir()}
        assert there == [{0}, {0, 1}, {0, 1, 2}, {2, 3}][epoch]

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(best_weights.backup_files, "write", full)
    kept.keep(4, [np.full(2, 4)])
    assert "could not be written" in caplog.text
    again = WeightsOfEpochs(tmp_path, writes=True)
    again.set_state(kept.get_state(), {3, 4})
    assert [again.get(epoch)[0].tolist() for epoch in (3, 4)] == [[3, 3], [4, 4]]
