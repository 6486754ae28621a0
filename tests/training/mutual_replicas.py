"""Mutual learning on one replica and on two, in float64: `python -m mutual_replicas`."""

import json

import keras
import numpy as np
import tensorflow as tf

from mtlzoo import BinaryClassification, Classification, HardSharing, Regression
from mtlzoo.training import MutualLearning


def trained(strategy, balancer: str) -> list:
    """The weights and logs after two epochs of batches that do not divide evenly."""
    rng = np.random.default_rng(0)
    x = {view: rng.normal(size=(21, 4)) for view in ("image", "text")}
    y = {
        "kind": rng.integers(-1, 2, 21),
        "genre": np.where(np.arange(21) < 9, rng.integers(0, 3, 21), -1),
        "stay": np.where(np.arange(21) % 2, rng.normal(size=21), np.nan),
    }
    keras.utils.set_random_seed(0)
    with strategy.scope():
        members = {}
        for view in x:
            tasks = [BinaryClassification("kind"), Classification("genre", 3)]
            tasks += [Regression("stay")] if view == "text" else []
            inputs = keras.Input((4,), name=view)
            members[view] = HardSharing(inputs, tasks, shared_units=(5,), name=f"{view}_model")
        model = MutualLearning(members, temperature=2.0)
        model.compile(keras.optimizers.SGD(0.05), balancer, jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(5)
    history = model.fit(data, epochs=2, verbose=0, validation_data=data).history
    logs = [history[key] for key in sorted(history) if key.endswith("loss")]
    return [*(v.numpy() for v in model.trainable_variables), np.array(logs)]


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    keras.config.set_floatx("float64")
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for balancer in ("equal", "pcgrad"):
        one, other = (trained(each, balancer) for each in (tf.distribute.get_strategy(), two))
        apart = max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))
        print(json.dumps({"case": balancer, "apart": apart}), flush=True)


if __name__ == "__main__":
    main()
