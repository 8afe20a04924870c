"""`dp theory …`: each command reads its options, calls dp_theory and shows what it returns."""

from experiments.cli.lazy import LazyCommand, make_group

HERE = "experiments.cli.theory"

BEST = make_group(
    "best",
    "Which selection rule is best?",
    {
        "The selector is fixed": [
            LazyCommand("rule", f"{HERE}.best", "Which named rule is best for so many rows, or for a budget?"),
            LazyCommand("any-rule", f"{HERE}.best", "Which rule of all is best for a budget, and is it worth it?"),
        ],
        "The learner selects for itself": [
            LazyCommand("one-round", f"{HERE}.best", "Which named rule is best for the second half of the rows?"),
            LazyCommand("sequence", f"{HERE}.best", "Which rules of all are best, round by round?"),
        ],
    },
)

GROUP = make_group(
    "theory",
    "Exact asymptotics of learning from selected data, and their simulation.",
    {
        "One problem": [
            LazyCommand("predict", f"{HERE}.predict", "What test error does theory predict?"),
            LazyCommand("simulate", f"{HERE}.predict", "What test error has the same experiment in finite dimension?"),
            LazyCommand("classes", f"{HERE}.classes", "What does selection change with more than two classes?"),
        ],
        "Ways to spend a budget": [
            LazyCommand("sweep", f"{HERE}.sweep", "At which size is static, pruned or directly drawn data better?"),
            LazyCommand("practice", f"{HERE}.practice", "What does a learner gain that chooses its own rows?"),
            BEST,
            LazyCommand("noise", f"{HERE}.noise", "What is practice worth where labels are wrong?"),
        ],
        "Measured data": [
            LazyCommand("check", f"{HERE}.check", "Does the theory hold for these features?"),
            LazyCommand("fit", f"{HERE}.fit", "Which parameters of the theory fit a measured curve?"),
            LazyCommand("forecast", f"{HERE}.fit", "How many more samples reach a test error?"),
        ],
        "Trust": [
            LazyCommand("verify", f"{HERE}.verify", "Do theory and simulation agree?"),
            LazyCommand("derive", f"{HERE}.formulas", "Where do the formulas come from?"),
            LazyCommand("errata", f"{HERE}.formulas", "Where is the printed paper wrong?"),
        ],
    },
)
