"""`dp theory …`: each command reads its options, calls dp_theory and shows what it returns."""

from dp_experiments.cli.lazy import Numeric, make_group

HERE = "dp_experiments.cli.theory"

BEST = make_group(
    "best",
    "Which selection rule is best?",
    {
        "The selector is fixed": [
            Numeric("rule", f"{HERE}.best", "Which named rule is best for so many rows, or for a budget?"),
            Numeric("any-rule", f"{HERE}.best", "Which rule of all is best for a budget, and is it worth it?"),
        ],
        "The learner selects for itself": [
            Numeric("one-round", f"{HERE}.best", "Which named rule is best for the second half of the rows?"),
            Numeric("sequence", f"{HERE}.best", "Which rules of all are best, round by round?"),
        ],
    },
)

GROUP = make_group(
    "theory",
    "Asymptotics of learning from selected data, and their simulation.",
    {
        "One problem": [
            Numeric("predict", f"{HERE}.predict", "What test error does theory predict?"),
            Numeric("simulate", f"{HERE}.predict", "What test error has the same experiment in finite dimension?"),
            Numeric("classes", f"{HERE}.classes", "What does selection change with more than two classes?"),
        ],
        "Ways to spend a budget": [
            Numeric("sweep", f"{HERE}.sweep", "At which size is static, pruned or directly drawn data better?"),
            Numeric("practice", f"{HERE}.practice", "What does a learner gain that chooses its own rows?"),
            BEST,
            Numeric("noise", f"{HERE}.noise", "What is practice worth where labels are wrong?"),
        ],
        "Measured data": [
            Numeric("check", f"{HERE}.check", "Does the theory hold for these features?"),
            Numeric("fit", f"{HERE}.fit", "Which parameters of the theory fit a measured curve?"),
            Numeric("forecast", f"{HERE}.fit", "How many more samples reach a test error?"),
        ],
        "Trust": [
            Numeric("verify", f"{HERE}.verify", "Do theory, simulation and computer algebra agree?"),
        ],
    },
)
