"""A learner on one replica and on two, in float64, prints how far the two are apart:
`python tests/online/online_on_replicas.py`.
"""

import json

import keras
import numpy as np
import tensorflow as tf
from stream_models import compiled, elements, rows, weights

from mtlzoo.online import HeldBack, OnlineLearner, Publishing, Reservoir, Windows


class Kept:
    """Versions that are only counted."""

    used = 0

    def publish(self, made, info=None):
        self.used += 1
        return self.used

    def newest(self):
        return self.used or None

    def numbers(self):
        return list(range(1, self.used + 1))

    def info(self, number):
        return {}

    def roll_back(self):
        raise AssertionError


def learned(strategy):
    with strategy.scope():
        made = compiled("pcgrad")
    learner = OnlineLearner(
        made,
        Windows(rows=48),
        batch_size=15,
        window=60,
        replay=Reservoir(40, ratio=0.4),
        held_back=HeldBack(5),
        versions=Kept(),
        publishing=Publishing(every_rows=60, least_labels=5),
    )
    history = learner.run(elements(*rows(240, missing=0.3), 16))
    return weights(made), history


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, devices)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    two, history = learned(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    one, other = learned(tf.distribute.get_strategy())
    pairs = [(a, b) for a, b in zip(one, two, strict=True) if a.dtype.kind == "f"]
    losses = [each.series("stay", "rmse")[1] for each in (history, other)]
    print(
        json.dumps(
            {
                "weights": max(float(np.abs(a - b).max()) for a, b in pairs),
                "metrics": float(np.abs(np.subtract(*losses)).max()),
                "counts": history.counts == other.counts,
                "learned": history.counts["learned"],
                "published": history.counts["published"],
            }
        )
    )


if __name__ == "__main__":
    main()
