"""When a model that learns is published, and what happens if it has become worse."""

from mtlzoo.data.arguments import check_count, check_positive_or_none
from mtlzoo.layers.arguments import check_number


class Publishing:
    """The rules by which a learner publishes its model.

    After an update, if enough rows or seconds have passed, the model is the *candidate*: it is
    compared with the published weights on the held-back rows, by each task's deciding metric. It
    is published unless it is worse in a task, by more than `tolerance` and `standard_errors` times
    the standard error of the difference (jackknife over ten parts of the rows, which both models
    have in common, so that noise decides less). Tasks with fewer than `least_labels` labels there
    do not decide; if that is all of them, nothing is published. It is compared in the same way with
    the *best* version so far: the last published one that was worse in no task than the best before
    it. So many small steps down, each of which may be noise, do not add up.

    After `patience` candidates in a row that are worse, the learner goes back to the published
    weights, optimizer and balancer, if the candidate is also worse on the rows that were held back
    after these were published: after a drift, it is the older rows that speak against it. And each
    published version is compared with the one before it on rows that were held back after it was
    published: one that is worse is withdrawn.

    Args:
        every_rows: how many rows are read between two candidates. Defaults to 10000.
        every_seconds: or how many seconds pass by the learner's clock, whichever is first. Defaults
            to `None`.
        tolerance: how much worse a task's metric may be, in its own units. Defaults to 0.0.
        standard_errors: how many standard errors more. Defaults to 1.0.
        least_labels: how many held-back labels a task needs to decide. Defaults to 50.
        patience: after how many candidates in a row that are worse the learner goes back; `None`
            for never. Defaults to 3.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    from mtlzoo.online import Publishing

    Publishing(every_rows=5000, tolerance=0.002)
    ```
    """

    def __init__(
        self,
        every_rows: int = 10_000,
        every_seconds: float | None = None,
        tolerance: float = 0.0,
        standard_errors: float = 1.0,
        least_labels: int = 50,
        patience: int | None = 3,
    ) -> None:
        self.every_rows = check_count("every_rows", every_rows)
        self.every_seconds = check_positive_or_none("every_seconds", every_seconds)
        what = "a number of at least 0"
        self.tolerance = check_number("tolerance", tolerance, what, 0)
        self.standard_errors = check_number("standard_errors", standard_errors, what, 0)
        self.least_labels = check_count("least_labels", least_labels)
        self.patience = None if patience is None else check_count("patience", patience)
