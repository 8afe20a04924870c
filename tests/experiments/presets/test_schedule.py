"""When the paper added, by the branch epochs of its tables, and whether the presets follow."""

import numpy as np
import pytest
from dp_experiments.presets.presets import load_preset
from dp_experiments.presets.schedule import GROWTH, branches, fitted, log_errors, replay

SETTLING = {4: 6500, 5: 7700}  # steps, of the fit


def test_branch_epochs_are_of_the_initial_pool():
    four = branches(4).set_index("row")
    assert four.loc[[1, 5, 9, 12], "step"].round().tolist() == [10_344, 14_859, 31_281, 39_229]
    assert branches(5).iloc[[0, 2, 5]]["step"].round().tolist() == [5_234, 5_547, 78_076]


def test_the_tables_choose_one_pass_and_a_patience_that_hardly_grows():
    fits = fitted(4, (0, GROWTH, 0.5, 1), (0.5, 1, 2))
    best = fits.iloc[0]
    assert (best["epochs"], best["growth"]) == (1, GROWTH)
    assert (best["error"], best["settling"]) == (pytest.approx(0.165, abs=0.01), pytest.approx(6500, rel=0.05))
    in_proportion = fits.query("growth == 1 and epochs == 1").iloc[0]
    assert in_proportion["error"] > 3 * best["error"]
    # Rows 11 and 12 bound it without a script: 20 waits of T_max evaluations fit between them.
    step11, step12 = branches(4).set_index("row").loc[[11, 12], "step"].to_numpy(float)
    pools = 1 + np.arange(28, 48) * 64 / 130
    least = [63 * (5 * pools**growth).sum() for growth in (GROWTH, GROWTH + 0.02)]
    assert least[0] < step12 - step11 < least[1]


@pytest.mark.parametrize("table", [4, 5])
def test_each_row_reaches_its_additions_by_its_step(table):
    for row in branches(table).to_dict("records"):
        plan = load_preset(f"{'imagenet100' if table == 4 else 'imagenet1k'}-table{table}-{row['row']}").practice
        steps = replay(plan, SETTLING[table])
        assert len(steps) == row["rounds"]
        assert steps[-1] < {4: 1.1, 5: 1.5}[table] * row["step"], row
    assert np.abs(log_errors(branches(4), SETTLING[4], GROWTH, 1)).max() < 0.35
