"""The table of the recipe that reads trained models."""

from mtlzoo import analysis
from recipes.parts.tables import print_aligned


def print_likeness(name: str, tables: list, history: analysis.GramianHistory) -> None:
    """Print for each pair of tasks how alike they read and what their gradients say.

    Args:
        name: that of the model.
        tables: what was read from it.
        history: what training measured.
    """
    cosines = history.matrix("cosine")
    matrices = {t.place or "gates": t.similarity() for t in tables if len(t.tasks) > 1}
    pairs = [(a, b) for i, a in enumerate(cosines.names) for b in cosines.names[i + 1 :]]
    lines = [[f"{name}: likeness", *(f"{a} and {b}" for a, b in pairs), "agreement"]]
    for place, matrix in matrices.items():
        agreement = f"{matrix.agreement(cosines):.2f}" if len(pairs) > 1 else "-"
        lines.append([place, *(f"{matrix[pair]:.3f}" for pair in pairs), agreement])
    lines.append(["cosine of the gradients", *(f"{cosines[pair]:.3f}" for pair in pairs), ""])
    print()
    print_aligned(lines)
