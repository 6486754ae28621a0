"""Who owns which variable, and where the shared part ends."""

import keras
import numpy as np
import pytest
from model_cases import (
    Constant,
    assert_all_moved,
    assert_close,
    compiled,
    data,
    hard_sharing,
    tasks,
    train,
)

from mtlzoo import GradDrop, MMoE, MultiTaskModel
from mtlzoo.models import graph

layers = keras.layers


def model_of(inputs, a, b):
    """A model with the tasks `a` and `b`, whose heads read these features."""
    given = tasks()
    features = {"a": a, "b": b}
    return MultiTaskModel(inputs, {t.name: t.head(features[t.name]) for t in given}, tasks=given)


def owners(model):
    """Variable path -> `shared` or the task, for all trainable variables; checks the partition."""
    found = {}
    parts = {"shared": model.shared_variables, "balancer": model.balancer_variables}
    parts |= {name: model.task_variables(name) for name in model.task_names}
    for owner, variables in parts.items():
        for variable in variables:
            assert id(variable) not in found
            found[id(variable)] = owner
    assert set(found) == {id(v) for v in model.trainable_variables}
    return {v.path: found[id(v)] for v in model.trainable_variables}


def layer_owners(model):
    """The same by layer; the layer's variables must agree."""
    by_layer = {}
    for path, owner in owners(model).items():
        by_layer.setdefault(path.rsplit("/", 1)[0], set()).add(owner)
    assert all(len(found) == 1 for found in by_layer.values())
    return {name.rsplit("/", 1)[-1]: found.pop() for name, found in by_layer.items()}


def x():
    return keras.Input((4,), name="x")


# -- ownership --------------------------------------------------------------------------------


def test_layers_before_both_heads_are_shared():
    inputs = x()
    trunk = layers.Dense(3, name="trunk")(inputs)
    model = model_of(inputs, layers.Dense(2, name="tower")(trunk), trunk)
    assert layer_owners(model) == {"trunk": "shared", "tower": "a", "a": "a", "b": "b"}


def test_a_sequential_backbone_is_one_piece():
    inputs = x()
    trunk = keras.Sequential([layers.Dense(3, name="one"), layers.Dense(3, name="two")])(inputs)
    tower = keras.Sequential([layers.Dense(3, name="three")], name="tower")(trunk)
    expected = {"one": "shared", "two": "shared", "three": "b", "a": "a", "b": "b"}
    assert layer_owners(model_of(inputs, trunk, tower)) == expected


def nested(outputs_of):
    inside = keras.Input((4,))
    low = layers.Dense(3, name="low")(inside)
    left, right = layers.Dense(3, name="left")(low), layers.Dense(3, name="right")(low)
    return keras.Model(inside, outputs_of(left, right), name="nested")


@pytest.mark.parametrize("form", ["list", "dict", "twice nested"])
def test_a_nested_model_is_walked_output_by_output(form):
    inputs = x()
    if form == "dict":
        found = nested(lambda left, right: {"z": left, "y": right})(inputs)
        left, right = found["z"], found["y"]
    elif form == "list":
        left, right = nested(lambda left, right: [left, right])(inputs)
    else:
        inside = keras.Input((4,))
        inner = nested(lambda left, right: [left, right])(inside)
        left, right = keras.Model(inside, inner, name="outer")(inputs)
    expected = {"low": "shared", "left": "a", "right": "b", "a": "a", "b": "b"}
    assert layer_owners(model_of(inputs, left, right)) == expected


@pytest.mark.slow
def test_an_unused_output_of_a_nested_model_belongs_to_no_task():
    inputs = x()
    left, _ = nested(lambda left, right: [left, right])(inputs)
    model = model_of(inputs, left, left)
    expected = {"low": "shared", "left": "shared", "right": "shared", "a": "a", "b": "b"}
    assert layer_owners(model) == expected
    unused = [v for v in model.trainable_variables if "right" in v.path]
    before = np.array(unused[0])
    for balancer in ("equal", "pcgrad", "grad_drop", Constant(wrt="features")):
        compiled(model, balancer)
        train(model, *data())
        np.testing.assert_array_equal(unused[0], before)


def test_one_tensor_may_be_two_outputs_of_a_nested_model():
    inputs = x()
    left, right = nested(lambda left, right: [left, left])(inputs)
    assert layer_owners(model_of(inputs, left, right))["left"] == "shared"


def test_one_nested_model_called_for_each_task_is_shared():
    inputs = x()
    inside = keras.Input((4,))
    twin = keras.Model(inside, layers.Dense(4, name="twin")(inside))
    model = model_of(inputs, twin(inputs), twin(layers.Dense(4, name="own")(inputs)))
    assert layer_owners(model) == {"twin": "shared", "own": "b", "a": "a", "b": "b"}


