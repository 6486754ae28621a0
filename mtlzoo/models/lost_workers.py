"""What a worker says when another one is gone."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_ALWAYS = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
_SIGNS = ("Collective ops is aborted", "heartbeat", "oordination service")


@contextlib.contextmanager
def named(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turn what TensorFlow raises after a worker was lost into an error that says what to do.

    The worker that leads the others, or the one that does not reach it any more, notices this by
    heartbeats, and ends every step that waits for the lost one.

    Args:
        strategy: what is run on; with one worker, errors are left as they are.
    """
    try:
        yield
    except tf.errors.OpError as error:
        signs = any(sign in str(error) for sign in _SIGNS)
        if not _has_several_workers(strategy) or not (signs or isinstance(error, _ALWAYS)):
            raise
        raise RuntimeError(
            "A worker was lost: another process has ended, or cannot be reached any more. All "
            "workers should be started again; training goes on from the backup if there is one "
            "(`mtlzoo.training.Backup` among the callbacks of `fit`), else from the beginning."
        ) from error


def _has_several_workers(strategy):
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return sum(map(len, jobs.values())) > 1
