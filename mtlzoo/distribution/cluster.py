"""The workers that the environment variable `TF_CONFIG` names."""

import json
import os
import socket
import time
from typing import Any

_EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)
_KINDS = ("chief", "worker")
_REFUSED = {
    "ps": "parameter servers are not supported",
    "evaluator": "each worker evaluates its own part of the data",
}


def has_several_workers() -> bool:
    """Whether `TF_CONFIG` is there and names more than one worker; only then it is checked.

    Some platforms set it for a process that is alone, without workers.

    Raises:
        ValueError: if it is not JSON, or names several workers and cannot be used.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return False
    config = _parsed(text)
    jobs = config.get("cluster") if isinstance(config, dict) else None
    found = [jobs.get(kind) for kind in _KINDS] if isinstance(jobs, dict) else []
    # What is no list is counted too, for the check to name it.
    if sum(len(hosts) for hosts in found if isinstance(hosts, list | dict | str)) < 2:
        return False
    read()
    return True


def addresses(config: dict[str, Any]) -> list[str]:
    """The addresses of all workers, the chief's first."""
    return [address for kind in _KINDS for address in config["cluster"].get(kind, [])]


def read() -> dict[str, Any]:
    """The contents of `TF_CONFIG`, checked; the index is an integer.

    Raises:
        ValueError: if it is missing or cannot be used.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise ValueError(
            "The environment variable `TF_CONFIG` should name the workers and say which of them "
            f"this is, as in {_EXAMPLE}. Received: none"
        )
    config = _parsed(text)
    jobs = config.get("cluster") if isinstance(config, dict) else None
    if not isinstance(jobs, dict):
        raise _wrong("have a dict `cluster`", text)
    for kind, hosts in jobs.items():
        if kind in _REFUSED:
            raise _wrong(f"have no '{kind}' in `cluster`, since {_REFUSED[kind]}", text)
        if kind not in _KINDS:
            raise _wrong(f"have nothing but {list(_KINDS)} in `cluster`", text)
        if not isinstance(hosts, list) or not all(_is_address(host) for host in hosts):
            raise _wrong(f"have a list of 'host:port' as `cluster['{kind}']`", text)
    if len(jobs.get("chief", [])) > 1 or not addresses(config):
        raise _wrong("have workers in `cluster`, and at most one chief", text)
    if len(set(addresses(config))) < len(addresses(config)):
        raise _wrong("name each address once", text)
    task = config.get("task")
    kind, index = (task.get("type"), task.get("index")) if isinstance(task, dict) else (None, None)
    if kind in _REFUSED:
        raise _wrong(f"not have '{kind}' as `task['type']`, since {_REFUSED[kind]}", text)
    if isinstance(index, str) and index.isdecimal():
        index = int(index)  # as TensorFlow does
    if not isinstance(kind, str) or kind not in jobs or type(index) is not int:
        raise _wrong(f"have a `task` with `type`, one of {list(jobs)}, and `index`", text)
    if not 0 <= index < len(jobs[kind]):
        raise _wrong(f"have a `task['index']` from 0 to {len(jobs[kind]) - 1}", text)
    return {**config, "task": {**task, "index": index}}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _wrong(f"be JSON ({error})", text) from None


def _is_address(host: Any) -> bool:
    name, _, port = host.rpartition(":") if isinstance(host, str) else ("", "", "")
    return bool(name) and port.isdecimal() and 0 < int(port[:6]) < 2**16


def _wrong(what: str, text: str) -> ValueError:
    return ValueError(f"`TF_CONFIG` should {what}, as in {_EXAMPLE}. Received: TF_CONFIG={text!r}")


def wait_for_workers(config: dict[str, Any], seconds: float) -> None:
    """Return when all workers have started; TensorFlow says nothing for half an hour and more.

    Each listens at its own address, where TensorFlow will, until it has reached all others. One
    that is further already is reached all the same: there TensorFlow itself listens.

    Raises:
        RuntimeError: if a worker does not come, or the own address cannot be listened at.
    """
    task = config["task"]
    own = config["cluster"][task["type"]][task["index"]]
    missing = [address for address in addresses(config) if address != own]
    if not missing:
        return
    end = time.monotonic() + seconds
    with _listening(own):
        while missing := [address for address in missing if not _reached(address)]:
            if time.monotonic() > end:
                raise RuntimeError(
                    f"All workers of `TF_CONFIG` should start within {seconds:g} s of each other "
                    f"(the argument `wait`). Not reached: {missing}"
                )
            time.sleep(0.2)


def _listening(address: str) -> socket.socket:
    port = int(address.rpartition(":")[2])
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise RuntimeError(
            "The port of this worker in `TF_CONFIG` should be free. "
            f"Received: {address!r} ({error})"
        ) from error


def _reached(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError:
        return False
    return True
