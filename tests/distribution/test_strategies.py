"""Strategies by name; what needs several devices or processes runs in a process of its own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from conformance.replica_events import OTHERS
from conformance.replica_settings import EQUAL, HARD, Setting
from conformance.replicas import one_equals_several

from mtlzoo import PCGrad, distribution
from mtlzoo.distribution import cluster, strategies
from mtlzoo.models.compile_checks import REFUSED_STRATEGIES
from recipes.parts.local_workers import free_addresses

ROOT = Path(__file__).parents[2]
TWO = {"worker": ["127.0.0.1:1111", "127.0.0.1:2222"]}
FIRST = {"type": "worker", "index": 0}


@pytest.fixture(autouse=True)
def nothing_made(monkeypatch):
    monkeypatch.setattr(strategies, "_made", {})
    monkeypatch.delenv("TF_CONFIG", raising=False)


@pytest.fixture
def configured(monkeypatch):
    def configure(text):
        monkeypatch.setenv("TF_CONFIG", text if isinstance(text, str) else json.dumps(text))

    return configure


def _printed(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_without_a_name_there_is_no_strategy():
    for name in (None, "auto", "one"):
        assert distribution.strategy(name) is tf.distribute.get_strategy()
    assert distribution.is_chief() and distribution.is_chief(distribution.strategy())


def test_several_workers_are_seen(configured):
    configured({"cluster": TWO, "task": FIRST})
    assert strategies._checked(None) == strategies._checked("auto") == "multi_worker"
    configured({"cluster": {"worker": ["127.0.0.1:1111"]}, "task": FIRST})
    assert strategies._checked(None) == "one"
    configured("")
    assert strategies._checked(None) == "one"


@pytest.mark.parametrize(
    "config",
    [
        {},
        [],
        {"cluster": {}, "task": {}},
        {"cluster": None, "environment": "cloud"},
        {"cluster": {"worker": []}},
        {"cluster": {"chief": ["a"]}, "task": {"type": "chief", "index": "0"}},
    ],
)
def test_without_several_workers_the_rest_of_tf_config_does_not_matter(configured, config):
    """Some platforms set it for a process that is alone."""
    configured(config)
    for name in (None, "auto"):
        assert distribution.strategy(name) is tf.distribute.get_strategy()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cluster": TWO}, "have a `task` with `type`"),
        ({"cluster": {"worker": {"0": "a:1", "1": "b:1"}}, "task": FIRST}, "a list of 'host:port'"),
        ({"cluster": {"worker": "a:1,b:1"}, "task": FIRST}, "a list of 'host:port'"),
        ("{", "should be JSON"),
    ],
)
def test_several_workers_have_to_be_right_to_be_seen(configured, config, message):
    configured(config)
    with pytest.raises(ValueError, match=message):
        distribution.strategy()


def test_the_same_object_comes_back_and_other_devices_are_refused():
    made = distribution.strategy("mirrored", devices=["CPU:0"])
    assert made is distribution.strategy("mirrored", devices=("CPU:0",))
    assert made is distribution.strategy("mirrored")
    assert isinstance(made, tf.distribute.MirroredStrategy) and made.num_replicas_in_sync == 1
    with pytest.raises(ValueError, match=r"`devices` should be what it was.*'GPU:7',\) after \('C"):
        distribution.strategy("mirrored", devices=["GPU:7"])
    with made.scope():
        assert distribution.is_chief()
        for _ in range(2):
            with pytest.raises(ValueError, match="`name` should be that of the strategy in whose"):
                distribution.strategy("one")
    assert distribution.strategy("one") is tf.distribute.get_strategy()
    with made.scope(), pytest.raises(ValueError, match="`name` should be that of the strategy in"):
        distribution.strategy("one")


@pytest.mark.parametrize("name", ["multi_worker", "tpu"])
def test_a_process_has_one_strategy(name):
    distribution.strategy("one")
    distribution.strategy("mirrored", devices=["CPU:0"])
    message = rf"`name` should be 'one' or 'mirrored'.*Received: name='{name}' after 'mirrored'"
    with pytest.raises(ValueError, match=message):
        distribution.strategy(name)


def test_devices_have_the_names_that_they_have_elsewhere():
    made = distribution.strategy("mirrored", devices=["/device:CPU:0"])
    for name in ("CPU:0", "cpu:0", "/device:cpu:0"):
        assert made is distribution.strategy("mirrored", devices=[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("many", r"`name` should be one of \['one', 'mirrored', 'multi_worker', 'tpu', 'auto'\]"),
        (
            "parameter_server",
            f"of 'parameter_server', {REFUSED_STRATEGIES['ParameterServerStrategy']}",
        ),
        ("central_storage", "of 'central_storage', its replicas cannot assign to variables"),
        (3, r"`name` should be one of .*Received: name=3"),
    ],
)
def test_other_names_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        distribution.strategy(name)


def test_devices_have_to_exist():
    with pytest.raises(ValueError, match=r"`devices` should.*'CPU:0'.*Received: 'GPU:7'"):
        distribution.strategy("mirrored", devices=["GPU:7"])
    with pytest.raises(ValueError, match=r"each once.*Received: devices=\['CPU:0', 'cpu:0'\]"):
        distribution.strategy("mirrored", devices=["CPU:0", "cpu:0"])
    with pytest.raises(ValueError, match=r"at least one device.*Received: devices=\[\]; there are"):
        distribution.strategy("mirrored", devices=[])
    with pytest.raises(ValueError, match=r"`devices` should be a list.*Received: devices='CPU:0'"):
        distribution.strategy("mirrored", devices="CPU:0")
    with pytest.raises(ValueError, match=r"`devices` should be given with 'mirrored' only"):
        distribution.strategy(devices=["CPU:0"])
    with pytest.raises(ValueError, match=r"`tpu` should be given with 'tpu' only.*tpu='mine'"):
        distribution.strategy("one", tpu="mine")
    for wait in (-1, float("nan"), True, "1"):
        with pytest.raises(ValueError, match=r"`wait` should be a number of seconds. Received: wa"):
            distribution.strategy("one", wait=wait)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_all_gpus_are_none_where_there_is_no_gpu():
    with pytest.raises(ValueError, match=r"all GPUs are taken. Received: devices=None; there are"):
        distribution.strategy("mirrored")


def test_a_cpu_is_not_split_after_tensorflow_has_started():
    tf.constant(1)
    with pytest.raises(RuntimeError, match="Several CPUs should be asked for before anything else"):
        distribution.strategy("mirrored", devices=["CPU:0", "CPU:1"])


@pytest.mark.slow
def test_a_cpu_is_split_for_several_devices():
    printed = _printed("""
