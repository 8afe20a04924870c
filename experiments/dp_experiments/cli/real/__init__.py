"""`dp real …`: the full pipeline. Each command reads its options, calls dp_real and shows what it returns."""

from dp_experiments.cli.lazy import LazyCommand, make_group

HERE = "dp_experiments.cli.real"

CACHE = make_group(
    "cache",
    "What was made once and is kept, such as generators trained here.",
    {
        "Commands": [
            LazyCommand("list", f"{HERE}.cache", "What is kept, how large is it, and how old?"),
            LazyCommand("clear", f"{HERE}.cache", "Remove all of it."),
        ]
    },
)

GROUP = make_group(
    "real",
    "Train on generated data by deliberate practice.",
    {
        "Prepare": [
            LazyCommand("presets", f"{HERE}.configure", "List the presets."),
            LazyCommand("init", f"{HERE}.configure", "Write a commented configuration for a task of your own."),
            LazyCommand("keys", f"{HERE}.configure", "List every key of a configuration, and what it means."),
            LazyCommand("plan", f"{HERE}.plan", "What does a run need, is it here, and what will it take?"),
            LazyCommand("pilot", f"{HERE}.pilot", "Are the generator's labels right where the learner is unsure?"),
            LazyCommand("pretrain", f"{HERE}.run", "Get a preset's generator ready."),
        ],
        "Run": [
            LazyCommand("run", f"{HERE}.run", "Train one learner."),
            LazyCommand("resume", f"{HERE}.run", "Go on with an interrupted run."),
            LazyCommand("branch", f"{HERE}.run", "Make a whole scaling curve from one run."),
            LazyCommand("compare", f"{HERE}.compare", "Run arms on the same seeds, and compare their accuracies."),
            LazyCommand("tune", f"{HERE}.tune", "Find each arm's best settings on validation images."),
        ],
        "Look": [
            LazyCommand("sample", f"{HERE}.sample", "Draw plain and guided samples from the same noise."),
            LazyCommand("report", f"{HERE}.report", "Write a page that tells what runs were, cost and reached."),
            LazyCommand("review", f"{HERE}.report", "Look through a pool, and mark wrong examples for the next run."),
            LazyCommand("rounds", f"{HERE}.report", "Were the rounds harder, worse or narrower than plain samples?"),
            LazyCommand("evaluate", f"{HERE}.report", "Measure a run's accuracy on real examples."),
            LazyCommand("export", f"{HERE}.export", "Write a run's samples, or their features, for other programs."),
            LazyCommand(
                "push", f"{HERE}.export", "Publish a run's samples and its learner, or write them to a folder."
            ),
            CACHE,
        ],
    },
)
