"""Co-training of two views: rounds, data, what is refused, going on after a kill."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import (
    BinaryClassification,
    Classification,
    HardSharing,
    MultiLabelClassification,
    MultiTaskModel,
    Regression,
    SemanticSegmentation,
    SequenceTagging,
)
from mtlzoo.training import CoTraining, CoTrainingHistory
from mtlzoo.training.co_training.tables import Table

VIEWS = ("image", "text")
WIDTH = 10


@pytest.fixture(autouse=True)
def eagerly():
    """Nothing is traced: a few steps of each model are faster so."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def two_views(tasks, rate=0.1, compiled=True, seed=1):
    """A linear model of each view."""
    found = {}
    for view in VIEWS:
        keras.utils.set_random_seed(seed)
        twins = [type(task).from_config(task.get_config()) for task in tasks]
        inputs = keras.Input((WIDTH,), name=view)
        model = HardSharing(inputs, twins, shared_units=(), name=f"{view}_model")
        if compiled:
            model.compile(keras.optimizers.Adam(rate), jit_compile=False)
        found[view] = model
    return found


def kind(name="kind", **arguments):
    return BinaryClassification(name, metrics=[], **arguments)


def rows(count, seed=0, apart=0.6):
    """Rows whose views are independent, given the class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, count)
    x = {
        view: rng.normal(apart * (2 * truth[:, None] - 1), 1, (count, WIDTH)).astype("float32")
        for view in VIEWS
    }
    return x, truth


def few(truth, count=6):
    return np.where(np.arange(len(truth)) < count, truth, -1)


def accuracy(model, x, truth, view):
    return np.mean((model.predict(x[view], verbose=0)["kind"][:, 0] > 0) == truth)


# -- it works ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_independent_views_teach_each_other():
    x, truth = rows(400)
    test_x, test_truth = rows(2000, seed=1)
    views = two_views([kind()])
    alone = {}

    def callbacks(view, number):
        def keep(epoch, logs):
            alone[view] = accuracy(views[view], test_x, test_truth, view)

        return [keras.callbacks.LambdaCallback(on_epoch_end=keep)] if number == 0 else []

    history = CoTraining(views, thresholds=0.7, per_round=0.2).fit(
        x,
        {"kind": few(truth)},
        truth={"kind": truth},
        rounds=3,
        epochs=4,
        batch_size=50,
        callbacks=callbacks,
    )
    for view, model in views.items():
        together = accuracy(model, test_x, test_truth, view)
        assert together > alone[view] + 0.05, (view, alone[view], together)
        assert together > 0.9
    last = history.rounds[-1]["tasks"]["kind"]
    assert len(history.rounds) == 4
    assert last["agreement"] > history.rounds[0]["tasks"]["kind"]["agreement"]
    for view in VIEWS:
        found = [of_round["tasks"]["kind"]["views"][view] for of_round in history.rounds]
        assert found[0]["pseudo_labels"] == 0 and np.isnan(found[0]["right"])
        # What it got in one round is what it is trained with in the next.
        got = np.cumsum([each["new"] for each in found])
        assert [each["pseudo_labels"] for each in found[1:]] == got[:-1].tolist()
        assert found[-1]["right"] > 0.85 and found[-1]["new"] == 0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_and_another_one_another():
    x, truth = rows(20)

    def weights(seed):
        views = two_views([kind()])
        co_training = CoTraining(views, thresholds=0.5, seed=seed)
        co_training.fit(x, {"kind": few(truth)}, rounds=1, batch_size=4)
        return np.concatenate([v.numpy().ravel() for v in views["text"].trainable_variables])

    np.testing.assert_array_equal(weights(0), weights(0))
    assert not np.array_equal(weights(0), weights(1))


@pytest.mark.slow
def test_no_label_is_given_where_no_view_is_sure_and_it_ends():
    x, truth = rows(40)
    views = two_views([kind()])
    before = [v.numpy() for v in views["text"].trainable_variables]
    history = CoTraining(views, thresholds=1.0).fit(x, {"kind": few(truth)}, rounds=9)
    assert len(history.rounds) == 1
    assert history.rounds[0]["tasks"]["kind"]["views"]["text"]["new"] == 0
    assert not np.array_equal(before[0], views["text"].trainable_variables[0].numpy())


@pytest.mark.slow
def test_each_view_labels_its_most_certain_rows_for_the_other(monkeypatch):
    x, truth = rows(50)
    views = two_views([kind()])
    given = {}
    give = Table.give

    def noted(self, places, labels):
        assert not self.given[places].any() and not self.pseudo[places].any()
        given.setdefault(len(given), (places, labels))
        give(self, places, labels)

    monkeypatch.setattr(Table, "give", noted)
    co_training = CoTraining(views, thresholds=0.5, per_round=4, balance="equal", restart=False)
    # A callback keeps what each view answers after its first training.
    answers = {}

    def callbacks(view, number):
        def keep(logs):
            if number == 0:
                answers[view] = views[view].predict(x[view], verbose=0)["kind"][:, 0]

        return [keras.callbacks.LambdaCallback(on_train_end=keep)]

    co_training.fit(x, {"kind": few(truth)}, rounds=1, callbacks=callbacks)
    for (places, labels), teacher in zip(list(given.values())[:2], ("text", "image"), strict=True):
        raw = answers[teacher][6:]
        yes, no = np.argsort(-raw)[:2] + 6, np.argsort(raw)[:2] + 6
        assert set(places) == {*yes, *no}
        np.testing.assert_array_equal(labels, answers[teacher][places] > 0)


def test_a_round_begins_anew_or_goes_on():
    x, truth = rows(40)
    starts = {}

    def run(restart):
        views = two_views([kind()])
        kernel = views["text"].trainable_variables[0]

        def callbacks(view, number):
            def keep(logs):
                if view == "text":
                    starts.setdefault(restart, []).append(kernel.numpy())
                    steps = int(views["text"].optimizer.iterations)
                    assert steps == 0 if restart else steps >= number

            return [keras.callbacks.LambdaCallback(on_train_begin=keep)]

        settings = {"thresholds": 0.5, "restart": restart}
        CoTraining(views, **settings).fit(x, {"kind": few(truth)}, rounds=1, callbacks=callbacks)

    run(True)
    run(False)
    np.testing.assert_array_equal(starts[True][0], starts[True][1])
    assert not np.array_equal(starts[False][0], starts[False][1])


# -- kinds and labels -------------------------------------------------------------------------


@pytest.mark.slow
def test_several_tasks_with_labels_in_other_rows_each():
    x, truth = rows(30)
    y = {
        "kind": few(truth),
        "stay": np.where(np.arange(30) >= 20, 2.0 * truth, np.nan),
        "tags": np.stack([few(truth), np.where(np.arange(30) < 10, 1 - truth, -1)], axis=1),
    }
    tasks = [
        kind(),
        Regression("stay", metrics=[]),
        MultiLabelClassification("tags", 2, metrics=[]),
    ]
    views = two_views(tasks)
    thresholds = {"kind": 0.5, "stay": 0.3, "tags": 0.5}
    truths = {"kind": truth, "stay": 2.0 * truth, "tags": np.stack([truth, 1 - truth], axis=1)}
    co_training = CoTraining(views, thresholds=thresholds, per_round={**thresholds, "kind": 7})
    history = co_training.fit(x, y, truth=truths, rounds=1, epochs=4)
    first = history.rounds[0]["tasks"]
    assert first["kind"]["views"]["text"]["new"] <= 7
    assert 0 < first["tags"]["views"]["text"]["new"] <= 22
    stay = first["stay"]["views"]
    for key in ("new", "new_right"):
        assert stay["image"][key] == stay["text"][key]  # both get the mean
    assert np.isnan(first["stay"]["agreement"]) and first["stay"]["kappa"] > 0
    assert 0 < history.rounds[1]["tasks"]["stay"]["views"]["text"]["right"] < 2
    assert "stay" in str(history) and str(CoTrainingHistory()) == "no rounds"


@pytest.mark.slow
def test_a_task_without_threshold_gets_no_labels():
    x, truth = rows(30)
    tasks = [kind(), kind("other")]
    y = {"kind": few(truth), "other": few(truth)}
    co_training = CoTraining(two_views(tasks), thresholds={"kind": 0.5})
    history = co_training.fit(x, y, rounds=1)
    assert list(history.rounds[0]["tasks"]) == ["kind"]


@pytest.mark.slow
def test_a_task_of_another_kind_is_learned_from_its_own_labels():
    rng = np.random.default_rng(0)
    x = {view: rng.normal(size=(8, 3, 2)).astype("float32") for view in VIEWS}
    views = {}
    for view in VIEWS:
        inputs = keras.Input((3, 2), name=view)
        tags, whole = SequenceTagging("tags", 4, metrics=[]), kind()
        outputs = {"tags": tags.head(inputs), "kind": whole.head(inputs)}
        model = MultiTaskModel(inputs, outputs, tasks=[tags, whole])
        model.compile("adam", jit_compile=False)
        views[view] = model
    y = {"kind": few(np.arange(8) % 2, 4), "tags": np.full((8, 3), -1)}
    co_training = CoTraining(views, thresholds={"kind": 0.0}, per_round=1.0, balance=None)
    with pytest.raises(ValueError, match=r"Task `tags` should have labels in some rows"):
        co_training.fit(x, y)
    with pytest.raises(ValueError, match=r"Labels of task `tags` should be labels of this task"):
        co_training.fit(x, {**y, "tags": np.full((8, 3), 9)})
    y["tags"][6] = [1, 2, -1]
    history = co_training.fit(x, y, np.ones(8), rounds=1)
    assert list(history.rounds[0]["tasks"]) == ["kind"]
    assert history.rounds[0]["tasks"]["kind"]["views"]["text"]["new"] == 4


def pixel_views():
    found = {}
    for view in VIEWS:
        keras.utils.set_random_seed(0)
        task = SemanticSegmentation("parts", 3, metrics=[])
        inputs = keras.Input((4, 4, 2), name=view)
        model = MultiTaskModel(inputs, {"parts": task.head(inputs)}, tasks=[task])
        model.compile("adam", jit_compile=False)
        found[view] = model
    return found


@pytest.mark.slow
def test_pixels_get_labels_in_images_without_any():
    rng = np.random.default_rng(0)
    x = {view: rng.normal(size=(4, 4, 4, 2)).astype("float32") for view in VIEWS}
    y = np.full((4, 4, 4, 1), 255)
    y[0, :2] = rng.integers(0, 3, (2, 4, 1))  # the other pixels of this image are void
    co_training = CoTraining(pixel_views(), thresholds=0.0, per_round=1.0, balance=None)
    history = co_training.fit(x, {"parts": y}, rounds=1)
    assert history.rounds[0]["tasks"]["parts"]["views"]["text"]["new"] == 3 * 16


def test_a_table_keeps_what_was_given():
    labels = np.array([[1], [-1], [0], [-1]], "int8")
    table = Table(kind(), labels)
    table.give(np.array([1]), np.array([1]))
    assert table.labels.tolist() == [1, 1, 0, -1] and table.labels.dtype == "int8"
    assert table.candidates.tolist() == [False, False, False, True]
    assert table.rows().tolist() == [True, True, True, False]
    assert labels[1] == -1  # what the caller has is left alone
    np.testing.assert_allclose(table.weights(1, None, 0.5), [1, 0.5, 1, 1])
    np.testing.assert_allclose(table.weights(1, np.array([2, 2, 3, 0]), 0.5), [2, 1, 3, 0])
    tags = Table(MultiLabelClassification("tags", 2), np.array([[1, -1], [-1, -1]]))
    tags.give(np.array([1]), np.array([0]))
    assert tags.labels.tolist() == [[1, 0], [-1, -1]]
    np.testing.assert_allclose(tags.weights(2, np.array([3, 1]), 0.5), [[3, 1.5], [1, 1]])
    np.testing.assert_allclose(tags.weights(1, np.array([3, 1]), 0.5), [1.5, 1])
    place = Table(Regression("place", 2), np.array([[1.0, 5], [3, 5], [np.nan, np.nan]]))
    np.testing.assert_allclose(place.scale(), [1.0, 1.0])


def test_answers_are_kept_as_they_are_also_among_integers():
    table = Table(Regression("r", missing=-1), np.array([3, -1, -1]))
    table.give(np.array([1, 2]), np.array([0.5, -1.25]))
    assert table.labels.tolist() == [3.0, 0.5, -1.25]


@pytest.mark.slow
def test_a_small_share_is_one_label_and_any_number_type_will_do():
    x, truth = rows(12)
    for amount in (0.01, np.float32(0.01)):
        co_training = CoTraining(two_views([kind()]), thresholds=0.0, per_round=amount)
        history = co_training.fit(x, {"kind": few(truth)}, rounds=1)
        views = history.rounds[0]["tasks"]["kind"]["views"]
        assert [found["new"] for found in views.values()] == [1, 1]


@pytest.mark.slow
def test_labels_of_the_other_view_may_count_less():
    x, truth = rows(40)

    def kernel(**arguments):
        views = two_views([kind()])
        CoTraining(views, thresholds=0.5, **arguments).fit(x, {"kind": few(truth)}, rounds=1)
        return views["text"].trainable_variables[0].numpy()

    assert not np.allclose(kernel(), kernel(weight=0.1))


# -- data -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_arrays_data_sets_and_unlabelled_rows_are_the_same_rows():
    x, truth = rows(40)
    y = few(truth)

    def kernel(*data, **arguments):
        views = two_views([kind()])
        history = CoTraining(views, thresholds=0.5).fit(*data, rounds=1, **arguments)
        assert history.rounds[0]["tasks"]["kind"]["views"]["text"]["new"] > 0
        return views["text"].trainable_variables[0].numpy()

    expected = kernel(x, {"kind": y})
    batches = tf.data.Dataset.from_tensor_slices((x, {"kind": y})).batch(7)
    np.testing.assert_array_equal(kernel(batches), expected)
    start = {view: values[:6] for view, values in x.items()}
    rest = {view: values[6:] for view, values in x.items()}
    found = kernel(start, {"kind": y[:6]}, unlabelled=rest)
    np.testing.assert_array_equal(found, expected)
    more = tf.data.Dataset.from_tensor_slices((rest, {"kind": truth[6:]})).batch(9)
    found = kernel(start, {"kind": y[:6]}, unlabelled=more)  # their labels are not looked at
    np.testing.assert_array_equal(found, expected)
    found = kernel(x, {"kind": y}, np.ones(40))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_validation_data_of_both_views_are_in_the_history():
    x, truth = rows(20)
    y = {"kind": few(truth)}
    for data in ((x, {"kind": truth}), tf.data.Dataset.from_tensors((x, {"kind": truth}))):
        history = CoTraining(two_views([kind()])).fit(x, y, rounds=1, validation_data=data)
        for view in VIEWS:
            assert set(history.rounds[0]["validation"][view]) == {"loss", "kind_loss"}


@pytest.mark.slow
def test_it_goes_on_after_the_round_that_is_in_the_file(tmp_path):
    x, truth = rows(60)

    def run(path=None, stop=None):
        views = two_views([kind()])

        def callbacks(view, number):
            def end(logs):
                if (view, number) == stop:
                    raise KeyboardInterrupt

            return [keras.callbacks.LambdaCallback(on_train_begin=end)]

        co_training = CoTraining(views, thresholds=0.5)
        arguments = {"rounds": 2, "truth": {"kind": truth}, "callbacks": callbacks}
        history = co_training.fit(x, {"kind": few(truth)}, path=path, **arguments)
        return history, [v.numpy() for v in views["text"].trainable_variables]

    expected, weights = run()
    path = tmp_path / "rounds.npz"
    with pytest.raises(KeyboardInterrupt):
        run(path, ("text", 1))
    for _ in range(2):  # what is done already is not done again
        found, again = run(path, ("image", 0))
        assert str(found) == str(expected)
        for mine, its in zip(weights, again, strict=True):
            np.testing.assert_array_equal(mine, its)
    others = CoTraining(two_views([kind()]), thresholds=0.6)
    with pytest.raises(ValueError, match=r"`path` should be a file of a co-training with the same"):
        others.fit(x, {"kind": few(truth)}, rounds=2, path=path)
    with pytest.raises(ValueError, match=r"with the same data"):
        CoTraining(two_views([kind()]), thresholds=0.5).fit(
            x, {"kind": few(truth, 7)}, rounds=2, path=path
        )
    with pytest.raises(ValueError, match=r"`path` should be a file, and not a folder"):
        others.fit(x, {"kind": few(truth)}, path=tmp_path)


# -- what is refused --------------------------------------------------------------------------


def views_of(*tasks):
    first, second = two_views([tasks[0]], compiled=False), two_views([tasks[1]], compiled=False)
    return {"image": first["image"], "text": second["text"]}


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda: {"image": two_views([kind()])["image"]}, {}, r"at least 2 .* Received: 1 models"),
        (lambda: [1, 2], {}, r"`views` should be a dict of at least 2"),
        (
            lambda: {**two_views([kind()]), "third": two_views([kind()])["text"]},
            {},
            r"`views` should be two models\. Received: \['image', 'text', 'third'\]",
        ),
        (
            lambda: dict.fromkeys(VIEWS, two_views([kind()])["text"]),
            {},
            r"one model under several names",
        ),
        (lambda: {"a": keras.Sequential(), "b": 1}, {}, r"`views\['a'\]` .* a Sequential"),
        (
            lambda: views_of(kind(), kind("other")),
            {},
            r"same tasks\. Received: \['kind'\] in `image` and \['other'\] in `text`",
        ),
        (
            lambda: views_of(Classification("kind", 3), Classification("kind", 4)),
            {},
            r"Task `kind` .* `output_shape` .* \(3,\) in `image` and \(4,\) in `text`",
        ),
        (
            lambda: views_of(kind(), Regression("kind")),
            {},
            r"Task `kind` .* `kind` .* BinaryClassification in `image` and Regression",
        ),
        (lambda: two_views([kind()]), {"thresholds": 1.1}, r"threshold of task `kind` .* 1\.1"),
        (lambda: two_views([kind()]), {"thresholds": {"no": 1}}, r"only the tasks .* 'no'"),
        (lambda: two_views([kind()]), {"thresholds": {}}, r"one of the tasks at least"),
        (lambda: two_views([kind()]), {"per_round": 0}, r"`per_round` of task `kind` .* 0"),
        (lambda: two_views([kind()]), {"per_round": 1.5}, r"`per_round` of task `kind` .* 1\.5"),
        (lambda: two_views([kind()]), {"per_round": {}}, r"Received: none for `kind`"),
        (lambda: two_views([kind()]), {"balance": "even"}, r"`balance` .*balance='even'"),
        (lambda: two_views([kind()]), {"weight": 0}, r"`weight` should be a positive .*weight=0"),
        (lambda: two_views([kind()]), {"restart": 1}, r"`restart` should be a bool"),
        (lambda: two_views([kind()]), {"seed": -1}, r"`seed` should be an integer"),
    ],
)
def test_views_and_arguments_that_do_not_fit(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        CoTraining(make(), **arguments)


def test_a_kind_whose_certainty_is_not_known_is_left_out_or_refused():
    views = {}
    for view in VIEWS:
        inputs = keras.Input((3, 2), name=view)
        task = SequenceTagging("tags", 4)
        views[view] = MultiTaskModel(inputs, {"tags": task.head(inputs)}, tasks=[task])
    with pytest.raises(ValueError, match=r"Task `tags` should be left out .* SequenceTagging"):
        CoTraining(views)


X, TRUTH = rows(12)
Y = {"kind": few(TRUTH)}


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    ("x", "y", "arguments", "message"),
    [
        ({"image": X["image"]}, Y, {}, r"inputs of view `text`, \['text'\]\. .* 'text'"),
        (X["image"], Y, {}, r"`x` should be a dict by input name.* a ndarray"),
        ({**X, "text": X["text"][:3]}, Y, {}, r"same number of rows"),
        (X, None, {}, r"`y` should be a dict of labels by task"),
        (X, {"no": TRUTH}, {}, r"`y` should have only the tasks \['kind'\] .* 'no'"),
        (X, {"kind": TRUTH[:3]}, {}, r"Labels .* of task `kind` .* 12 rows"),
        (X, {"kind": np.full(12, -1)}, {}, r"Task `kind` should have labels in some rows"),
        (X, {"kind": TRUTH + 4}, {}, r"Labels of task `kind` should be labels of this task or -1"),
        (X, Y, {"rounds": 0}, r"`rounds` should be an integer of at least 1"),
        (X, Y, {"epochs": 0}, r"`epochs` should be an integer of at least 1"),
        (X, Y, {"batch_size": 0}, r"`batch_size` should be a positive integer"),
        (X, Y, {"callbacks": []}, r"`callbacks` should be a function"),
        (X, Y, {"unlabelled": {"image": X["image"]}}, r"`unlabelled` .* none named 'text'"),
        (X, Y, {"truth": {"no": TRUTH}}, r"`truth` should have only the tasks .* 'no'"),
        (X, Y, {"truth": {"kind": TRUTH[:2]}}, r"`truth` of task `kind` should have all 12 rows"),
        (X, Y, {"truth": TRUTH}, r"`truth` should be a dict"),
        (X, Y, {"validation_data": X}, r"`validation_data` should be a data set"),
        (X, Y, {"sample_weight": {"no": TRUTH}}, r"`sample_weight` .* 'no'"),
        (X, Y, {"sample_weight": {"kind": -TRUTH - 1}}, r"weights of task `kind` .* not negative"),
        (X, Y, {"sample_weight": {"kind": np.full(12, "a")}}, r"task `kind` .* numbers"),
        (X, Y, {"sample_weight": {"kind": np.ones((12, 2))}}, r"`kind` .* one number for each row"),
        (X, Y, {"unlabelled": {**X, "text": X["text"][:, :1]}}, r"inputs of the shapes of `x`"),
        (X, Y, {"validation_data": ({}, Y)}, r"`validation_data` should have the inputs of view"),
        (X, Y, {"path": 3}, r"`path` should be "),
    ],
)
def test_data_that_do_not_fit_are_refused_before_training(x, y, arguments, message, monkeypatch):
    views = two_views([kind()])
    monkeypatch.setattr(MultiTaskModel, "fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ValueError, match=message):
        CoTraining(views).fit(x, y, **arguments)


def test_models_that_are_not_compiled_and_endless_data_are_refused():
    with pytest.raises(ValueError, match=r"View `image` should be compiled"):
        CoTraining(two_views([kind()], compiled=False)).fit(X, Y)
    endless = tf.data.Dataset.from_tensors((X, Y)).repeat()
    with pytest.raises(ValueError, match=r"`x` should be a data set that ends"):
        CoTraining(two_views([kind()])).fit(endless)
    with pytest.raises(ValueError, match=r"should be in the batches"):
        CoTraining(two_views([kind()])).fit(endless, Y)
    soft = np.tile([0.25, 0.75], (12, 1))
    with pytest.raises(ValueError, match=r"task `two` should be class ids, and not distributions"):
        CoTraining(two_views([Classification("two", 2)])).fit(X, {"two": soft})
