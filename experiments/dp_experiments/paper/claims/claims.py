"""The claims of the paper. Numbers are computed here; only verdicts are ours."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from dp_experiments.paper.claims.equivalence import data_equivalence
from dp_experiments.presets.printed_tables import reported
from dp_experiments.presets.schedule import GROWTH, fitted
from dp_experiments.studies.stored import cost_ratio, paired, stored_runs, worth

HEAD = """# Claim by claim

`dp claims --docs docs` writes this page: what follows from the paper's own tables (*recomputed*), from `dp_theory`
(*theory*), and from [our runs](results/index.md) on two cores (*ours*). What rests on ImageNet is *untested*.
*Reproduced* means on the paper's own path, and *replicated* on our own data, mostly at a steered strength.
"""
SOURCES = ("recomputed", "theory", "ours")
NOTHING = "-"


class Claim(NamedTuple):
    """recomputed, theory, ours: what the paper's own tables, the theory and our runs give; None: nothing.

    cost: of `command`, on two cores without a GPU, or on the GPUs that it names. path, in the words of ReScience: on
    the paper's own tables and formulas, or on data of our own.
    """

    where: str
    says: str
    command: str
    cost: str
    verdict: Literal["holds", "holds partly", "untested"] = "untested"
    path: Literal["reproduced", "replicated", "-"] = "-"
    recomputed: Callable[[], str] | None = None
    theory: Callable[[], str] | None = None
    ours: Callable[[], str] | None = None


# -- our runs ----------------------------------------------------------------------------------------------------------

GLYPHS_STATIC = [f"static-{n}" for n in (8_000, 16_000, 32_000, 64_000, 128_000)]
DIGITS_STATIC = ["static-400", "static", "static-2000", "static-4000", "static-16000"]
FASHION_STATIC = ["static", "static-6000"]


def digits() -> pd.DataFrame:
    """Digits, each arm with its published settings."""
    return stored_runs("digits").query("settings != 'static-4000'")


def glyphs() -> pd.DataFrame:
    """Glyphs in 12,000 steps, both arms tuned at that length."""
    return stored_runs("glyphs")


def fewer_samples() -> str:
    """What practice is worth against tuned static data on each data set."""
    words = stored_runs("words")
    made = words.loc[words["arm"] == "practice", "generated"].mean()
    of_glyphs = [worth(glyphs(), arm, GLYPHS_STATIC) for arm in ("practice-8000", "practice-16000")]
    parts = [
        f"On digits {worth(digits(), 'practice', DIGITS_STATIC)}",
        f"On glyphs {of_glyphs[0]}, and {of_glyphs[1]}",
        f"On fashion {worth(stored_runs('fashion'), 'practice', FASHION_STATIC)}",
        f"On words, {made:,.0f} texts written minus 15,840 static ones: {paired(words, 'practice', 'static-15840')}",
    ]
    return f"against tuned static data. {'. '.join(parts)}"


def less_compute() -> str:
    """The computation of practice against that of the static data that it equals."""
    of_glyphs = 1 / cost_ratio(glyphs(), "practice-16000", "static-128000", "tflop")
    of_digits = 1 / cost_ratio(digits(), "practice", "static-16000", "gflop")
    return (
        f"in as many steps, for the accuracy of 128,000 static glyphs, {of_glyphs:.1f} times less computation; for "
        f"that of 16,000 static digits {of_digits:.1f} times less"
    )


def against_pruning() -> str:
    """Pruning in the loop against practice: cost and accuracy."""
    glyph_gap = paired(glyphs(), "practice-8000", "prune-in-loop-8000")
    digit_gap = paired(digits(), "practice", "prune-in-loop")
    return (
        "at 5 samples drawn for one kept, in the loop, pruning costs "
        f"{cost_ratio(digits(), 'prune-in-loop', 'practice', 'gflop'):.1f} times practice on digits (lead of practice "
        f"{digit_gap}) and {cost_ratio(glyphs(), 'prune-in-loop-8000', 'practice-8000', 'tflop'):.1f} times on glyphs "
        f"({glyph_gap})"
    )


def unguided_against_static() -> str:
    """The loop without guidance against static data of as many samples."""
    of_digits = paired(digits(), "practice-unguided", "static")
    of_glyphs = paired(glyphs(), "practice-unguided-8000", "static-8000")
    return f"unguided practice minus static data of as many samples: digits {of_digits}, glyphs {of_glyphs}"


def lower_before() -> str:
    """How often added samples are wrong to earlier and later learners (Fig. 6, on digits)."""
    table = stored_runs("fig6-digits")
    added, runs = 100 * table["round"], table["n_seeds"].max()
    before = table.loc[table["x"] < added, "y"].mean()
    after = table.loc[table["x"] > added, "y"].mean()
    return f"digits, {runs} runs: {before:.0f} % wrong by the learners before, 100 % when added, {after:.0f} % after"


# -- the paper's tables ------------------------------------------------------------------------------------------------


def _table1(dataset: str, method: str, column: str, row: int = -1) -> float:
    table = reported(1)
    rows = table[(table["dataset"] == dataset) & table["method"].str.startswith(method)]
    return float(rows.iloc[row][column])


def times_fewer(column: str) -> str:
    """How many times less practice takes, in Table 1 on ImageNet-100."""
    static, practice = (_table1("ImageNet-100", method, column) for method in ("static", "deliberate"))
    return f"{static / practice:.1f} times"


def fewer_samples_imagenet1k() -> str:
    """The two practice rows about the headline, in Table 1 on ImageNet-1k."""
    static = _table1("ImageNet-1k", "static", "samples")
    less, more = (_table1("ImageNet-1k", "deliberate", "samples", row) for row in (0, 1))
    return (
        f"no row has 8M samples; {less / 1e6:.1f}M score 54.1 and {more / 1e6:.1f}M 55.1 against 54 of 64M static: "
        f"{static / less:.1f} or {static / more:.1f} times"
    )


def fewer_iterations_imagenet1k() -> str:
    """The share of iterations that practice saves, in Table 1 on ImageNet-1k."""
    share = _table1("ImageNet-1k", "deliberate", "iterations") / _table1("ImageNet-1k", "static", "iterations")
    return f"{100 * (1 - share):.0f} % fewer"


def first_above_static(dataset: str) -> str:
    """The smallest pool of practice that passes the best static accuracy (Tables 4 and 5)."""
    table = data_equivalence().query("dataset == @dataset")
    static = table.query("method == 'static'").sort_values("val").iloc[-1]
    passing = table.query("method != 'static' and val > @static.val").sort_values("total").iloc[0]
    return (
        f"{passing.total:,.0f} samples of practice ({passing.val:.2f} %) pass {static.total:,.0f} static ones "
        f"({static.val:.2f} %): more than {static.total / passing.total:.0f} times"
    )


def _table3(column: str, omega: float = 0.05, patience: str = "incremental", sampling: str = "uniform") -> float:
    table = reported(3)
    row = table.query("omega == @omega and patience == @patience and sampling == @sampling")
    return float(row[column].iloc[0])


def out_of_distribution() -> str:
    """Practice against real training data and the best static data, in Table 1 on sets of other kinds."""
    names = ("deliberate", "real", "static")
    scores = {
        f"{column.title()} of {dataset}": [_table1(dataset, method, column) for method in names]
        for dataset, column in product(("ImageNet-100", "ImageNet-1k"), ("v2", "sketch", "r", "a"))
    }
    behind = [where for where, (own, _, static) in scores.items() if own <= static]
    ahead = [f"{where} ({own:.1f} for {real:.1f} %)" for where, (own, real, _) in scores.items() if own > real]
    return f"ahead of generated data but on {', '.join(behind)}; of real data on {', '.join(ahead)}"


def strengths_of_table3() -> str:
    """Accuracy over the strength."""
    return "; ".join(f"ω = {omega:g}: {_table3('val', omega):.2f} %" for omega in (0, 0.03, 0.05, 0.07))


def patience_of_branches() -> str:
    """How T_max grows by the branch epochs of Table 4, if the accuracy is measured once or more often in an epoch."""
    fits = fitted(4, (0, GROWTH, 0.35, 0.7, 1), (1, 0.5, 0.2)).groupby("epochs", sort=False).first()
    best = [f"{fit.growth:g} (missed by {fit.error:.0%}) at {fit.Index:g}" for fit in fits.itertuples()]
    return (
        "the branch epochs of Table 4 fit as epochs of N / batch steps only, and do not say how T_max grows: a replay "
        f"fits best with the pool to the power of {', '.join(best)} epochs between evaluations"
    )


def unguided_of_tables() -> str:
    """ω = 0 of Table 3 against the static curve of Table 4."""
    static = reported(4).query("method == 'static'").set_index("total")["val"]
    return (
        f"ω = 0 scores {_table3('val', 0.0):.2f} % (Table 3, size not printed), static data {static[130000]:.2f} to "
        f"{static[4000000]:.2f} % (Table 4)"
    )


def patience_of_table3() -> str:
    """Incremental and fixed patience on both sets of images."""
    return (
        f"validation {_table3('val'):.2f} against {_table3('val', patience='fixed'):.2f} %, but held out "
        f"{_table3('train'):.2f} against {_table3('train', patience='fixed'):.2f}: the order turns"
    )


def sampling_of_table3() -> str:
    """Uniform and weighted sampling of the pool on both sets of images."""
    weighted = "new samples twice as often"
    return (
        f"validation {_table3('val'):.2f} against {_table3('val', sampling=weighted):.2f} %, held out "
        f"{_table3('train'):.2f} against {_table3('train', sampling=weighted):.2f}"
    )


# -- theory ------------------------------------------------------------------------------------------------------------


def worth_in_theory() -> str:
    """What practice is worth after twelve rounds, where few labels are wrong."""
    from dp_theory import BoundaryFlips
    from dp_theory.noise import worth as worth_of_practice

    few = BoundaryFlips.of_share(0.016)
    last = worth_of_practice(few, windows=[1.0], lams=(0.03, 0.1, 0.3, 1.0)).iloc[-1]
    return (
        "after twelve rounds, with 1.6 % of plain labels wrong, a sample is worth "
        f"{last['samples']:.0f} static ones, and a unit of computation {last['compute']:.1f}"
    )


def too_hard_in_theory() -> str:
    """Accuracy over the over-sampling ratio, as in Fig. 5c."""
    from dp_theory import KeepHard, Problem, predict

    ratio = np.array([1.01, 2.0, 8.0, 32.0])
    problem = Problem(KeepHard.with_keep_fraction(1 / ratio), 0.9, 0.5 / ratio, 0.01 / ratio)
    accuracy = 100 * (1 - np.asarray(predict(problem).test_error))
    shares = ", ".join(
        f"{100 * percent:.0f} % kept: {value:.1f}" for percent, value in zip(1 / ratio, accuracy, strict=True)
    )
    return f"keep-hard at ρ = .9 and two rows a dimension: {shares} %"


def pruning_cost_in_theory() -> str:
    """What a hard row costs by either way, for the paper's own ratio of costs."""
    guided = 1.82
    return (
        f"a row kept by pruning costs 1/p drawn ones, a guided one {guided}. Without training, pruning costs 5 times "
        f"as much where p = {1 / 5 / guided:.2f}"
    )