from mtlzoo import distribution
made = distribution.strategy("mirrored", devices=["CPU:0", "/device:cpu:1"])
print(made.num_replicas_in_sync, distribution.is_chief(made))
""")
    assert printed == "2 True\n"


CHANGES = [
    ("{", r"`TF_CONFIG` should be JSON \(Expecting"),
    ([], "should have a dict `cluster`"),
    ({"cluster": {"worker": "a:1"}, "task": FIRST}, "should have a list of 'host:port' as"),
    ({"cluster": {"worker": ["a"]}, "task": FIRST}, "should have a list of 'host:port' as"),
    *(
        ({"cluster": {"worker": [address]}, "task": FIRST}, "should have a list of 'host:port' as")
        for address in (":1", "2222", "", "a:", "a:0", "a:65536", "a:99999", "a:" + "9" * 5000, 1)
    ),
    ({"cluster": {"worker": ["a:1", "a:1"]}, "task": FIRST}, "should name each address once"),
    ({"cluster": {"chief": ["a:1"], "worker": ["a:1"]}, "task": FIRST}, "name each address once"),
    ({"cluster": {**TWO, "ps": ["a:1"]}, "task": FIRST}, "have no 'ps' in `cluster`, since param"),
    ({"cluster": {**TWO, "evaluator": ["a:1"]}, "task": FIRST}, "no 'evaluator' in `cluster`"),
    ({"cluster": {**TWO, "master": ["a:1"]}, "task": FIRST}, r"nothing but \['chief', 'worker'\]"),
    ({"cluster": {"worker": []}, "task": FIRST}, "have workers in `cluster`"),
    ({"cluster": {**TWO, "chief": ["a:1", "b:1"]}, "task": FIRST}, "and at most one chief"),
    ({"cluster": TWO}, r"have a `task` with `type`, one of \['worker'\], and `index`"),
    ({"cluster": TWO, "task": {"type": "chief", "index": 0}}, "have a `task` with `type`"),
    ({"cluster": TWO, "task": {"type": "worker"}}, "have a `task` with `type`"),
    *(
        ({"cluster": TWO, "task": {"type": "worker", "index": index}}, "have a `task` with `type`")
        for index in (True, None, 0.0, "", "-1", "first")
    ),
    ({"cluster": TWO, "task": {"type": "worker", "index": "2"}}, r"`task\['index'\]` from 0 to 1"),
    ({"cluster": TWO, "task": {"type": "worker", "index": 2}}, r"`task\['index'\]` from 0 to 1"),
    ({"cluster": TWO, "task": {"type": "evaluator", "index": 0}}, "not have 'evaluator' as `task"),
]


@pytest.mark.parametrize(("config", "message"), CHANGES)
def test_a_wrong_tf_config_is_an_error(configured, config, message):
    configured(config)
    with pytest.raises(ValueError, match=message) as caught:
        distribution.strategy("multi_worker")
    assert "Received: TF_CONFIG=" in str(caught.value)


def test_an_index_may_be_a_text_as_for_tensorflow(configured):
    configured({"cluster": TWO, "task": {"type": "worker", "index": "1"}, "environment": "cloud"})
    assert cluster.read()["task"] == {"type": "worker", "index": 1}
    assert strategies._checked(None) == "multi_worker"


def test_without_tf_config_there_are_no_workers():
    with pytest.raises(ValueError, match="environment variable `TF_CONFIG` should name the worker"):
        distribution.strategy("multi_worker")


def test_workers_come_before_anything_else(configured):
    tf.constant(1)
    configured({"cluster": {"worker": free_addresses(1)}, "task": FIRST})
    with pytest.raises(RuntimeError, match="'multi_worker' should be made before anything else is"):
        distribution.strategy("multi_worker")


def test_a_worker_that_does_not_come_is_named(configured):
    own, other = free_addresses(2)
    configured({"cluster": {"chief": [own], "worker": [other]}, "task": {**FIRST, "type": "chief"}})
    with pytest.raises(RuntimeError, match=f"within 0.5 s of each other .*Not reached:.*{other}"):
        distribution.strategy("multi_worker", wait=0.5)
    with socket.create_server(("127.0.0.1", int(other.partition(":")[2]))):
        cluster.wait_for_workers(cluster.read(), 0.5)
    with (
        socket.create_server(("", int(own.partition(":")[2]))),
        pytest.raises(RuntimeError, match=f"port of this worker in `TF_CONFIG` should.*'{own}'"),
    ):
        cluster.wait_for_workers(cluster.read(), 0.5)


class Workers(tf.distribute.MultiWorkerMirroredStrategy):
    """Some of several workers, of which there is only what is asked."""

    def __init__(self, jobs, kind, index):
        self.cluster_spec = lambda: tf.train.ClusterSpec(jobs)
        self.task_type, self.task_id = kind, index

    cluster_resolver = property(lambda self: self)


def test_the_first_worker_is_the_chief_unless_there_is_one():
    jobs = {"worker": ["a:1", "b:1"]}
    assert distribution.is_chief(Workers(jobs, "worker", 0))
    assert not distribution.is_chief(Workers(jobs, "worker", 1))
    jobs["chief"] = ["c:1"]
    assert distribution.is_chief(Workers(jobs, "chief", 0))
    assert not distribution.is_chief(Workers(jobs, "worker", 0))
    assert distribution.is_chief(Workers({}, None, None))


def test_a_tpu_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match=r"`tpu` should name a TPU.*Received: tpu='' \(ValueError"):
        distribution.strategy("tpu", tpu="")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pcgrad", "pcgrad, every 3", "embeddings", "infinite loss"])
def test_one_replica_of_a_strategy_trains_as_none(name):
    """Its variables are those of replicas, to which no branch may assign."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    if name == "infinite loss":
        strategy = distribution.strategy("mirrored", devices=["CPU:0"])
        found = OTHERS["infinite loss, guarded"](strategy)
        assert "The loss of task `stay` is not finite" in found["message"]
        assert found["finite"] and found["all"] == 0
        return
    setting = EQUAL[name] if name in EQUAL else Setting(balancer=PCGrad, data=HARD, evaluate=True)
    found = one_equals_several(setting, distribution.strategy("mirrored", devices=["CPU:0"]))
    assert max(found.values()) < 1e-12


