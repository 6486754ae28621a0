"""Several tasks by name, and the task that a plain loss implies."""

import keras
import pytest

from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    MultiLabelClassification,
    Regression,
    Task,
    by_name,
    from_loss,
)


def test_sorted_by_name_whatever_the_order():
    tasks = [Regression("b"), BinaryClassification("c"), Classification("a", 3)]
    for given in (tasks, tuple(reversed(tasks))):
        assert list(by_name(given)) == ["a", "b", "c"]
        assert by_name(given)["b"] is tasks[0]


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        ([], r"`tasks` should be a non-empty list of tasks. Received: tasks=\[\]"),
        (Regression("a"), r"`tasks` should be a non-empty list.*<Regression name=a>"),
        ({"a": Regression("a")}, r"`tasks` should be a non-empty list.*\{'a'"),
        ([Regression("a"), "b"], r"`tasks` should hold tasks only. Received: 'b' in"),
        ([Regression("a"), BinaryClassification("a")], r"different names. Received: 'a' twice"),
        ([BinaryClassification("a"), Regression("a_class")], r"`a` and `a_class` .*\['a_class'\]"),
        ([Regression("a"), Regression("a_loss")], r"`a` and `a_loss` should not share"),
    ],
)
def test_bad_collections(tasks, text):
    with pytest.raises(ValueError, match=text):
        by_name(tasks)


def test_log_keys_that_meet():
    other = Regression("a_macro", metrics=[keras.metrics.MeanSquaredError(name="f1")])
    text = r"`a` and `a_macro` should not share a log key.*\['a_macro_f1'\]"
    with pytest.raises(ValueError, match=text):
        by_name([other, Classification("a", 3)])


def test_names_with_a_common_start_are_fine():
    assert len(by_name([BinaryClassification("a"), Regression("a_b"), Regression("ab")])) == 3


SPARSE = keras.losses.SparseCategoricalCrossentropy


@pytest.mark.parametrize(
    ("loss", "shape", "kind", "from_logits"),
    [
        ("binary_crossentropy", (1,), BinaryClassification, False),
        ("bce", (4,), MultiLabelClassification, False),
        (keras.losses.BinaryCrossentropy(from_logits=True), (1,), BinaryClassification, True),
        (keras.losses.BinaryFocalCrossentropy(from_logits=True), (2,), MultiLabelClassification,
         True),
        (keras.losses.binary_crossentropy, (1,), BinaryClassification, False),
        ("sparse_categorical_crossentropy", (3,), Classification, False),
        (SPARSE(from_logits=True), (3,), Classification, True),
        ("mse", (1,), Regression, None),
        ("mae", (2,), Regression, None),
        (keras.losses.Huber(delta=2.0), (1,), Regression, None),
        ("log_cosh", (1,), Regression, None),
        ("categorical_crossentropy", (3,), Task, None),
        (SPARSE(), (4, 4, 3), Task, None),
        ("mse", (4, 4, 1), Task, None),
        (lambda y, z: keras.ops.sum(y * z, axis=-1), (3,), Task, None),
    ],
)  # fmt: skip
def test_a_plain_loss_implies_a_task(loss, shape, kind, from_logits):
    task = from_loss("a", loss, shape)
    assert type(task) is kind
    assert task.output_shape == shape
    assert task.from_logits is from_logits
    if isinstance(loss, keras.losses.Loss):
        assert task.loss is loss
    if kind is not Task:
        assert type(task.head(keras.Input((2,)))) is keras.KerasTensor


def test_the_family_of_a_generic_task_is_read_from_its_loss():
    assert from_loss("a", "categorical_crossentropy", (3,)).loss_family == "classification"
    assert from_loss("a", "cosine_similarity", (3,)).loss_family == "regression"
    assert (from_loss("a", "mse", (4, 4)).monitor, Task.mode) == ("loss", "min")


def test_bad_losses():
    with pytest.raises(ValueError, match=r"loss of task `a` should be a Keras loss.*'nonsense'"):
        from_loss("a", "nonsense", (1,))
    with pytest.raises(ValueError, match=r"`a` should not have the reduction 'sum'"):
        from_loss("a", keras.losses.MeanSquaredError(reduction="sum"), (1,))
    with pytest.raises(ValueError, match=r"should be an identifier.*name='a b'"):
        from_loss("a b", "mse", (1,))
