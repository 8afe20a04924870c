"""The paper's scaling curves, as they are given to a fit."""

import pytest
from dp_experiments.presets.reported.scaling_curves import reported_curve

from dp_base.errors import InputError


def test_rows_of_the_papers_tables_are_chosen_as_those_of_a_file():
    both, static = (reported_curve("table5", where) for where in (None, {"strategy": "static"}))
    assert set(both.strategy) == {"static", "practice"}
    assert static.kept.tolist() == both.kept[both.strategy == "static"].tolist()
    with pytest.raises(InputError, match="table5 has no rows with strategy = pruned: practice, static"):
        reported_curve("table5", {"strategy": "pruned"})
