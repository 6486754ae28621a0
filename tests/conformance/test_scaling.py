"""The formulas of `benchmarks/scaling.py` are those of the traced steps."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scaling import KINDS, RECOMMENDER, RESNET, flops, gathered, summed

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_formulas_are_what_is_traced():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", "--tasks=3"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = re.findall(r"^(mlp|cnn): (.*?) +(\S+) +(\S+)$", done.stdout, re.M)
    assert [(network, kind) for network, kind, *_ in rows] == [
        (network, kind) for network in ("mlp", "cnn") for kind in KINDS
    ]
    assert {ratio for *_, work, sent in rows for ratio in (work, sent)} == {"1.000"}


@pytest.mark.parametrize("network", [RESNET, RECOMMENDER], ids=["residual", "recommender"])
def test_what_costs_more(network):
    """Beside losses: nothing at features level, T backward passes and gradients at the other."""
    base, sent = flops("losses", network, 4), summed("losses", network, 4)
    assert summed("features", network, 4) == sent
    assert base <= flops("features", network, 4) < 1.01 * base
    assert 2.5 * base < flops("parameters", network, 4) < 3.1 * base
    assert summed("parameters", network, 4) - sent == 4 * 4 * sum(network.shared)
    kept = flops("parameters, every 4", network, 4), summed("parameters, every 4", network, 4)
    assert base < kept[0] < flops("parameters", network, 4)
    assert sent < kept[1] < summed("parameters", network, 4)


def test_only_looked_up_rows_are_gathered():
    assert gathered("parameters", RESNET, 4) == gathered("features", RECOMMENDER, 4) == 0
    assert gathered("parameters", RECOMMENDER, 4) == 4 * 1024 * 26 * (4 * 16 + 1)