def theorem1_holds() -> str:
    """The largest |z| against an experiment that is exact in law, in a third of the cells of `dp theory verify`."""
    from dp_theory.verification import CELLS, verify

    table = verify(CELLS[::3], d=1000, dense_d=40, trials=40)
    largest = table["z"].abs().max()
    return f"{len(table)} comparisons with simulation at d = 1,000: the largest |z| is {largest:.1f}"


CLAIMS = (
    Claim(
        "Table 1",
        "ImageNet-100: 3.4 times fewer samples than the best static data",
        "dp real run imagenet100-table1",
        "22 hours on 8 H100",
        recomputed=partial(times_fewer, "samples"),
    ),
    Claim(
        "Table 1",
        "ImageNet-100: 6 times fewer iterations",
        "dp real run imagenet100-table1",
        "22 hours on 8 H100",
        recomputed=partial(times_fewer, "iterations"),
    ),
    Claim(
        "Table 1",
        "ImageNet-1k: 8 times fewer samples",
        "dp real run imagenet1k-table1-1",
        "77 hours on 8 H100",
        recomputed=fewer_samples_imagenet1k,
    ),
    Claim(
        "Table 1",
        "ImageNet-1k: 30 % fewer iterations",
        "dp real run imagenet1k-table1-1",
        "77 hours on 8 H100",
        recomputed=fewer_iterations_imagenet1k,
    ),
    Claim(
        "Table 1",
        "out of distribution, practice beats earlier generated data, and on Sketch and R real data",
        "dp real run imagenet1k-table1-2",
        "100 hours on 8 H100",
        recomputed=out_of_distribution,
    ),
    Claim(
        "§5, Table 4",
        "ImageNet-100: the best static accuracy with 7.5 times fewer samples",
        "dp figures fig4-reported",
        "seconds",
        recomputed=partial(first_above_static, "ImageNet-100"),
    ),
    Claim(
        "§5, Table 5",
        "ImageNet-1k: the best static accuracy with 20 times fewer samples",
        "dp figures fig4-reported",
        "seconds",
        recomputed=partial(first_above_static, "ImageNet-1k"),
    ),
    Claim(
        "abstract",
        "practice needs fewer samples than static data for the same accuracy",
        "dp real compare glyphs --tuned published --seeds 8 --splits 8",
        "hours",
        "holds partly",
        "replicated",
        theory=worth_in_theory,
        ours=fewer_samples,
    ),
    Claim(
        "abstract",
        "and less computation (the paper counts iterations)",
        "dp real compare digits --tuned published --seeds 8",
        "an hour",
        "holds partly",
        "replicated",
        ours=less_compute,
    ),
    Claim(
        "Fig. 5d",
        "guidance costs up to 5 times less than over-sampling and pruning",
        "dp figures fig5d-digits",
        "minutes",
        "holds partly",
        "replicated",
        theory=pruning_cost_in_theory,
        ours=against_pruning,
    ),
    Claim(
        "Table 3",
        "accuracy rises with the strength of guidance, then falls (as in Fig. 5b)",
        "dp real run imagenet100-table3-4",
        "8 hours on 8 H100",
        recomputed=strengths_of_table3,
    ),
    Claim(
        "Fig. 5c",
        "the model's accuracy rises with the hardness of its data, then falls",
        "dp figures fig5c",
        "seconds",
        "holds",
        "reproduced",
        theory=too_hard_in_theory,
    ),
    Claim(
        "Fig. 9",
        "ω = 0 in the loop is as good as static data",
        "dp real compare glyphs --tuned published --arms practice-unguided-8000,static-8000 --seeds 8 --splits 8",
        "hours",
        "holds partly",
        "replicated",
        recomputed=unguided_of_tables,
        ours=unguided_against_static,
    ),
    Claim(
        "Fig. 6",
        "samples that are wrong when added were wrong less often to earlier learners, and are rarely to later ones",
        "dp figures fig6-digits",
        "minutes",
        "holds",
        "replicated",
        ours=lower_before,
    ),
    Claim(
        "Table 3",
        "incremental patience is better than a fixed one",
        "dp real run imagenet100-table3-5",
        "8 hours on 8 H100",
        recomputed=patience_of_table3,
    ),
    Claim(
        "Table 3",
        "uniform sampling of the pool is as good as favouring new samples",
        "dp real run imagenet100-table3-6",
        "8 hours on 8 H100",
        recomputed=sampling_of_table3,
    ),
    Claim(
        "Theorem 1",
        "predicts the test error of a linear classifier on selected data",
        "dp theory verify",
        "a minute",
        "holds",
        "reproduced",
        theory=theorem1_holds,
    ),
    Claim(
        "Tables 4, 5",
        "T_max grows with the pool",
        "dp claims",
        "seconds",
        recomputed=patience_of_branches,
    ),
)


def row_of(claim: Claim) -> dict[str, str]:
    """The fields of a claim as text, computed in up to some seconds."""
    row = {"where": claim.where, "claim": claim.says, "verdict": claim.verdict, "path": claim.path}
    for source in SOURCES:
        compute: Callable[[], str] | None = getattr(claim, source)
        row[source] = compute() if compute else NOTHING
    return row | {"command": claim.command, "cost": claim.cost}


def evidence_of(row: dict[str, str]) -> str:
    """What each source says."""
    return " ".join(f"{source.capitalize()}: {row[source]}." for source in SOURCES if row[source] != NOTHING)


def markdown(table: list[dict[str, str]]) -> str:
    """The page: each claim with its verdict, what says so, and the command."""
    lines = [HEAD]
    for number, row in enumerate(table, 1):
        path = "" if row["path"] == NOTHING else f", {row['path']}"
        claim = f"**{row['verdict']}**{path}: {row['claim']} ({row['where']}). {evidence_of(row)}"
        lines.append(f"{number}. {claim} `{row['command']}` ({row['cost']})")
    return "\n".join(lines) + "\n"
