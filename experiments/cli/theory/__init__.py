"""`dp theory …`: each command reads options, calls dp_theory and shows what it returns."""

import typer

from experiments.cli.theory.check import check_command
from experiments.cli.theory.classes import classes_command
from experiments.cli.theory.fit import fit_command, forecast_command
from experiments.cli.theory.formulas import derive_command, errata_command
from experiments.cli.theory.noise import noise_command
from experiments.cli.theory.optimum import best_command, optimum_command
from experiments.cli.theory.practice import practice_command
from experiments.cli.theory.predict import predict_command, simulate_command
from experiments.cli.theory.sweep import sweep_command
from experiments.cli.theory.verify import verify_command

app = typer.Typer(no_args_is_help=True, help="Exact asymptotics of learning from selected data, and their simulation.")
app.command("predict")(predict_command)
app.command("simulate")(simulate_command)
app.command("sweep")(sweep_command)
app.command("verify")(verify_command)
app.command("practice")(practice_command)
app.command("optimum")(optimum_command)
app.command("best")(best_command)
app.command("classes")(classes_command)
app.command("noise")(noise_command)
app.command("fit")(fit_command)
app.command("forecast")(forecast_command)
app.command("check")(check_command)
app.command("derive")(derive_command)
app.command("errata")(errata_command)
