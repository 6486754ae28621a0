"""Parts of rows: groups whole, strata by their shares."""

import numpy as np

from mtlzoo.data.parts import assign_parts

SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}


def test_families_stay_together_and_strata_have_their_shares():
    rng = np.random.default_rng(1)
    families = [f"f{n}" for n in rng.integers(0, 150, 400)]
    strata = [("a", "b", "c")[hash_ % 3] for hash_ in (int(f[1:]) for f in families)]
    where = assign_parts(families, SHARES, np.random.default_rng(0), strata)
    for family in set(families):
        assert len({w for w, f in zip(where, families, strict=True) if f == family}) == 1
    for stratum in "abc":
        own = where[np.array(strata) == stratum]
        for split, share in SHARES.items():
            assert abs((own == split).mean() - share) < 0.02
    again = assign_parts(families, SHARES, np.random.default_rng(0), strata)
    other = assign_parts(families, SHARES, np.random.default_rng(1), strata)
    assert (again == where).all() and (other != where).any()


def test_one_stratum_and_rows_of_their_own():
    where = assign_parts(range(100), SHARES, np.random.default_rng(0))
    assert {part: int((where == part).sum()) for part in SHARES} == {
        "train": 70,
        "valid": 15,
        "test": 15,
    }
