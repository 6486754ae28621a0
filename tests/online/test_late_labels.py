"""Labels that come later, for some tasks only, or never."""

import numpy as np
import pytest
from stream_models import accounted, model, rows, same, weights

from mtlzoo.online import LateLabels, OnlineLearner, StreamBatch

X, Y = rows(32)
IDS = np.arange(32)


def inputs(begin, end, time=None, **labels):
    element = {"x": X[begin:end], "id": IDS[begin:end], "y": labels}
    return element if time is None else {**element, "time": np.full(end - begin, time)}


def labels(ids, *tasks, time=None):
    ids = np.asarray(ids)
    element = {"id": ids, "y": {name: Y[name][ids % 32] for name in tasks}}
    return element if time is None else {**element, "time": np.full(len(ids), time)}


def test_labels_are_joined_scored_by_the_prediction_of_then_and_learned():
    made = model()
    before = made.predict(X[:16], verbose=0)["stay"][:, 0]

    def stream():
        yield inputs(0, 16)
        yield {"x": X[16:], "y": {name: part[16:] for name, part in Y.items()}}  # is learned
        yield labels(IDS[:16], "stay")
        yield labels(IDS[:16], "click")

    learner = OnlineLearner(made, batch_size=16, window=16, late_labels=LateLabels())
    reached = []
    history = learner.run(stream(), after_batch=lambda each: reached.append(each.counts))
    assert [c["awaiting_labels"] for c in reached] == [16, 16, 16, 0]
    assert [c["learned"] for c in reached] == [0, 16, 16, 32]
    assert all(accounted(counts) for counts in reached)
    assert history.counts["labels_joined"] == 32
    now = made.predict(X[16:], verbose=0)["stay"][:, 0]
    found = learner._batches._prequential._sums["total"][:, 1]
    other = history.windows[1]["tasks"]["stay"]  # of the rows that were learned at once
    late = ((before - Y["stay"][:16]) ** 2).sum()
    assert found[0] == pytest.approx(late + other["loss"] * 16, rel=1e-4) and found[1] == 32
    online, made = weights(made), model()
    assert not np.allclose(now, made.predict(X[16:], verbose=0)["stay"][:, 0])
    for begin in (16, 0):
        part = {name: each[begin : begin + 16] for name, each in Y.items()}
        made.train_on_batch(X[begin : begin + 16], part)
    assert same(online, weights(made))


def test_the_wait_ends_by_time_and_by_room():
    stream = [
        inputs(0, 8, time=0.0),
        labels([0, 1], "click", time=5.0),
        inputs(8, 16, time=8.0),
        labels([0, 99], "stay", time=9.0),  # the other id was never there
        labels([2, 2, 0, 0], "click", time=9.5),  # once each is enough
        inputs(16, 24, time=12.0),  # the first eight have waited long enough
        labels([3, 0], "stay", time=13.0),  # and are gone
        inputs(24, 32, time=14.0),  # there is room for 16 rows only
    ]
    learner = OnlineLearner(model(), batch_size=4, late_labels=LateLabels(16, max_seconds=10))
    counts = learner.run(stream, at_end="keep").counts
    assert counts["expired"] == 5 + 8 and counts["awaiting_labels"] == 16
    assert counts["learned"] + counts["waiting"] == 3  # one had all labels, two had some
    assert counts["labels_joined"] == 4
    assert counts["labels_unknown"] == 5
    assert counts["labels_repeated"] == 1
    assert accounted(counts)


@pytest.mark.slow
def test_an_id_that_comes_again_ends_the_wait_of_the_first():
    learner = OnlineLearner(model(), batch_size=8, late_labels=LateLabels())
    counts = learner.run(
        [
            inputs(0, 4, click=Y["click"][:4]),
            inputs(0, 4, click=Y["click"][:4]),
            labels(IDS[:4], "stay"),
        ]
    ).counts
    assert counts["learned"] == counts["read"] == 8 and counts["labels_joined"] == 4


@pytest.mark.slow
def test_without_a_place_to_wait_rows_are_learned_with_what_they_have():
    learner = OnlineLearner(model(), batch_size=8)
    stream = [inputs(0, 8, click=Y["click"][:8]), inputs(8, 16), labels(IDS[:8], "stay")]
    counts = learner.run(stream).counts
    assert counts["learned"] == 8 and counts["unlabelled"] == 8
    assert counts["labels_unknown"] == 8 and accounted(counts)


@pytest.mark.slow
def test_no_row_waits_for_a_label_without_weight():
    def stream():
        ids, half = np.arange(8), slice(0, 4)
        y = {name: part[:8] for name, part in Y.items()}
        weight = {"click": np.repeat([0.0, 1.0], 4)}
        yield {"x": X[:8], "id": ids, "y": y, "sample_weight": weight}  # all is there
        yield inputs(8, 16, click=Y["click"][8:16])
        yield {**labels([8, 9, 10, 11], "stay"), "sample_weight": {"stay": np.zeros(4)}}
        yield {"x": X[half], "id": 90 + ids[half], "y": {}}
        yield {**labels([90, 91], "click", "stay"), "sample_weight": np.zeros(2)}

    learner = OnlineLearner(model(), batch_size=8, late_labels=LateLabels())
    history = learner.run(stream())
    assert history.counts["learned"] == 12 and history.counts["expired"] == 2
    assert history.counts["awaiting_labels"] == 6 and accounted(history.counts)
    assert history.windows[-1]["total"]["stay"]["labels"] == 8


def test_rows_and_labels_may_come_in_one_list():
    first = [{"x": X[i], "id": i, "y": {"click": Y["click"][i]}} for i in range(3)]
    late = [{"id": i, "y": {"stay": Y["stay"][i]}} for i in range(2)]
    plain = {"x": X[4], "y": {name: part[4] for name, part in Y.items()}}
    learner = OnlineLearner(model(), batch_size=8, late_labels=LateLabels())
    counts = learner.run([[first[0], plain, *first[1:], *late]]).counts
    assert counts["learned"] == 3 and counts["awaiting_labels"] == 1
    assert counts["labels_joined"] == 2 and not counts["quarantined"] and accounted(counts)


def test_bad_arguments_are_errors():
    with pytest.raises(ValueError, match=r"`max_rows` should be an integer of at least 1"):
        LateLabels(0)
    with pytest.raises(ValueError, match=r"`max_seconds` should be a positive number or None"):
        LateLabels(max_seconds=-1)
    with pytest.raises(ValueError, match=r"should have the same number of rows. Received: \[2, 3"):
        StreamBatch(X[:2], {"click": Y["click"][:3]})
