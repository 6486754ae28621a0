"""Cross-validation: each fold has a model that never sees the rows that it is tested on."""

import keras
import numpy as np
import pytest

from mtlzoo import HardSharing, Regression, data

TASKS = [Regression("first", metrics=["mae"]), Regression("total", metrics=["mae"])]
SIZE = 30


def some_data():
    x = np.random.default_rng(0).normal(size=(SIZE, 3)).astype("float32")
    return x, {"first": x[:, 0], "total": x.sum(1)}


def build_model():
    model = HardSharing(keras.Input((3,)), TASKS, shared_units=(4,))
    model.compile(keras.optimizers.SGD(0.05), jit_compile=False)
    return model


@pytest.mark.slow
def test_each_fold_has_logs_and_the_table_their_mean_and_spread():
    x, y = some_data()
    folds = data.kfold(y, TASKS, 3)
    made = []

    def counted():
        made.append(build_model())
        return made[-1]

    found = data.cross_validate(counted, (x, y), folds, epochs=2, batch_size=8, verbose=0)
    assert len(made) == len({id(model) for model in made}) == len(found.folds) == 3
    keys = {"loss", "first_loss", "first_mae", "total_loss", "total_mae"}
    assert all(set(fold) == keys for fold in found.folds)
    values = [fold["first_mae"] for fold in found.folds]
    assert len(set(values)) == 3
    assert found.mean["first_mae"] == pytest.approx(np.mean(values))
    assert found.std["first_mae"] == pytest.approx(np.std(values, ddof=1))
    assert found.of_task("first") == {
        "loss": [fold["first_loss"] for fold in found.folds],
        "mae": values,
    }
    lines = str(found).splitlines()
    assert lines[0].split() == ["mean", "std", "3", "folds"] and len(lines) == 6
    (line,) = [line for line in lines if line.startswith("first_mae")]
    assert line.split() == [
        "first_mae",
        *(f"{v:.4g}" for v in [found.mean["first_mae"], found.std["first_mae"], *values]),
    ]
    with pytest.raises(ValueError, match=r"`task` should have logs. Received: 'other' of"):
        found.of_task("other")


def test_a_model_is_trained_on_its_own_rows_and_tested_on_the_others():
    x, y = some_data()
    folds = data.kfold(y, TASKS, 2)
    seen = []

    class Noting(keras.Model):
        """Its loss is the sum of the inputs, and it notes what it reads."""

        def fit(self, dataset, **options):
            assert options == {"epochs": 3}
            seen.append(("fit", np.concatenate([x.numpy() for x, *_ in dataset])))

        def evaluate(self, dataset, **options):
            seen.append(("evaluate", np.concatenate([x.numpy() for x, *_ in dataset])))
            return {"loss": float(len(seen))}

    found = data.cross_validate(Noting, (x, y), folds, epochs=3)
    assert [fold["loss"] for fold in found.folds] == [2.0, 4.0]
    for (train, test), (fit, evaluate) in zip(folds, (seen[:2], seen[2:]), strict=True):
        assert (fit[0], evaluate[0]) == ("fit", "evaluate")
        assert {row.tobytes() for row in fit[1]} == {row.tobytes() for row in x[train]}
        np.testing.assert_array_equal(evaluate[1], x[test])


@pytest.mark.slow
def test_the_seed_decides_and_weights_count():
    x, y = some_data()
    folds = data.kfold(y, TASKS, 2)
    w = {"first": np.r_[np.zeros(15), np.ones(15)].astype("float32")}

    def run(given, seed=0):
        options = {"epochs": 1, "batch_size": 4, "verbose": 0, "seed": seed}
        return data.cross_validate(build_model, given, folds, **options).folds

    first = run((x, y))
    assert first == run((x, y)) and first != run((x, y), seed=1) and first != run((x, y, w))


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([([0], [1])], "`folds` should be at least 2. Received: 1"),
        ([([0, 1], [1])] * 2, r"`parts` should have each row in one part. Received: 1 in `train`"),
        ([([0], [30])] * 2, "`folds` should have rows from 0 to 29 to train and to test on. Rec"),
        ([([0], [])] * 2, "Received: 1 and 0, from 0 to 0"),
    ],
)
def test_bad_folds_are_named(folds, message):
    folds = [(np.array(train, int), np.array(test, int)) for train, test in folds]
    with pytest.raises(ValueError, match=message):
        data.cross_validate(build_model, some_data(), folds)
    with pytest.raises(ValueError, match="`batch_size` should be a positive integer"):
        data.cross_validate(build_model, some_data(), folds, batch_size=0)


def test_logs_of_a_task_whose_name_begins_another_are_told_apart():
    found = data.CrossValidation([{"age_loss": 1.0, "age_group_loss": 2.0, "age_group_auc": 3.0}])
    assert found.of_task("age") == {"loss": [1.0]}
    assert found.of_task("age_group") == {"loss": [2.0], "auc": [3.0]}


def test_data_of_other_lengths_are_refused():
    labels = {"value": [1.0, 2.0, 3.0]}
    folds = [([0], [1]), ([1], [0])]
    with pytest.raises(ValueError, match="`data` should have arrays of one length"):
        data.cross_validate(lambda: None, (np.zeros((4, 2)), labels), folds)
