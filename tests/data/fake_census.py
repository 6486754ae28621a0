"""Small files that pass for the original census files."""

from mtlzoo.data.census_income import original
from mtlzoo.data.census_income.columns import COLUMNS
from mtlzoo.data.census_income.loading import read_sample


def official(monkeypatch, rows):
    """Let `rows` pass for the official ones."""
    count, digest = original.fingerprint(rows)
    monkeypatch.setattr(original, "ROWS", dict.fromkeys(original.FILES, count))
    monkeypatch.setattr(original, "FINGERPRINTS", dict.fromkeys(original.FILES, digest))


def some_rows(n):
    """The first `n` test rows of the sample as the original files write them."""
    columns = read_sample("test")
    fields = []
    for name in COLUMNS:
        values = columns[name][:n].tolist()
        fields.append([f"{v:g}" if isinstance(v, float) else v for v in values])
    return [list(row) for row in zip(*fields, strict=True)]


def write_files(folder, rows):
    """Write both original files with the same rows."""
    text = "".join(", ".join(row) + "\r\n" for row in rows)
    for names in original.FILES.values():
        (folder / names[0]).write_bytes(text.encode())
