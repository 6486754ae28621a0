"""What `import mtlzoo` adds to importing Keras with TensorFlow, in seconds.

The median over new processes.

python -m benchmarks.import_time
"""

import statistics
import subprocess
import sys

CODE = """
import time, keras, tensorflow
start = time.perf_counter()
import mtlzoo
print(time.perf_counter() - start)
"""


def main():
    """Measure and print."""
    runs = [
        float(
            subprocess.run(
                [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(5)
    ]
    median = statistics.median(runs)
    print(f"import mtlzoo: {median:.3f} s (from {min(runs):.3f} to {max(runs):.3f})")


if __name__ == "__main__":
    main()
