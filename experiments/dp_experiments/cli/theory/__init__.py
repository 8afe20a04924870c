"""`dp theory …`: each command reads its options, calls dp_theory and shows what it returns."""

from dp_experiments.cli.lazy import Numeric, make_group

HERE = "dp_experiments.cli.theory"

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
            Numeric("best", f"{HERE}.best", "Which rule is best for so many rows, or for a budget?"),
            Numeric("noise", f"{HERE}.noise", "What is practice worth where labels are wrong?"),
        ],
        "Measured data": [
            Numeric("check", f"{HERE}.check", "Does the theory hold for these features?"),
            Numeric("forecast", f"{HERE}.forecast", "What does a measured curve say of its next samples?"),
        ],
        "Trust": [
            Numeric("verify", f"{HERE}.verify", "Do theory, simulation and computer algebra agree?"),
        ],
    },
)
