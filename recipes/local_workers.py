"""Several workers on this machine, for recipes and tests that start them all."""

import json
import socket


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
