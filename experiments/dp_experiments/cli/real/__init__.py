"""`dp real …`: the full pipeline. Each command reads its options, calls dp_real and shows what it returns."""

from dp_experiments.cli.lazy import OfPipeline, make_group

HERE = "dp_experiments.cli.real"

GROUP = make_group(
    "real",
    "Train on generated data by deliberate practice.",
    {
        "Prepare": [
            OfPipeline("init", f"{HERE}.configure", "Write a commented configuration for a task of your own."),
            OfPipeline("keys", f"{HERE}.configure", "List the presets, or every key of one and what it means."),
            OfPipeline("plan", f"{HERE}.plan", "What does a run need, is it here, and what will it take?"),
        ],
        "Run": [
            OfPipeline("run", f"{HERE}.run", "Train one learner."),
            OfPipeline("resume", f"{HERE}.run", "Go on with an interrupted run."),
            OfPipeline("branch", f"{HERE}.run", "Make a whole scaling curve from one run."),
            OfPipeline("compare", f"{HERE}.compare", "Run arms on the same seeds, and compare their accuracies."),
            OfPipeline("tune", f"{HERE}.tune", "Find each arm's best settings on validation images."),
        ],
        "Look": [
            OfPipeline("sample", f"{HERE}.sample", "Draw plain and guided samples from the same noise."),
            OfPipeline("report", f"{HERE}.report", "Write a page of what runs were, cost and reached."),
            OfPipeline("review", f"{HERE}.report", "Look through a pool, and mark wrong examples for the next run."),
            OfPipeline("evaluate", f"{HERE}.report", "Measure a run's accuracy on real examples."),
            OfPipeline("export", f"{HERE}.export", "Write a run's samples, features or learner for other programs."),
        ],
    },
)