class Doubling(layers.Layer):
    """A layer with a layer and a weight of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3, name="inside")

    def build(self, shape):
        self.dense.build(shape)
        self.scale = self.add_weight(name="scale", shape=())

    def call(self, inputs):
        return self.dense(inputs) * self.scale


def test_a_subclassed_layer_is_one_piece():
    inputs = x()
    trunk, tower = Doubling(name="trunk")(inputs), Doubling(name="tower")(inputs)
    found = owners(model_of(inputs, layers.Concatenate()([trunk, tower]), trunk))
    assert found["trunk/scale"] == found["trunk/inside/kernel"] == "shared"
    assert found["tower/scale"] == found["tower/inside/bias"] == "a"


@pytest.mark.parametrize(("reader", "owner"), [("a", "a"), ("b", "shared")])
def test_a_layer_called_twice_belongs_to_all_that_read_either_call(reader, owner):
    inputs = x()
    twice = layers.Dense(4, name="twice")
    first = twice(inputs)
    tower = twice(first)
    a, b = (tower, inputs) if reader == "a" else (first, twice(layers.Dense(4)(inputs)))
    assert layer_owners(model_of(inputs, a, b))["twice"] == owner


class Scales(layers.Layer):
    """One factor for each task in one layer, and one for both."""

    def build(self, shape):
        self.of = {n: self.add_weight(name=n, shape=(), initializer="ones") for n in "ab"}
        self.both = self.add_weight(name="both", shape=(), initializer="ones")

    def call(self, inputs):
        return keras.ops.stack([inputs * scale * self.both for scale in self.of.values()], axis=1)

    def task_variables(self, name):
        return [self.of[name]]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "inside a Sequential"])
def test_what_a_layer_states_of_its_variables_outranks_the_graph(wrapped):
    inputs = x()
    scales = Scales(name="scales")
    if wrapped:
        scales = keras.Sequential([scales], name="wrapped")
    stacked = scales(layers.Dense(3, name="trunk")(inputs))
    model = model_of(inputs, stacked[:, 0], stacked[:, 1])
    found = {path.rsplit("/", 1)[-1]: owner for path, owner in owners(model).items()}
    assert (found["a"], found["b"], found["both"]) == ("a", "b", "shared")
    compiled(model, Constant())
    moved = model.task_variables("a")[0]
    train(model, *data())
    assert float(moved) != 1


def test_frozen_layers_have_no_trainable_variables_and_leave_a_partition():
    inputs = x()
    frozen = layers.Dense(3, name="frozen", trainable=False)
    trunk = layers.Dense(3, name="trunk")(frozen(inputs))
    model = model_of(inputs, trunk, trunk)
    assert layer_owners(model) == {"trunk": "shared", "a": "a", "b": "b"}
    model.get_layer("trunk").trainable = False
    assert layer_owners(model) == {"a": "a", "b": "b"}
    frozen.trainable = True
    assert layer_owners(model) == {"frozen": "shared", "a": "a", "b": "b"}


def test_moving_averages_belong_to_the_tasks_that_read_them():
    inputs = x()
    trunk = layers.BatchNormalization(name="shared_norm")(inputs)
    tower = layers.BatchNormalization(name="own_norm")(trunk)
    model = model_of(inputs, tower, trunk)
    ownership = graph.read_ownership(model)
    shared, own = (model.get_layer(n).moving_mean for n in ("shared_norm", "own_norm"))
    assert ownership.of(shared) == {"a", "b"} and ownership.of(own) == {"a"}
    assert layer_owners(model)["own_norm"] == "a"


def test_variables_that_a_layer_gets_later_are_its_tasks_too():
    model = hard_sharing()
    model.get_layer("a").enable_lora(1)
    model.get_layer("shared_0").enable_lora(1)
    compiled(model, Constant())
    found = layer_owners(model)
    assert found["a"] == "a" and found["shared_0"] == "shared"
    assert any("lora" in v.path for v in model.task_variables("a"))
    train(model, *data())


@pytest.mark.slow
def test_the_partition_counts_the_balancer_in():
    model = compiled(hard_sharing(), "uncertainty")
    assert set(owners(model).values()) == {"shared", "a", "b", "balancer"}
    assert model.balancer_variables == [model.balancer.log_variance]
    compiled(model, "equal")
    assert set(owners(model).values()) == {"shared", "a", "b"}
    with pytest.raises(ValueError, match=r"should be one of the tasks \['a', 'b'\].*name='c'"):
        model.task_variables("c")


# -- the boundary -----------------------------------------------------------------------------


def names(tensors):
    return {tensor._keras_history.operation.name for tensor in tensors}


def test_hard_sharing_ends_at_its_last_shared_layer():
    assert names(hard_sharing(shared_units=(6, 5)).boundary) == {"shared_1"}
    assert names(hard_sharing(tower_units=()).boundary) == {"shared_0"}


@pytest.mark.parametrize(("backbone", "ends"), [(True, {"trunk", "experts"}), (False, {"experts"})])
def test_mmoe_ends_at_the_experts_and_at_the_trunk_that_gates_read(backbone, ends):
    trunk = layers.Dense(5, name="trunk") if backbone else None
    model = MMoE(x(), tasks(), backbone=trunk, num_experts=2, expert_units=(3,))
    assert names(model.boundary) == ends


def test_a_raw_input_read_by_a_head_is_carried_but_not_watched():
    inputs = x()
    trunk = layers.Dense(3, name="trunk")(inputs)
    model = model_of(inputs, layers.Concatenate()([trunk, inputs]), trunk)
    cut = graph.split(model, graph.read_ownership(model))
    ends = [tensor._keras_history.operation.name for tensor in cut.boundary]
    watched = dict(zip(ends, cut.watched, strict=True))
    assert watched == {"x": False, "trunk": True}
    assert names(model.boundary) == {"trunk"}
    rows = data()[0]
    found = cut.heads(cut.trunk(rows))
    for name, value in model(rows).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)


def test_an_output_may_itself_be_shared():
    inputs = x()
    trunk = layers.Dense(3, name="trunk")(inputs)
    a = layers.Dense(1, name="a")(trunk)
    b = layers.Multiply(name="product")([a, layers.Dense(1, name="b")(trunk)])
    model = MultiTaskModel(inputs, {"a": a, "b": b}, tasks=tasks())
    assert layer_owners(model) == {"trunk": "shared", "a": "shared", "b": "b"}
    assert names(model.boundary) == {"trunk", "a"}
    assert_same_at_both_levels(model)


def assert_same_at_both_levels(model):
    trained = []
    for wrt in ("parameters", "features"):
        again = MultiTaskModel.from_config(model.get_config())
        again.set_weights(model.get_weights())
        train(compiled(again, Constant(wrt=wrt)), *data())
        trained.append(again.trainable_variables)
    assert_close(*trained, 1e-6)
    assert_all_moved(trained[0], model.trainable_variables)


def test_two_tasks_may_have_one_output():
    inputs = x()
    both = layers.Dense(1, name="both")(inputs)
    model = MultiTaskModel(inputs, {"a": both, "b": both}, tasks=tasks())
    assert layer_owners(model) == {"both": "shared"}
    assert names(model.boundary) == {"both"}
    assert_same_at_both_levels(model)


def test_what_a_layer_adds_in_the_shared_part_counts_though_heads_call_it_too():
    inputs = x()
    activity = layers.ActivityRegularization(l2=0.5, name="activity")
    trunk = layers.Dense(3, name="last")(activity(layers.Dense(4, name="first")(inputs)))
    outputs = {t.name: t.head(activity(layers.Dense(2)(trunk))) for t in tasks()}
    assert_same_at_both_levels(MultiTaskModel(inputs, outputs, tasks=tasks()))


# -- refusals ---------------------------------------------------------------------------------


class CrossStitch(layers.Layer):
    """One output tensor for each task, each a mixture of both inputs."""

    def build(self, shapes):
        self.mix = self.add_weight(name="mix", shape=(2, 2), initializer="ones")

    def call(self, inputs):
        return [row[0] * inputs[0] + row[1] * inputs[1] for row in keras.ops.unstack(self.mix)]


def last_cross_stitch():
    inputs = x()
    towers = [layers.Dense(3, name=f"tower_{n}")(inputs) for n in "ab"]
    return model_of(inputs, *CrossStitch(name="stitch")(towers))


def stated_below_a_shared_node():
    inputs = x()
    stacked = Scales(name="scales")(layers.Dense(3, name="trunk")(inputs))
    return model_of(inputs, stacked[:, 0], stacked[:, 1])


def siamese_top():
    inputs = x()
    trunk = layers.Dense(3, name="trunk")(inputs)
    top = layers.Dense(2, name="top")
    a, b = (top(layers.Dense(3, name=f"tower_{n}")(trunk)) for n in "ab")
    return model_of(inputs, a, b)


def used_again():
    inputs = x()
    activation = layers.Activation("tanh", name="again")
    trunk = activation(layers.Dense(3, name="trunk")(inputs))
    a, b = (activation(layers.Dense(3, name=f"tower_{n}")(trunk)) for n in "ab")
    return model_of(inputs, a, b)


class MeanOfRows(layers.Layer):
    def call(self, inputs):
        return keras.ops.mean(inputs, axis=0)


def no_batch_axis():
    inputs = x()
    trunk = layers.Dense(3, name="trunk")(inputs)
    mean = MeanOfRows(name="mean")(trunk)
    a, b = (layers.Add(name=f"add_{n}")([layers.Dense(3)(trunk), mean]) for n in "ab")
    return model_of(inputs, a, b)


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (last_cross_stitch, r"every tensor at which its shared part ends serves a single task"),
        (stated_below_a_shared_node, r"variable `scales/a` of task `a` lies in the shared part"),
        (siamese_top, r"shared variable `top/kernel` is used after the shared part has ended"),
        (used_again, r"the shared part ends at layer `again`, which is used again after it"),
        (no_batch_axis, r"boundary tensor `\S+` of shape \(3,\) has no batch axis"),
    ],
)
def test_features_level_is_refused_with_the_reason(build, reason):
    model = build()
    for balancer in (Constant(wrt="features"), GradDrop(wrt="features")):
        with pytest.raises(ValueError, match=rf"`wrt` should be 'parameters' for this .*{reason}"):
            compiled(model, balancer)
    with pytest.raises(graph.NoBoundary, match=reason):
        model.boundary  # noqa: B018
    compiled(model, Constant())
    before = np.array(model.shared_variables[0])
    train(model, *data())
    assert np.abs(model.shared_variables[0] - before).max() > 0


def no_common_layer():
    inputs = x()
    return model_of(inputs, inputs, layers.Dense(2)(inputs))


def nothing_common_but_an_unused_output():
    inputs = x()
    inside = keras.Input((4,))
    outputs = [layers.Dense(3, name="used")(inside), layers.Dense(3, name="unused")(inside)]
    used, _ = keras.Model(inside, outputs)(inputs)
    return model_of(inputs, inputs, used)


def frozen_common_layer():
    inputs = x()
    trunk = layers.Dense(3, name="trunk", trainable=False)(inputs)
    return model_of(inputs, trunk, trunk)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("wrt", ["parameters", "features"])
@pytest.mark.parametrize(
    "build", [no_common_layer, nothing_common_but_an_unused_output, frozen_common_layer]
)
def test_without_shared_variables_gradients_cannot_be_balanced(build, wrt):
    model = build()
    with pytest.raises(ValueError, match="has no shared variable before its task-specific part"):
        model.boundary  # noqa: B018
    message = "`balancer` should be one that weighs losses.*no trainable variable that two tasks"
    with pytest.raises(ValueError, match=message):
        compiled(model, Constant(wrt=wrt))
    compiled(model, "uncertainty")
    train(model, *data())


# -- what of Keras this relies on -------------------------------------------------------------


def test_the_private_parts_of_keras_are_as_the_walk_expects():
    inputs = x()
    dense = layers.Dense(3, name="dense")
    left, right = dense(inputs), dense(layers.Activation("tanh", name="tanh")(inputs))
    total = layers.Add(name="total")([left, right])
    model = keras.Model(inputs, {"one": total, "two": left})
    by_depth = model._nodes_by_depth
    depth = {}
    for level, nodes in by_depth.items():
        for node in nodes:
            assert all(hasattr(node, k) for k in ("operation", "is_input", "outputs"))
            assert [id(t) for t in node.outputs] == [id(t) for t in node.output_tensors]
            for tensor in node.output_tensors:
                assert tensor._keras_history.operation is node.operation
                index = tensor._keras_history.node_index
                assert node.operation._inbound_nodes[index] is node
                depth[id(tensor)] = level
            assert node.is_input == isinstance(node.operation, layers.InputLayer)
    # An operation stands at a greater depth than all that read its outputs; 0 is the last.
    assert depth[id(total)] == 0 and depth[id(inputs)] == max(by_depth)
    for nodes in by_depth.values():
        for node in nodes:
            for tensor in node.input_tensors:
                assert depth[id(tensor)] > depth[id(node.output_tensors[0])]
    # A layer called twice has a node for each call, and a model only its own.
    dense(keras.Input((4,)))
    of_dense = [n for nodes in by_depth.values() for n in nodes if n.operation is dense]
    assert len(of_dense) == 2
    assert not hasattr(layers.Dense(1), "_nodes_by_depth")
