"""What every analysis gives back: words, a table and a picture."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Finding(Protocol):
    """What an analysis has found, in a form that people and reports can read.

    Attributes:
        title: What it is about, as a headline.

    Example:
    ```python
    import numpy as np
    from mtlzoo.analysis import Finding, TaskMatrix

    cosines = TaskMatrix(["click", "buy"], np.array([[1.0, 0.4], [0.4, 1.0]]), "cosine")
    isinstance(cosines, Finding)  # True
    print(cosines.words())
    ```
    """

    @property
    def title(self) -> str:
        """What it is about, as a headline."""

    def words(self) -> str:
        """What it says, in a few plain sentences that name tasks and numbers."""

    def rows(self) -> list[list[str]]:
        """Its numbers as a table of text, the header first."""

    def figure(self) -> Any:
        """Its picture, a `matplotlib.figure.Figure`."""
