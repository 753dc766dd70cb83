"""The manifests fit Kubernetes' own schemas, alone and put together; each workload is watched, bounded and not root."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from core.settings import PREFIX, Settings
from tests.oracle.images import stages
from tests.paths import ROOT

K8S = ROOT / "docker" / "k8s"
VERSION = "1.33"
FILES = sorted(path for path in (K8S / "base").glob("*.yaml") if path.name != "kustomization.yaml")
WORKLOADS = ("Deployment", "StatefulSet", "Job")


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def base() -> list[dict[str, Any]]:
    return [document for path in FILES for document in documents(path.read_text())]


def of_kind(*kinds: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in base() if one["kind"] in kinds}


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_file_fits_the_schemas(path: Path) -> None:
    """Breaks when the API server would refuse a manifest, or ignore a field that is misspelt."""
    for document in documents(path.read_text()):
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_the_schemas_notice_harm() -> None:
    """Breaks when the check above would take anything."""
    harmed = of_kind("Deployment")["api"]
    harmed["spec"]["replicaz"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(harmed, VERSION, strict=True)


def test_the_kustomization_lists_every_file() -> None:
    """Breaks when a manifest is written and never applied."""
    listed = yaml.safe_load((K8S / "base/kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in FILES]


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_an_overlay_builds_and_fits_the_schemas(overlay: str) -> None:
    """Breaks when a patch names what is not there."""
    kustomize = shutil.which("kustomize") or shutil.which("kubectl")
    if kustomize is None:
        sentence = "no kustomize here: go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1 (needs Go)"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    command = [
        kustomize,
        *(["kustomize"] if kustomize.endswith("kubectl") else ["build"]),
        str(K8S / "overlays" / overlay),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    built = documents(done.stdout)
    for document in built:
        kubernetes_validate.validate(document, VERSION, strict=True)
    names = {(one["kind"], one["metadata"]["name"]) for one in built}
    assert (("StatefulSet", "simulator") in names) == (overlay == "dev")
    assert all(one["metadata"].get("namespace") == "stationwatch" for one in built if one["kind"] != "Namespace")


def test_patches_name_what_is_there() -> None:
    """Breaks, also without kustomize, when a patch's target or the place it replaces is gone."""
    held = {(one["kind"], one["metadata"]["name"]): one for one in base()}
    for overlay in ("dev", "prod"):
        for patch in yaml.safe_load((K8S / "overlays" / overlay / "kustomization.yaml").read_text())["patches"]:
            target = held[patch["target"]["kind"], patch["target"]["name"]]
            for change in yaml.safe_load(patch["patch"]) if patch["patch"].startswith("[") else []:
                place: Any = target
                for step in change["path"].strip("/").split("/"):
                    place = place[int(step)] if isinstance(place, list) else place[step]
                if change["path"].endswith("/env/4/value"):
                    assert container(target)["env"][4]["name"] == "EXECUTORS"


@pytest.mark.parametrize("name", of_kind(*WORKLOADS))
def test_a_workload_is_bounded_hardened_and_watched(name: str) -> None:
    """Breaks when a pod may take the node, run as root, or hang unnoticed."""
    workload = of_kind(*WORKLOADS)[name]
    pod, only = workload["spec"]["template"]["spec"], container(workload)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert only["securityContext"]["readOnlyRootFilesystem"] is True
    assert only["securityContext"]["allowPrivilegeEscalation"] is False
    assert set(only["resources"]["limits"]) == set(only["resources"]["requests"]) == {"cpu", "memory"}
    if workload["kind"] != "Job":
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(only)
        assert name in of_kind("PodDisruptionBudget")
    image, _, tag = only["image"].rpartition(":")
    assert image.removeprefix("stationwatch-") in stages()
    assert tag != "latest"


def test_api_and_simulator_scale_and_each_pod_has_its_slice() -> None:
    """Breaks when scaling would send a station twice, or scale beyond the slices there are."""
    scaled = {one["spec"]["scaleTargetRef"]["name"]: one for one in of_kind("HorizontalPodAutoscaler").values()}
    assert set(scaled) == {"api", "simulator"}
    arguments = container(of_kind("StatefulSet")["simulator"])["args"]
    assert arguments == ["run", "--replica", "$(POD_INDEX)", "--replicas", "10"]
    assert scaled["simulator"]["spec"]["maxReplicas"] == 10


def test_settings_of_the_pods_exist() -> None:
    """Breaks when a variable is misspelt: the process would refuse to start."""
    named = [one["name"] for workload in of_kind(*WORKLOADS).values() for one in container(workload).get("env", [])]
    for folder in ("base", "overlays/dev", "overlays/prod"):
        generated = yaml.safe_load((K8S / folder / "kustomization.yaml").read_text())["configMapGenerator"]
        named += [literal.partition("=")[0] for one in generated for literal in one["literals"]]
    for name in (name for name in named if name.startswith(PREFIX)):
        assert name.removeprefix(PREFIX).lower() in Settings.model_fields, name


def test_secrets_of_the_servers_are_files_where_the_settings_say() -> None:
    """Breaks when prod names a password's file that no pod mounts, or a password stands in a manifest."""
    (generated,) = yaml.safe_load((K8S / "overlays/prod/kustomization.yaml").read_text())["configMapGenerator"]
    literals = dict(literal.split("=", 1) for literal in generated["literals"])
    files = {value for name, value in literals.items() if name.endswith("_FILE")}
    assert {path.rpartition("/")[0] for path in files} == {"/run/secrets/servers"} and len(files) == 3
    for name, workload in of_kind(*WORKLOADS).items():
        mounts = {one["mountPath"] for one in container(workload)["volumeMounts"]}
        assert "/run/secrets/servers" in mounts or name == "mlflow", name
    template = yaml.safe_load(of_kind("ConfigMap")["executor"]["data"]["pod.yaml"])
    (volume,) = template["spec"]["volumes"]
    assert [one["key"] for one in volume["secret"]["items"]] == ["ca.pem"]


def test_the_stream_keeps_its_checkpoint_on_shared_storage() -> None:
    """Breaks when an executor would not see the state that the driver's checkpoint holds."""
    claim = of_kind("PersistentVolumeClaim")["checkpoint"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    stream = of_kind("Deployment")["stream"]
    assert stream["spec"]["strategy"] == {"type": "Recreate"}
    assert "k8s://https://kubernetes.default.svc" in container(stream)["command"]
