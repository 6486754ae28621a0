"""Input work on other machines, with the service of tf.data.

Run `python -m mtlzoo.data.service dispatcher` on one machine and `python -m mtlzoo.data.service
worker` on as many as there should be; `mtlzoo.data.distribute` sends a data set's work there.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from mtlzoo.data.arguments import check_count
from mtlzoo.data.elements import check_elements

if TYPE_CHECKING:
    import tensorflow as tf

PORT = 5050
SHARING = ("once", "independent")


def distribute(
    dataset: tf.data.Dataset,
    address: str,
    *,
    sharing: str = "once",
    job: str | None = None,
    consumers: int | None = None,
    consumer: int | None = None,
) -> tf.data.Dataset:
    """Have the workers of a tf.data service compute a data set.

    What is read, decoded, preprocessed and augmented runs on the workers; the training gets
    finished batches, in no fixed order. Files that the data set reads must have the same paths on
    the workers. What counts rows or batches, as `resample` and `take` do, would count on each
    worker: apply it to what this function gives. A step with a seed draws the same numbers on each
    worker, though for other batches. Start a service with

    ```bash
    python -m mtlzoo.data.service dispatcher --port=5050
    python -m mtlzoo.data.service worker --dispatcher=localhost:5050
    ```

    Args:
        dataset: Batches `(x, y)` or `(x, y, sample_weight)`.
        address: Of the dispatcher, such as `"localhost:5050"`.
        sharing: `"once"`: each batch of an epoch comes from one of the workers, once;
            `"independent"`: each worker runs through the whole data set. Defaults to `"once"`.
        job: A name by which several trainings share one stream of batches, each getting a part of
            it. Defaults to `None`, for a stream of its own.
        consumers: How many processes of one training read in turns, each always a batch of the
            same round; with `job`, and for endless data sets only. Defaults to `None`.
        consumer: Which of them this is, from 0. Defaults to `None`.

    Returns:
        The batches, read ahead.

    Raises:
        ValueError: If an argument is unusable, or the data set draws from a Python function, as a
            `Mixture` does, which other machines cannot run.

    Example:
    ```python
    import tensorflow as tf
    from mtlzoo import data

    dispatcher = tf.data.experimental.service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    config = tf.data.experimental.service.WorkerConfig(dispatcher_address=address)
    worker = tf.data.experimental.service.WorkerServer(config)
    census = data.load("census_income")
    train = data.distribute(census.train, address)
    print(sum(len(y["income"]) for _, y, _ in train))  # 15869
    ```
    """
    import tensorflow as tf

    check_elements("dataset", dataset)
    if not isinstance(address, str) or not re.fullmatch(r"[^:/\s]+:\d+", address):
        raise ValueError(
            f"`address` should be a host and a port, as 'localhost:{PORT}'. "
            f"Received: address={address!r}"
        )
    if sharing not in SHARING:
        raise ValueError(
            f"`sharing` should be one of {list(SHARING)}. Received: sharing={sharing!r}"
        )
    if (consumers is None) != (consumer is None) or (consumers is not None and job is None):
        raise ValueError(
            "`consumers` and `consumer` should be given together, and with `job`. "
            f"Received: consumers={consumers!r}, consumer={consumer!r}, job={job!r}"
        )
    if consumers is not None and consumer is not None:
        check_count("consumers", consumers)
        check_count("consumer", consumer, least=0)
        if consumer >= consumers or int(dataset.cardinality()) != -1:
            raise ValueError(
                f"`consumer` should be below `consumers`, and the data set endless (`repeat()`). "
                f"Received: consumers={consumers}, consumer={consumer}, a data set of "
                f"{int(dataset.cardinality())} batches"
            )
    if _calls_python(dataset):
        raise ValueError(
            "`dataset` should not call Python functions, which other machines cannot run. "
            "Received: a data set that does; distribute those that it is made of instead"
        )
    policy = tf.data.experimental.service.ShardingPolicy
    return dataset.apply(
        tf.data.experimental.service.distribute(
            processing_mode=policy.DYNAMIC if sharing == "once" else policy.OFF,
            service=f"grpc://{address}",
            job_name=job,
            num_consumers=consumers,
            consumer_index=consumer,
        )
    ).prefetch(tf.data.AUTOTUNE)


def _calls_python(dataset: tf.data.Dataset) -> bool:
    """Whether a data set runs Python code, as one made of a generator does."""
    import tensorflow as tf

    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=dataset._variant_tensor)
    return b"PyFunc" in graph.numpy()


def main(argv: list[str] | None = None) -> None:
    """Run a dispatcher or a worker until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m mtlzoo.data.service", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    dispatcher = kinds.add_parser("dispatcher", help="hands out work")
    dispatcher.add_argument("--port", type=int, default=PORT)
    worker = kinds.add_parser("worker", help="does work")
    worker.add_argument("--dispatcher", required=True, help=f"its address, as localhost:{PORT}")
    worker.add_argument("--port", type=int, default=0, help="any free port, if not given")
    worker.add_argument("--host", default="localhost", help="how others reach this machine")
    args = parser.parse_args(argv)

    import tensorflow as tf

    service = tf.data.experimental.service
    if args.kind == "dispatcher":
        server = service.DispatchServer(service.DispatcherConfig(port=args.port))
        print(f"dispatcher at {server.target.split('://')[1]}", flush=True)
    else:
        given = f"{args.host}:{args.port or '%port%'}"
        server = service.WorkerServer(
            service.WorkerConfig(args.dispatcher, worker_address=given, port=args.port)
        )
        print(f"worker of {args.dispatcher}", flush=True)
    server.join()


if __name__ == "__main__":
    main()
