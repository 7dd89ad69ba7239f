"""Cluster files are valid where they are used: KubeRay's own schemas, bash, YAML."""

import copy
import json
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.render import KINDS, ClusterSettings, render
from portal.cli import main
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
def test_kuberay_files_are_valid_against_its_schemas(kind: str) -> None:
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


@needs_schemas
@pytest.mark.parametrize("kind", ["rayjob", "raycluster"])
def test_the_validation_sees_a_misspelt_field_anywhere(kind: str) -> None:
    whole = yaml.safe_load(render(kind, ClusterSettings()))

    def spec_of(value: Any) -> Any:
        return value["spec"].get("rayClusterSpec", value["spec"])

    for path in (("headGroupSpec",), ("headGroupSpec", "template", "spec"), ("workerGroupSpecs", 0)):
        value = copy.deepcopy(whole)
        place = spec_of(value)
        for part in path:
            place = place[part]
        place["replcas"] = 1
        assert not validator(kind).is_valid(value), path


@pytest.mark.parametrize("kind", ["rayjob", "raycluster", "skypilot", "ray-launcher"])
def test_yaml_files_hold_the_settings_and_no_open_places(kind: str) -> None:
    settings = ClusterSettings(image="registry/portal:1", nodes=3, study="cross-family", out="/data/out")

    text = render(kind, settings)

    assert isinstance(yaml.safe_load(text), dict)
    assert "registry/portal:1" in text
    assert "$study" not in text
    if kind in ("rayjob", "skypilot"):
        assert "portal sweep run cross-family --out /data/out --wait" in text


@pytest.mark.parametrize("kind", ["slurm", "skypilot"])
def test_shell_parts_are_valid_bash(kind: str) -> None:
    text = render(kind, ClusterSettings())
    script = text if kind == "slurm" else yaml.safe_load(text)["run"]

    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stderr


def test_no_file_holds_a_secret_or_opens_a_port() -> None:
    for kind in KINDS:
        text = render(kind, ClusterSettings())
        for word in ("NodePort", "LoadBalancer", "hostPort", "hostNetwork", "hf_"):
            assert word not in text, kind


@pytest.mark.parametrize("value", ["a b", "x; rm -rf /", "$(id)", "", "-x", "a\nb"])
def test_a_setting_that_would_break_out_of_its_place_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        ClusterSettings(image=value)


def test_the_command_line_prints_a_file_with_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "template", "slurm", "--set", "nodes=16", "--set", "study=ablation-rank"]) == 0
    printed = capsys.readouterr().out
    assert "#SBATCH --nodes=16\n" in printed
    assert "portal sweep run ablation-rank" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["slrum"], "unknown kind 'slrum'; did you mean 'slurm'?"),
        (["slurm", "--set", "node=2"], "--set node=2: unknown name; did you mean 'nodes'?"),
        (["slurm", "--set", "nodes"], "--set nodes: give a value as nodes=VALUE"),
        (["slurm", "--set", "nodes=two"], "--set nodes=two: not a number"),
        (["slurm", "--set", "nodes=0"], "nodes 0: at least 1"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cluster", "template", *arguments]) == 2
    assert capsys.readouterr().err == f"portal: {message}\n"
