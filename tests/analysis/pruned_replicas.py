"""Pruned models trained on two logical devices, in a process of their own."""

import json

import keras
import numpy as np
import tensorflow as tf


def main() -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.analysis import GradualPruning, KeepZeros, prune_weights, sparsity_of
    from mtlzoo.analysis.simplification.magnitudes import kernels_of

    keras.utils.set_random_seed(0)
    rows = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
    labels = {"click": (rows[:, :1] > 0).astype("int32"), "stay": rows[:, 1:2]}
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    sparsities = []
    with strategy.scope():
        tasks = [BinaryClassification("click"), Regression("stay")]
        dense = HardSharing(keras.Input((6,)), tasks, shared_units=(10,), tower_units=())
        pruned = prune_weights(dense, 0.7)
        pruned.compile(keras.optimizers.Adam(0.05), balancer="pcgrad")
        dense.compile("adam")
    kernels = kernels_of(pruned, "all")
    before = [np.array(keras.ops.convert_to_numpy(kernel)) for kernel in kernels]
    pruned.fit(rows, labels, batch_size=8, verbose=0, callbacks=[KeepZeros()])
    after = [
        [np.array(copy) for copy in strategy.experimental_local_results(kernel.value)]
        for kernel in kernels
    ]
    zeros = all(
        (copy[old == 0] == 0).all()
        for old, copies in zip(before, after, strict=True)
        for copy in copies
    )
    moved = [bool((copies[0] != old).any()) for old, copies in zip(before, after, strict=True)]
    sparsities.append(round(sparsity_of(pruned), 2))
    pruning = GradualPruning(0.7, steps=3, every=1)
    dense.fit(rows, labels, batch_size=8, verbose=0, callbacks=[pruning])
    sparsities.append(round(sparsity_of(dense), 2))
    found = {
        "replicas": strategy.num_replicas_in_sync,
        "zeros": bool(zeros),
        "moved": moved,
        "sparsity": sparsities,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
