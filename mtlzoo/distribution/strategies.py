"""Strategies by name: what `model.fit` runs on, and which process writes."""

import signal
import threading
from collections.abc import Sequence

import tensorflow as tf

from mtlzoo.distribution import cluster
from mtlzoo.distribution.devices import check_device, short_name
from mtlzoo.models.compile_checks import REFUSED_STRATEGIES

NAMES = ("one", "mirrored", "multi_worker", "tpu")
REFUSED = {
    "parameter_server": REFUSED_STRATEGIES["ParameterServerStrategy"],
    "central_storage": REFUSED_STRATEGIES["CentralStorageStrategy"],
}
# By name, with what it was asked for with: at most one, since TensorFlow numbers its collective
# operations by process, so that a second object gets in the way of the first.
_made: dict[str, tuple[tuple, tf.distribute.Strategy]] = {}


def strategy_names() -> list[str]:
    """The names that `strategy` knows.

    Example:
    ```python
    from mtlzoo import distribution

    assert distribution.strategy_names() == ["one", "mirrored", "multi_worker", "tpu"]
    ```
    """
    return list(NAMES)


def strategy(
    name: str | None = None,
    *,
    devices: Sequence[str] | None = None,
    tpu: str | None = None,
    wait: float = 300,
) -> tf.distribute.Strategy:
    """A strategy of TensorFlow by name, one object per process.

    Models are made and compiled in its `scope()`. Asked for again, the same object comes back.
    `"multi_worker"` has to be made before anything else is done with TensorFlow, and waits until
    all workers are there.

    Args:
        name: `"one"` (no strategy), `"mirrored"` (the devices of this machine), `"multi_worker"`
            (the workers that the environment variable `TF_CONFIG` names), `"tpu"`, or `"auto"`,
            which is `"multi_worker"` if `TF_CONFIG` has several workers, else `"one"`.
            Defaults to `None`, the same as `"auto"`.
        devices: of `"mirrored"`, such as `["GPU:0", "GPU:1"]`. Several CPUs, `["CPU:0", "CPU:1"]`,
            are parts of the one that the machine has; they are made here, if TensorFlow has not
            started yet. Defaults to all GPUs.
        tpu: of `"tpu"`, the name or address of the TPU; `"local"` on the machine that has it.
            Defaults to what the environment says.
        wait: of `"multi_worker"`, for how many seconds this one waits for the others to start.
            Defaults to 300.

    Raises:
        ValueError: for an unknown or refused name, devices that do not exist, a `TF_CONFIG` that
            is missing or says nothing usable, or another strategy or other devices than the first
            time.
        RuntimeError: if TensorFlow has started already, or a worker does not come.

    Example:
    ```python
    import keras

    from mtlzoo import HardSharing, Regression, distribution

    with distribution.strategy("mirrored", devices=["CPU:0"]).scope():
        tasks = [Regression("first"), Regression("second")]
        model = HardSharing(keras.Input((8,)), tasks, shared_units=(16,))
        model.compile("adam", balancer="pcgrad")
    ```
    """
    name = _checked(name)
    if devices is not None and name != "mirrored":
        raise ValueError(
            f"`devices` should be given with 'mirrored' only. Received: devices={devices!r} with "
            f"{name!r}"
        )
    if tpu is not None and name != "tpu":
        raise ValueError(f"`tpu` should be given with 'tpu' only. Received: tpu={tpu!r}")
    if isinstance(devices, str) or not all(isinstance(d, str) for d in devices or ()):
        raise ValueError(f"`devices` should be a list of names. Received: devices={devices!r}")
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait >= 0:
        raise ValueError(f"`wait` should be a number of seconds. Received: wait={wait!r}")
    if name == "one":
        return _one()  # depends on the scope, and is no object of its own
    asked = (None if devices is None else tuple(map(short_name, devices)), tpu)
    for other in _made:
        if other != name:
            raise ValueError(
                f"`name` should be 'one' or {other!r}, since a process can have one strategy only. "
                f"Received: name={name!r} after {other!r}"
            )
    if name in _made:
        before, made = _made[name]
        if asked != before and asked != (None, None):
            raise ValueError(
                f"`{'tpu' if name == 'tpu' else 'devices'}` should be what it was the first time, "
                "since a process can have one strategy only. "
                f"Received: {asked[name == 'tpu']!r} after {before[name == 'tpu']!r}"
            )
        return made
    if name == "mirrored":
        made = _mirrored(devices)
    elif name == "multi_worker":
        made = _multi_worker(wait)
    else:
        made = _tpu(tpu)
    _made[name] = asked, made
    return made


