"""Peak memory of training with each balancer, beside plain Keras.

Each case runs in a process of its own, whose peak resident memory is read at the end; the model is
that of `benchmarks.step_time`.

    python -m benchmarks.step_memory [--tasks=2,4,8] [--methods=all]
"""

import resource
import subprocess
import sys

from absl import app, flags

from benchmarks import step_time

FLAGS = flags.FLAGS
flags.DEFINE_string("case", None, "Run this case alone and print its peak memory in MiB.")


def peak(case: str, tasks: int) -> float:
    """Peak memory of one case in MiB, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.step_memory", f"--case={case}", f"--tasks={tasks}"]
    command += [f"--methods={','.join(FLAGS.methods)}", f"--network={FLAGS.network}"]
    command += [f"--jit={str(FLAGS.jit).lower()}"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def main(argv):
    """Measure and print."""
    del argv
    if FLAGS.case:
        (tasks,) = map(int, FLAGS.tasks)
        step_time.runner(step_time.cases()[FLAGS.case](tasks))(10)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    print("Peak resident memory, MiB, and what is above plain Keras")
    print("".ljust(20) + "".join(f"{f'T = {t}':>20}" for t in FLAGS.tasks))
    plain = {}
    for case in step_time.cases():
        line = case.ljust(20)
        for tasks in map(int, FLAGS.tasks):
            measured = peak(case, tasks)
            plain.setdefault(tasks, measured)
            line += f"{measured:12.0f}{measured - plain[tasks]:+8.0f}"
        print(line, flush=True)


if __name__ == "__main__":
    app.run(main)
