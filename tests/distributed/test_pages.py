"""The files in the pages on Slurm and Kubernetes: as far as files can be checked without a cluster of either."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from quantcheck.cli.run import command

DOCS = Path(__file__).parents[2] / "docs"


def block(page: str, language: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def options_hold(line: str) -> None:
    """That `quantcheck run` takes the options of a command line in a page."""
    words = line.split()
    assert words[:2] == ["quantcheck", "run"]
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
    assert words[words.index("--on") + 1] == "ray"


def test_the_slurm_script_is_bash_and_its_command_is_ours() -> None:
    script = block("slurm.md", "bash")
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    options_hold(script[script.index("-- quantcheck") + 3:])


def test_the_kubernetes_file_is_a_ray_job_whose_pods_agree() -> None:
    job: dict[str, Any] = yaml.safe_load(block("kubernetes.md", "yaml"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    options_hold(job["spec"]["entrypoint"])
    cluster = job["spec"]["rayClusterSpec"]
    pods = [group["template"]["spec"] for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]]
    for pod in pods:
        (container,) = pod["containers"]
        assert container["image"] == pods[0]["containers"][0]["image"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        names = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= names
        assert {"name": "RAY_worker_niceness", "value": "0"} in container["env"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def wrong(*arguments: str) -> str:
    done = CliRunner().invoke(command, list(arguments))
    assert done.exit_code == 2
    return done.output.splitlines()[-1]


def test_a_place_or_label_that_cannot_be_is_one_line() -> None:
    assert wrong("--on", "moon") == "Error: --on moon: give local, ray or ray://HOST:PORT"
    assert "give --on ray with it" in wrong("--node-label", "pool=a")
    assert "give NAME=VALUE" in wrong("--on", "ray", "--node-label", "pool")
