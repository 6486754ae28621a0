"""Processes on this machine, for recipes and tests that start several workers."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Sequence


def free_addresses(count: int) -> list[str]:
    """Addresses on ports of this machine that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def environments(workers: int) -> list[dict[str, str]]:
    """What each of some workers has in its environment to know of the others."""
    cluster = {"worker": free_addresses(workers)}
    return [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})}
        for index in range(workers)
    ]


def run(command: Sequence[str], out: pathlib.Path, workers: int) -> None:
    """Run a command in new processes, and wait for all.

    Args:
        command: the same for each of them.
        out: the folder for what each says, `process_0.log` and so on.
        workers: how many processes, each of which is told of the others by `TF_CONFIG`.

    Raises:
        RuntimeError: if one of them fails or is ended; the others are ended then.
    """
    added_to_each = [{}] if workers == 1 else environments(workers)
    inherited = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    out.mkdir(parents=True, exist_ok=True)
    logs = [out / f"process_{index}.log" for index in range(workers)]
    started = []
    try:
        for log, added in zip(logs, added_to_each, strict=True):
            with log.open("w") as errors:
                process = subprocess.Popen(command, env={**inherited, **added}, stderr=errors)
            started.append(process)
        while any(process.poll() is None for process in started):
            if any(process.poll() for process in started):
                break
            time.sleep(0.1)
    finally:
        killed = [process for process in started if process.poll() is None]
        for process in killed:
            process.kill()
    for process, log in zip(started, logs, strict=True):
        code = process.wait()
        if code and process not in killed:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else "failed"
            raise RuntimeError(f"{' '.join(command)} {how}, see {log}:\n{log.read_text()[-3000:]}")
