"""What `import mtlzoo` adds to importing Keras with TensorFlow, in seconds; the median of new processes.

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
    print(
        f"import mtlzoo: {statistics.median(runs):.3f} s (runs from {min(runs):.3f} to {max(runs):.3f})"
    )


if __name__ == "__main__":
    main()
