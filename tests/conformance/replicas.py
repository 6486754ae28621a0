"""One replica against two, in a process of its own: `python -m conformance.replicas`.

Logical devices must be made before TensorFlow starts, and there may be only one strategy object,
since the collective keys of several collide in one process. Every case prints one line of JSON:
its name and its largest differences by what was compared, or the error that it ended with.

SGD without momentum in float64, because Adam hides a gradient that is R times too large, and the
rounding of float32 hides small faults.
"""

import json
import sys

import keras
import tensorflow as tf

from conformance.registry import THROUGH_ALL
from conformance.replica_events import OTHERS
from conformance.replica_settings import EQUAL, Setting, copies, distance, state


def run(setting: Setting, strategy):
    model = setting.compiled(strategy)
    start = copies(model.trainable_variables)
    data = setting.dataset(model)
    history = model.fit(data, epochs=setting.epochs, verbose=0).history
    found = {
        "weights": copies(state(model)),
        "task weights": [list(model.task_weights.values())],
        "history": [history[key] for key in sorted(history)],
        "moved": [distance(copies(model.trainable_variables), start)],
    }
    if setting.evaluate:
        logs = model.evaluate(data, verbose=0, return_dict=True)
        found["evaluate"] = [logs[key] for key in sorted(logs)]
    return found


def one_equals_two(setting: Setting, strategy) -> dict:
    one, two = run(setting, None), run(setting, strategy)
    assert one["moved"][0] > 1e-3, "nothing was trained"
    return {what: distance(one[what], two[what]) for what in one}


# Every module, and what the others do not contain; a few seconds each, since every one traces a
# step for two devices.
QUICK = [
    *(f"model {name}" for name in THROUGH_ALL),
    # Those that make the step do more than to weigh gradients.
    *(f"balancer {name}" for name in ("auto_lambda", "combined", "famo", "moco", "modo")),
    "embeddings, pcgrad",
    "together",
    "refused",
    "absent task is untouched",
    "infinite loss, guarded",
    "half precision",
]


def main(chosen) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    keras.config.set_floatx("float64")
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for name in chosen or [*EQUAL, *OTHERS]:
        try:
            if name in EQUAL:
                found = one_equals_two(EQUAL[name], strategy)
            else:
                found = OTHERS[name](strategy)
        except Exception as error:  # the other cases still run
            found = {"error": f"{type(error).__name__}: {error}"[-1500:]}
        print(json.dumps({"case": name, **found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
