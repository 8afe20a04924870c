"""`import dp_real`: quick, whole, and quiet."""

import os
import re
import subprocess
import sys

import pytest
import torch

import dp_real
import dp_real.runs.run
from dp_base.errors import InputError
from tests.dp_real.conftest import changed
from tests.refusals import refusal


def python(code, *arguments, **environment):
    """In an interpreter of its own, in which warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=os.environ | environment,
        text=True,
        capture_output=True,
        timeout=240,
    )


def test_what_only_reads_configurations_imports_no_torch(config, tmp_path):
    (tmp_path / "mine.toml").write_text(config.to_toml())
    code = "import sys, dp_real.config.arms, dp_real.runs.files; dp_real.load_config(sys.argv[1])"
    answer = python(f"{code}; print(*{{'torch', 'diffusers', 'pyarrow'}} & set(sys.modules))", f"{tmp_path}/mine.toml")
    assert (answer.returncode, answer.stdout) == (0, "\n"), answer.stderr


@pytest.mark.slow
def test_a_local_language_model_needs_neither_the_client_of_endpoints_nor_its_stand_in():
    """The client is in an extra of its own; the stand-in's network takes seconds to import."""
    others = {"openai", "transformers.models.gpt2.modeling_gpt2"}
    answer = python(f"import sys, dp_real.text.models.causal_lm; print(*{others} & set(sys.modules))")
    assert (answer.returncode, answer.stdout) == (0, "\n"), answer.stderr


def test_what_guides_pipelines_is_imported_without_a_word():
    """Nor do transformers tell that torchvision is missing."""
    answer = python("import dp_real; dp_real.guide")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_every_name_is_there():
    everything = {}
    exec("from dp_real import *", everything)
    assert set(vars(dp_real)["__all__"]) <= set(everything)
    assert everything["run"] is dp_real.runs.run.run
    with pytest.raises(AttributeError, match="module 'dp_real' has no attribute 'walk'"):
        dp_real.walk  # noqa: B018 (it raises)


@pytest.mark.slow
def test_a_run_says_nothing(config, tmp_path):
    """Nor do diffusers and transformers, not even while it trains its generator: the cache is empty."""
    libraries = changed(
        config,
        "generator={kind='latent', training='none'}",
        "learner={kind='transformers', config={patch_size=8,hidden_size=16,num_hidden_layers=1,num_attention_heads=2}}",
        "sampling.steps=3",
        "training.steps=4",
        "practice.initial=10",
        "practice.evaluate_every=2",
    )
    (tmp_path / "mine.toml").write_text(libraries.to_toml())
    code = "import sys; from dp_real import load_config, run; run(load_config(sys.argv[1]), sys.argv[2])"
    answer = python(code, f"{tmp_path}/mine.toml", f"{tmp_path}/run", XDG_CACHE_HOME=f"{tmp_path}/cache")
    assert (answer.returncode, answer.stdout) == (0, "")
    assert re.fullmatch(r".* ends at chance, as far as .* tell: .*\n", answer.stderr)  # a remark of its own
    assert (tmp_path / "run/result.json").exists()
    assert list((tmp_path / "cache").rglob("model.safetensors"))


def test_a_run_leaves_torchs_threads_and_random_state_as_they_were(config, tmp_path, patch):
    """Even one that fails."""
    within = []

    def fails(*_, **named):
        within.append(torch.get_num_threads())
        torch.manual_seed(7)  # as a learner with dropout does
        raise InputError("broken")

    patch("dp_real.runs.run.load_data", fails)
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    with refusal("broken"):
        dp_real.run(changed(config, threads=before + 1), tmp_path)
    assert within == [before + 1]
    assert torch.get_num_threads() == before
    assert torch.random.get_rng_state().equal(state)
