"""Do the tests notice mistakes? Put some into a module, one at a time, and run its tests.

    .venv/bin/pip install cosmic-ray
    .venv/bin/python .ci/mutation.py mtlzoo/balancing/quadratic.py tests/balancing/test_quadratic.py

Cosmic Ray finds every place where an operator, a comparison, a number or a condition could be
another. Of these a sample is tried in a copy of the checkout: the tests run, and should fail. What
they let pass is printed as a diff, to be read: a test is missing, or the change means nothing.
"""

import argparse
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIG = """
[cosmic-ray]
module-path = "{module}"
timeout = {timeout}
excluded-modules = []
test-command = "{python} -m pytest -q -x -p no:cacheprovider {tests}"

[cosmic-ray.distributor]
name = "local"
"""
# Operators of which Cosmic Ray has a dozen for each place: those a hand might write by mistake.
UNLIKELY = ("RShift", "LShift", "BitXor", "FloorDiv", "_Mod", "_Pow", "_Is", "Invert", "UAdd")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", help="the file to put mistakes into")
    parser.add_argument("tests", nargs="+", help="the tests that should notice")
    parser.add_argument("--mutants", type=int, default=40, help="how many to try")
    parser.add_argument("--seed", type=int, default=0, help="which")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        subprocess.run(["git", "clone", "-q", ROOT, folder / "copy"], check=True)
        config = folder / "config.toml"
        names = {"module": args.module, "timeout": args.timeout, "python": sys.executable}
        config.write_text(CONFIG.format(tests=" ".join(args.tests), **names))
        ray = str(pathlib.Path(sys.executable).with_name("cosmic-ray"))
        session = folder / "session.sqlite"
        run = {"cwd": folder / "copy", "check": True}
        subprocess.run([ray, "init", config, session], **run)
        subprocess.run([ray, "baseline", config], **run)
        with use_db(session, WorkDB.Mode.open) as db:
            choose(db, args.mutants, args.seed)
        subprocess.run([ray, "exec", config, session], **run)
        with use_db(session, WorkDB.Mode.open) as db:
            tell(db, args.module)
    finally:
        shutil.rmtree(folder)


def choose(db: WorkDB, count: int, seed: int) -> None:
    """Leave out all but a sample, one mistake for each place in the file."""
    places: dict = {}
    for item in db.work_items:
        (mutation,) = item.mutations
        if not any(word in mutation.operator_name for word in UNLIKELY):
            places.setdefault((mutation.start_pos, mutation.end_pos), []).append(item.job_id)
    rng = random.Random(seed)
    chosen = {
        rng.choice(places[place]) for place in rng.sample(sorted(places), min(count, len(places)))
    }
    skipped = WorkResult(WorkerOutcome.SKIPPED)
    for item in db.work_items:
        if item.job_id not in chosen:
            db.set_result(item.job_id, skipped)


def tell(db: WorkDB, module: str) -> None:
    """Print what was noticed, and the diff of what was not."""
    results = [result for _, result in db.results if result.worker_outcome != WorkerOutcome.SKIPPED]
    passed = [result for result in results if result.test_outcome == TestOutcome.SURVIVED]
    for result in passed:
        print(result.diff)
    print(f"{module}: {len(results) - len(passed)} of {len(results)} mistakes were noticed")


if __name__ == "__main__":
    main()
