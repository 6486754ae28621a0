"""All presets of the package in one table, from their cards."""

from mtlzoo.presets import loading
from mtlzoo.presets.model_card import Card, markdown_table, with_spread


def table(trained: bool = True) -> str:
    """A table of Markdown with a line for each preset of the package.

    Args:
        trained: `True` for those with trained weights: by task the deciding metric of the shipped
            weights, in parentheses its mean and standard deviation over seeds, `delta_m` the same
            way (see `Card`), and sizes. `False` for the configurations without. Defaults to `True`.

    Raises:
        ValueError: if `trained` is no bool.

    Example:
        ```python
        from mtlzoo import presets

        print(presets.table())
        ```
    """
    if not isinstance(trained, bool):
        raise ValueError(f"`trained` should be a bool. Received: trained={trained!r}")
    cards = [loading.card(name) for name in loading.names(trained)]
    if not trained:
        head = ["preset", "model", "tasks", "parameters"]
        rows = [[f"`{c.name}`", c.model, _tasks(c), f"{c.parameters:,}"] for c in cards]
        return markdown_table(head, rows)
    head = ["preset", "model", "metrics", "`delta_m`, %", "parameters", "FLOPs a row", "kB"]
    return markdown_table(head, [_row(card) for card in cards])


def _row(card: Card) -> list[str]:
    metrics = "; ".join(
        f"{task} {m['metric']} {m['value']:.4f} ({with_spread(m)})"
        for task, m in card.metrics.items()
    )
    gain = f"{card.delta_m['value']:+.2f} ({with_spread(card.delta_m, '+.2f')})"
    return [
        f"`{card.name}`",
        card.model,
        metrics,
        gain,
        f"{card.parameters:,}",
        f"{card.flops:,}",
        f"{(card.size_bytes or 0) / 1000:.0f}, {card.storage}",
    ]


def _tasks(card: Card) -> str:
    if len(card.tasks) <= 5:
        return ", ".join(card.tasks)
    return f"{len(card.tasks)} tasks"
