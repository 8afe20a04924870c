"""`dp real …`: the full pipeline. torch is imported only when a command runs, so that `dp --help` is quick."""

import typer

from experiments.cli.real.compare import compare_command
from experiments.cli.real.keep import cache_app, export_command, init_command
from experiments.cli.real.keys import keys_command
from experiments.cli.real.look import evaluate_command, report_command, sample_command
from experiments.cli.real.pilot import pilot_command
from experiments.cli.real.plan import plan_command, presets_command
from experiments.cli.real.run import branch_command, pretrain_command, resume_command, run_command
from experiments.cli.real.tune import tune_command

app = typer.Typer(no_args_is_help=True, help="Train on generated data by deliberate practice.")
app.command("presets")(presets_command)
app.command("keys")(keys_command)
app.command("plan")(plan_command)
app.command("pilot")(pilot_command)
app.command("init")(init_command)
app.command("evaluate")(evaluate_command)
app.command("export")(export_command)
app.command("sample")(sample_command)
app.command("report")(report_command)
app.command("run")(run_command)
app.command("resume")(resume_command)
app.command("pretrain")(pretrain_command)
app.command("branch")(branch_command)
app.command("compare")(compare_command)
app.command("tune")(tune_command)
app.add_typer(cache_app, name="cache")