def is_chief(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Whether this process is the one that writes files and prints.

    Args:
        strategy: what is run on. Defaults to that of the scope that one is in.

    Example:
    ```python
    from mtlzoo import distribution

    if distribution.is_chief():
        print("one of the workers says so")
    ```
    """
    strategy = strategy or tf.distribute.get_strategy()
    resolver = strategy.cluster_resolver
    if resolver is None or not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    jobs = resolver.cluster_spec().as_dict()
    first = "chief" if "chief" in jobs else "worker"
    return not jobs or (resolver.task_type, resolver.task_id) == (first, 0)


def _checked(name: str | None) -> str:
    if name in (None, "auto"):
        return "multi_worker" if cluster.has_several_workers() else "one"
    if name in REFUSED:
        raise ValueError(
            f"`name` should be one of {[*NAMES, 'auto']}: of '{name}', {REFUSED[name]}. "
            f"Received: name={name!r}"
        )
    if name not in NAMES:
        raise ValueError(f"`name` should be one of {[*NAMES, 'auto']}. Received: name={name!r}")
    return name


def _one() -> tf.distribute.Strategy:
    if tf.distribute.has_strategy():
        raise ValueError(
            "`name` should be that of the strategy in whose scope this is called. "
            f"Received: name='one' in the scope of {tf.distribute.get_strategy()!r}"
        )
    return tf.distribute.get_strategy()


def _mirrored(devices: Sequence[str] | None) -> tf.distribute.Strategy:
    if devices is not None:
        _split_cpu(devices)
        chosen = [check_device("devices", name) for name in devices]
    else:
        chosen = [device.name for device in tf.config.list_logical_devices("GPU")]
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            "`devices` should be at least one device, each once; without them all GPUs are taken. "
            f"Received: devices={devices and list(devices)!r}; there are "
            f"{[short_name(device.name) for device in tf.config.list_logical_devices()]}"
        )
    return tf.distribute.MirroredStrategy(chosen)


def _split_cpu(devices: Sequence[str]) -> None:
    """Make as many logical CPUs as the devices name, where it is still possible."""
    named = [short_name(device) for device in devices]
    numbers = [name.removeprefix("CPU:") for name in named if name.startswith("CPU:")]
    count = max((int(n) + 1 for n in numbers if n.isdecimal()), default=1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    if count < 2 or tf.config.get_logical_device_configuration(cpu):
        return
    parts = [tf.config.LogicalDeviceConfiguration()] * count
    try:
        tf.config.set_logical_device_configuration(cpu, parts)
    except RuntimeError:
        raise RuntimeError(
            "Several CPUs should be asked for before anything else is done with TensorFlow, which "
            f"has started already. Received: devices={list(devices)!r}"
        ) from None


def _multi_worker(wait: float) -> tf.distribute.Strategy:
    cluster.wait_for_workers(cluster.read(), wait)
    before = signal.getsignal(signal.SIGTERM)
    try:
        made = tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise RuntimeError(
            "The strategy 'multi_worker' should be made before anything else is done with "
            "TensorFlow, which has started already: make it in the program's first lines, before "
            "tensors, variables, data sets and models."
        ) from error
    # TensorFlow has taken the signal for itself, and a worker would not end when told to.
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
    return made


def _tpu(tpu: str | None) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        if tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(
            "`tpu` should name a TPU that can be reached, or be 'local' on the machine that has "
            f"it. Received: tpu={tpu!r} ({type(error).__name__}: {error})"
        ) from error
    return tf.distribute.TPUStrategy(resolver)