def test_a_strategy_of_one_device_trains_as_none():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    found = one_equals_several(
        Setting(balancer=PCGrad, data=HARD), tf.distribute.OneDeviceStrategy("CPU:0")
    )
    assert max(found.values()) < 1e-12


REFUSED = """
import keras, numpy as np, tensorflow as tf
from mtlzoo import HardSharing, Regression
from recipes.parts.local_workers import free_addresses

worker, ps = free_addresses(2)
spec = tf.train.ClusterSpec({"worker": [worker], "ps": [ps]})
servers = [tf.distribute.Server(spec, job, 0, protocol="grpc") for job in ("worker", "ps")]
resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(spec, rpc_layer="grpc")
for make in (
    lambda: tf.distribute.experimental.CentralStorageStrategy(["CPU:0"], "CPU:0"),
    lambda: tf.distribute.ParameterServerStrategy(resolver),
):
    with make().scope():
        tasks = [Regression("a"), Regression("b")]
        model = HardSharing(keras.Input((6,)), tasks, shared_units=(8,))
        try:
            model.compile("sgd")
        except ValueError as error:
            print(error)
        plain = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        plain.compile("sgd", "mse")
try:
    plain.fit(np.ones((4, 6)), np.ones((4, 1)), verbose=0)
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_model_is_not_compiled_on_other_strategies():
    """On parameter servers, plain Keras does not train either."""
    central, server, plain = _printed(REFUSED).splitlines()
    for line in (central, server):
        assert line.startswith("The model should be made in the scope of a strategy that it can be")
    assert "Received: a CentralStorageStrategy; its replicas cannot assign" in central
    assert "Received: a ParameterServerStrategy; Keras's `fit` does not run on it" in server
    assert plain.startswith("To use this dataset, you need to pass this dataset to ClusterCoordina")
