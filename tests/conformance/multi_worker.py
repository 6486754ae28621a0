"""Trains a small model and writes its logs and weights as JSON, alone or as one worker of two:

python -m conformance.multi_worker OUT [INDEX ADDRESS ADDRESS]
"""

import json
import os
import pathlib
import sys

import keras
import tensorflow as tf

from conformance.replica_settings import HARD, Setting, copies
from mtlzoo import PCGrad


def main(out: str, *cluster: str) -> None:
    strategy = None
    if cluster:
        index, *addresses = cluster
        task = {"type": "worker", "index": int(index)}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    keras.config.set_floatx("float64")
    setting = Setting(balancer=PCGrad, data=HARD, compile={"steps_per_execution": 3})
    model = setting.compiled(strategy)
    history = model.fit(setting.dataset(model), epochs=2, verbose=0).history
    weights = [v.tolist() for v in copies(model.trainable_variables)]
    pathlib.Path(out).write_text(json.dumps({"history": history, "weights": weights}))


if __name__ == "__main__":
    main(*sys.argv[1:])
