"""How long a training step takes beside TorchJD and LibMTL: same network, batch and threads.

The peers run in another process, in an environment of their own, and the steps in turns, so that a
noisy machine disturbs both alike. Each cell is the median of the rounds' ratios.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install torch "torchjd[full]" LibMTL
    python -m benchmarks.peers --peers=/tmp/peers/bin/python [--network=mlp] [--tasks=8]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import pathlib
import subprocess
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from benchmarks.networks import convolutions, fully_connected, training_step
from benchmarks.peers_methods import LIBMTL, TORCHJD
from mtlzoo import MultiTaskModel, Regression, balancing
from mtlzoo.balancing import Balancer
from mtlzoo.balancing.arguments import LEVELS

FLAGS = flags.FLAGS
flags.DEFINE_string("peers", None, "Python with torch, torchjd and LibMTL.", required=True)
flags.DEFINE_enum("network", "mlp", ["mlp", "cnn"], "Fully connected, or three convolutions.")
flags.DEFINE_integer("tasks", 8, "Number of tasks.")
flags.DEFINE_integer("batch", 0, "Rows in a batch; 0 for 1024 (mlp) or 64 (cnn).")
flags.DEFINE_enum("level", "parameters", LEVELS, "What gradients are taken by.")
flags.DEFINE_list("methods", [], "Methods; none for all that a peer has.")
flags.DEFINE_integer("rounds", 15, "Rounds of measurements.")
flags.DEFINE_integer("steps", 5, "Training steps in each measurement.")
flags.DEFINE_integer("threads", 2, "Threads of either side.")
flags.DEFINE_bool("jit", False, "Compile our steps with XLA.")


class Peer:
    """The process with the peers."""

    def __init__(self, python: str, threads: int) -> None:
        program = pathlib.Path(__file__).with_name("peers_torch.py")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [python, str(program), str(threads)], stdin=pipe, stdout=pipe, text=True
        )

    def ask(self, **request):
        """Send a request and wait for its answer."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        while True:
            line = self.process.stdout.readline()
            try:
                return json.loads(line)
            except json.JSONDecodeError:  # what a library printed
                if not line:
                    raise RuntimeError("The process with the peers has ended.") from None


def model_of(network: str, tasks: int, balancer: Balancer | str) -> MultiTaskModel:
    """The network of `peers_torch`, with a balancer."""
    if network == "mlp":
        inputs = keras.Input((64,))
        hidden = fully_connected(inputs, (512, 512, 256))
    else:
        inputs = keras.Input((32, 32, 3))
        hidden = convolutions(inputs)
    kinds = [Regression(f"t{i}", metrics=[]) for i in range(tasks)]
    outputs = {task.name: task.head(hidden) for task in kinds}
    model = MultiTaskModel(inputs, outputs, tasks=kinds)
    model.compile(keras.optimizers.SGD(1e-3), balancer=balancer, jit_compile=FLAGS.jit)
    return model


def runner(model: MultiTaskModel, batch: int):
    """A function that runs training steps of `model`, and gives the seconds of one."""
    step = training_step(model, batch)

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - start) / steps

    run(3)
    return run


def compare(
    peer: Peer, ours: str, theirs: list[str], batch: int
) -> tuple[float, dict[str, tuple[float, float]]]:
    """The median seconds of our step; and of each peer's that there is, with the median of the
    rounds' ratios to ours.
    """
    run = runner(model_of(FLAGS.network, FLAGS.tasks, balancer_of(ours)), batch)
    own, found = [], {}
    for method in theirs:
        setting = {"network": FLAGS.network, "tasks": FLAGS.tasks, "batch": batch}
        answer = peer.ask(**setting, method=method, level=FLAGS.level)
        if answer != "ready":
            print(f"{method}: {answer}")
            continue
        rounds = [(peer.ask(steps=FLAGS.steps), run(FLAGS.steps)) for _ in range(FLAGS.rounds)]
        ratios = [of_peer / of_ours for of_peer, of_ours in rounds]
        found[method] = (float(np.median([r[0] for r in rounds])), float(np.median(ratios)))
        own += [of_ours for _, of_ours in rounds]
    own = own or [run(FLAGS.steps) for _ in range(FLAGS.rounds)]
    keras.backend.clear_session()
    return float(np.median(own)), found


def balancer_of(name: str) -> Balancer:
    """The balancer at the level that was asked for."""
    found = balancing.get(name)
    if found.gradient_part is not None and FLAGS.level != found.wrt:
        found = type(found)(wrt=FLAGS.level)
    return found


def main(argv):
    """Measure and print."""
    del argv
    logging.set_verbosity(logging.WARNING)
    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
    batch = FLAGS.batch or {"mlp": 1024, "cnn": 64}[FLAGS.network]
    peer = Peer(FLAGS.peers, FLAGS.threads)
    at_parameters = FLAGS.level == "parameters"
    methods = FLAGS.methods or sorted({*(TORCHJD if at_parameters else ()), *LIBMTL})
    print(
        f"{FLAGS.network}, {FLAGS.tasks} tasks, batches of {batch}, {FLAGS.level} level, "
        f"{FLAGS.threads} threads{', XLA' if FLAGS.jit else ''}: ms of a step, "
        "and the peers' as ratios to ours"
    )
    seconds, found = compare(peer, "equal", ["torch"], batch)
    print(f"{'equal':14}{seconds * 1e3:8.1f}{'plain torch':>16}", end="")
    print(f"{found['torch'][0] * 1e3:8.1f}{found['torch'][1]:7.2f}")
    for method in methods:
        theirs = [
            f"{library} {method}"
            for library, names in (("torchjd", TORCHJD), ("libmtl", LIBMTL))
            if method in names and (at_parameters or library == "libmtl")
        ]
        seconds, found = compare(peer, method, theirs, batch)
        line = f"{method:14}{seconds * 1e3:8.1f}"
        for name, (of_peer, ratio) in found.items():
            line += f"{name.split()[0]:>16}{of_peer * 1e3:8.1f}{ratio:7.2f}"
        print(line, flush=True)
    peer.process.stdin.close()


if __name__ == "__main__":
    app.run(main)
