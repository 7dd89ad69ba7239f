"""Cluster files are valid where they are used: KubeRay's own schemas, bash, YAML."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.render import KINDS, ClusterSettings, render
from portal.cli import main
from tests.support.command_line import only_line
from tests.support.markdown import ROOT
from tests.support.shared import SHARED

SCHEMAS = SHARED / "data" / "kuberay"
needs_schemas = pytest.mark.skipif(
    not SCHEMAS.is_dir(), reason="no KubeRay schemas beside the checkout (../shared/data/kuberay)"
)


def strict(schema: Any) -> Any:
    """The schema of a custom resource, refusing fields that it does not name, as strict validation does."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        made["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        made = {"type": ["integer", "string"]}
    return made


def validator(kind: str) -> jsonschema.Draft202012Validator:
    schema = strict(json.loads((SCHEMAS / f"{kind}.json").read_text()))
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


@needs_schemas
@pytest.mark.parametrize("kind", ["rayjob", "raycluster"])
def test_kuberay_files_are_valid_against_its_schemas_which_see_a_misspelt_field_anywhere(kind: str) -> None:
    value = yaml.safe_load(render(kind, ClusterSettings(nodes=4)))

    assert [error.message for error in validator(kind).iter_errors(value)] == []
    spec = value["spec"]["rayClusterSpec"] if kind == "rayjob" else value["spec"]
    (workers,) = spec["workerGroupSpecs"]
    assert (workers["replicas"], workers["minReplicas"]) == (4, 4)
    assert spec["authOptions"] == {"mode": "token"}
    for group in (spec["headGroupSpec"], workers):
        (container,) = group["template"]["spec"]["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in group["template"]["spec"]["volumes"]}
    head = spec["headGroupSpec"]
    for place in (head, head["template"]["spec"], workers):
        place["replcas"] = 1
        assert not validator(kind).is_valid(value)
        del place["replcas"]


def test_the_dockerfile_has_one_torch_a_compiler_for_its_kernels_and_copies_and_extras_that_exist() -> None:
    text = render("dockerfile", ClusterSettings())
    stages = {stage.split()[2]: stage for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]}
    lines = [line.split() for line in text.splitlines() if line]
    copied = [path for line in lines if line[0] == "COPY" for path in line[1:-1]]
    installs = [" ".join(line) for line in lines if line[0] == "RUN" and "pip" in line]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert re.search(r"^ARG TORCH=\d+\.\d+$", text, re.MULTILINE)
    assert [*stages] == ["common", "cpu", "cuda"]
    assert "install -y --no-install-recommends gcc libc6-dev" in stages["cuda"]
    assert all("ARG TORCH\n" in stages[stage] for stage in ("cpu", "cuda"))
    assert copied
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert len(installs) == 2
    for install in installs:
        (extras,) = re.findall(r"'\.\[(.+?)\]'", install)
        assert {*extras.split(",")} <= {*project["optional-dependencies"]}
        assert "-c constraints.txt" in install
        assert '"torch==${TORCH}.*"' in install


def test_yaml_files_hold_the_settings_and_no_open_places() -> None:
    settings = ClusterSettings(image="registry/portal:1", nodes=3, study="cross-family", out="/shared/out")

    for kind in ("rayjob", "raycluster", "skypilot", "ray-launcher"):
        text = render(kind, settings)
        assert isinstance(yaml.safe_load(text), dict)
        assert "registry/portal:1" in text
        assert "$study" not in text
        if kind in ("rayjob", "skypilot"):
            assert "portal sweep run cross-family --out /shared/out --gpus 24 --wait" in text


def test_no_lane_is_planned_on_a_head_and_ray_has_all_cores_of_a_worker() -> None:
    settings = ClusterSettings(cpus=48)
    started = yaml.safe_load(render("raycluster", settings))["spec"]["headGroupSpec"]["rayStartParams"]
    launcher = yaml.safe_load(render("ray-launcher", settings))

    assert (started["num-cpus"], started["num-gpus"]) == ("0", "0")
    assert "--num-cpus=0 --num-gpus=0" in launcher["head_start_ray_commands"][-1]
    assert "--gpus all" in launcher["docker"]["worker_run_options"]
    assert "--gpus all" not in launcher["docker"]["run_options"]
    assert 'export SRUN_CPUS_PER_TASK="48"' in render("slurm", settings)


