"""Scheduled trainings on one replica and on two, in float64:
`python -m training.scheduled_replicas CASE ...`.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf
from training.scheduled import compiled, fitted, mixed

from mtlzoo.training import EXP3, LearningSpeed, RoundRobin

# By case the policy, what it acts through, and arguments of `compile`.
CASES = {
    "mixture": (lambda: EXP3(step_size=2.0), mixed, {"balancer": "pcgrad"}),
    "mixture, two at once": (RoundRobin, mixed, {"steps_per_execution": 2}),
    "weights": (lambda: LearningSpeed(2.0), lambda: "weights", {"balancer": "dwa"}),
    "selection": (LearningSpeed, lambda: "selection", {"balancer": "mgda"}),
}


def trained(case, strategy):
    """The variables after some epochs, the logs, and the shares."""
    policy, through, arguments = CASES[case]
    with strategy.scope():
        model = compiled(**arguments)
    scheduler, model, logs = fitted(policy(), through(), model, every=2)
    shares = [scheduler.history["shares"][name] for name in sorted(scheduler.shares)]
    return [v.numpy() for v in model.variables], [logs[k] for k in sorted(logs)], shares


def distance(one, other) -> float:
    """The largest difference; NaN of a task without labels is the same as NaN."""
    pairs = [
        (np.asarray(a, "float64"), np.asarray(b, "float64"))
        for a, b in zip(one, other, strict=True)
    ]
    assert all((np.isnan(a) == np.isnan(b)).all() for a, b in pairs)
    return max(
        float(np.max(np.abs(np.nan_to_num(a) - np.nan_to_num(b)), initial=0)) for a, b in pairs
    )


def main(chosen) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    keras.config.set_floatx("float64")
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for case in chosen:
        try:
            one, other = trained(case, tf.distribute.get_strategy()), trained(case, two)
            found = {
                name: distance(a, b)
                for name, a, b in zip(("variables", "logs", "shares"), one, other, strict=True)
            }
            found["spread"] = float(np.ptp(one[2][0]))
        except Exception as error:  # the other cases still run
            found = {"error": f"{type(error).__name__}: {error}"[-1500:]}
        print(json.dumps({"case": case, **found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
