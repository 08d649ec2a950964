"""Checks the examples of `packaging/` as far as that goes without Docker, Kubernetes and a running systemd.

    check.py DIRECTORY      OPENLINE_BIN names the command, which reads the configurations
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

TOOLS = pathlib.Path(sys.executable).parent
# A service that is locked up less than this is not (0 is the best, 10 the worst).
EXPOSURE = 1.5


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


def configuration(text):
    """Checks a configuration as the server does; how long its drain lasts, and where it listens."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        run(os.environ["OPENLINE_BIN"], "check-config", file.name)
    drain = seconds(re.search(r'^drain = "(.*)"', text, re.MULTILINE)[1])
    ports = [int(port) for port in re.findall(r'^listen = ".*:(\d+)"', text, re.MULTILINE)]
    return drain, ports


def docker(directory):
    """The Dockerfile by a linter; the image's user."""
    file = directory / "Dockerfile"
    run(TOOLS / "hadolint", "--no-color", file)
    text = file.read_text()
    kept = {line for line in pathlib.Path(".dockerignore").read_text().splitlines() if not line.startswith("#")}
    assert "crates" not in kept and "**/target" in kept, "what the image is built from"
    return int(re.search(r"^USER (\d+)$", text, re.MULTILINE)[1])


def compose(directory, drain):
    """The compose file by the schema of the Compose Specification, and against what it starts."""
    file = directory / "compose.yaml"
    run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)
    service = yaml.safe_load(file.read_text())["services"]["openline"]
    assert seconds(service["stop_grace_period"]) > drain, "stop_grace_period is longer than drain"
    assert (file.parent / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    for volume in service["volumes"]:
        source = volume.split(":")[0]
        assert not source.startswith(".") or (file.parent / source).is_file(), source


def kubernetes(directory, user):
    """The manifests by the API's own schemas, the oldest supported and the newest; the configuration within; and what must fit."""
    documents = list(yaml.safe_load_all((directory / "kubernetes" / "openline.yaml").read_text()))
    versions = ["1.34", kubernetes_validate.latest_version()]
    for document in documents:
        for version in versions:
            kubernetes_validate.validate(document, version, strict=True)
    config, deployment, claim, service = documents
    drain, ports = configuration(config["data"]["openline.toml"])
    pod = deployment["spec"]["template"]["spec"]
    container, = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] > drain, "terminationGracePeriodSeconds is longer than drain"
    assert pod["securityContext"]["runAsUser"] == user, "the image's user"
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if volume["name"] == "log"]
    assert claims == [claim["metadata"]["name"]], "the log outlives the pod"
    assert [port["containerPort"] for port in container["ports"]] == ports
    names = {port["name"] for port in container["ports"]}
    assert {probe["httpGet"]["port"] for probe in (container["livenessProbe"], container["readinessProbe"])} <= names
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    assert deployment["spec"]["template"]["metadata"]["labels"].items() >= service["spec"]["selector"].items()
    return versions


def systemd(directory):
    """The units by systemd's own reader, and how far the service is locked up."""
    with tempfile.TemporaryDirectory() as scratch:
        units = []
        for unit in sorted((directory / "systemd").iterdir()):
            # The command need not be installed where this is checked.
            text = unit.read_text().replace("/usr/bin/openline", "/bin/true")
            units.append(pathlib.Path(scratch) / unit.name)
            units[-1].write_text(text)
        run("systemd-analyze", "verify", *units)
        threshold = str(round(EXPOSURE * 10))
        told = run("systemd-analyze", "security", "--offline=yes", f"--threshold={threshold}", "--no-pager", units[0])
    return re.search(r"Overall exposure level for \S+: ([\d.]+)", told)[1]


def main():
    directory = pathlib.Path(sys.argv[1])
    drain, _ = configuration((directory / "openline.toml").read_text())
    user = docker(directory)
    compose(directory, drain)
    versions = kubernetes(directory, user)
    exposure = systemd(directory)
    print(f"Dockerfile: no complaint of hadolint. compose.yaml: by the Compose Specification's schema. kubernetes: by the schemas of "
          f"{' and '.join(versions)}. systemd: verified, exposure {exposure}. Configurations: sound")


if __name__ == "__main__":
    main()