def test_shell_parts_are_valid_bash_and_a_skypilot_job_ends_when_the_study_has() -> None:
    in_skypilot = yaml.safe_load(render("skypilot", ClusterSettings()))["run"]
    for script in (render("slurm", ClusterSettings()), in_skypilot):
        checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr

    assert in_skypilot.count("ray start") == 2
    assert "--block" not in in_skypilot  # SkyPilot waits for the commands of all nodes


@pytest.mark.parametrize(
    ("study", "job"),
    [
        ("data-efficiency", "data-efficiency"),
        ("/shared/my.yaml", "my"),
        ("/shared/My__Study.2.yml", "my-study-2"),
        ("/shared/" + "long-" * 20 + ".yaml", ("long-" * 8).strip("-")),
        ("/shared/__.yaml", "study"),
    ],
)
def test_a_jobs_name_is_one_that_kubernetes_and_slurm_take(study: str, job: str) -> None:
    settings = ClusterSettings(study=study)
    rayjob, skypilot = (yaml.safe_load(render(kind, settings)) for kind in ("rayjob", "skypilot"))
    script = render("slurm", settings)
    lines = script.splitlines()

    assert rayjob["metadata"]["name"] == skypilot["name"] == f"portal-{job}"
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", f"portal-{job}")
    assert len(f"portal-{job}") <= 47  # KubeRay's limit for a RayJob
    assert {f"#SBATCH --job-name=portal-{job}", f"#SBATCH --output=portal-{job}-%j.log"} <= {*lines}
    assert f"portal sweep run {study} " in script
    for kind in ("rayjob", "skypilot", "slurm"):  # every study has a folder of its own
        assert f"/shared/portal/{Path(study).stem}" in render(kind, settings)


def test_skypilot_mounts_a_volume_and_never_a_bucket() -> None:
    mounted = yaml.safe_load(render("skypilot", ClusterSettings(claim="studies")))
    stored = yaml.safe_load(render("skypilot", ClusterSettings(out="s3://bucket/folder")))
    own = yaml.safe_load(render("skypilot", ClusterSettings(out="s3://bucket/folder", data="/opt/rows")))

    assert mounted["volumes"] == {"/shared": "studies"}
    assert mounted["envs"]["PORTAL_DATA"] == "/shared/data"
    for value in (mounted, stored, own):
        assert "file_mounts" not in value
    assert "volumes" not in stored
    assert "PORTAL_DATA" not in stored["envs"]
    assert own["envs"]["PORTAL_DATA"] == "/opt/rows"
    assert "--out s3://bucket/folder --gpus 16 --wait" in stored["run"]


def test_no_file_holds_a_secret_or_opens_a_port_and_no_setting_breaks_out_of_its_place() -> None:
    for kind in KINDS:
        text = render(kind, ClusterSettings())
        for word in ("NodePort", "LoadBalancer", "hostPort", "hostNetwork", "hf_"):
            assert word not in text, kind
    for value in ("a b", "x; rm -rf /", "$(id)", "", "-x", "a\nb"):
        with pytest.raises(ValueError, match="letters, digits"):
            ClusterSettings(image=value)


def test_the_command_line_prints_a_file_with_the_settings_and_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["cluster", "template", "slurm", "--set", "nodes=16", "--set", "study=ablation-rank"]) == 0
    printed = capsys.readouterr().out
    assert "#SBATCH --nodes=16\n" in printed
    assert "portal sweep run ablation-rank" in printed

    for arguments, message in (
        (
            "slrum",
            "Invalid value for 'KIND': unknown 'slrum'; did you mean 'slurm'? "
            "(see `portal cluster template --help`)",
        ),
        ("slurm --set node=2", "unknown setting 'node'; did you mean 'nodes'?"),
        ("slurm --set nodes", "--set nodes: give a value as nodes=VALUE"),
        ("slurm --set nodes=two", "--set nodes=two: not a number"),
        ("slurm --set nodes=0", "nodes 0: at least 1"),
        (
            "slurm --set study=demmo",
            "unknown study 'demmo'; did you mean 'demo'? (or the path of a YAML file)",
        ),
        ("slurm --set out=here", "out here: name an absolute path on shared storage, or a URL"),
        ("rayjob --set out=/x", "out /x: not below /shared, where the claim is mounted, and no URL"),
        (
            "skypilot --set study=my.yaml",
            "study my.yaml: name a study file by its absolute path in the container, as /shared/my.yaml",
        ),
    ):
        assert main(["cluster", "template", *arguments.split()]) == 2
        assert only_line(capsys) == f"portal: {message}"
