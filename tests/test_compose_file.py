"""docker-compose.yml: safe and reproducible as written, and, where Docker runs, a Milvus that answers."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from mm_milvus_cli.demo_catalog import draw_catalog

from mm_milvus import Client

COMPOSE = Path(__file__).resolve().parents[1] / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return loaded


def ports(compose: dict[str, Any]) -> list[tuple[str, str]]:
    """(service, mapping) of every published port, with the defaults of its variables."""
    return [
        (name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(port)))
        for name, service in compose["services"].items()
        for port in service.get("ports", [])
    ]


def test_the_services_are_milvus_and_its_two_helpers(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"etcd", "minio", "milvus"}
    assert {
        name: rule["condition"] for name, rule in compose["services"]["milvus"]["depends_on"].items()
    } == {
        "etcd": "service_healthy",
        "minio": "service_healthy",
    }


def test_every_version_is_pinned(compose: dict[str, Any]) -> None:
    tags = {name: service["image"].rpartition(":")[2] for name, service in compose["services"].items()}
    for name, tag in tags.items():
        assert re.fullmatch(r"v\d+\.\d+\.\d+|RELEASE\.\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ", tag), (name, tag)


def test_milvus_is_a_release_whose_metrics_port_runs_nothing(compose: dict[str, Any]) -> None:
    """CVE-2026-26190 is mended in 2.5.27, 2.6.10 and 3.0.1."""
    tag = compose["services"]["milvus"]["image"].rpartition(":v")[2]
    major, minor, patch = map(int, tag.split("."))
    mended = {(2, 5): 27, (2, 6): 10, (3, 0): 1}
    assert patch >= mended.get((major, minor), 0)
    assert (major, minor) >= min(mended)


def test_every_service_has_a_health_check_and_a_named_volume(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        volume, _, inside = service["volumes"][0].partition(":")
        assert volume in compose["volumes"], name
        assert inside.startswith("/"), name


def test_only_milvus_is_published_and_only_to_this_machine(compose: dict[str, Any]) -> None:
    """Neither the metrics port 9091 nor the stores behind Milvus can be reached."""
    assert ports(compose) == [("milvus", "127.0.0.1:19530:19530")]
    assert not any("network_mode" in service for service in compose["services"].values())


# --- with Docker --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    """Where pytest-docker finds the services."""
    return str(COMPOSE)


def _why_not() -> str | None:
    if find_spec("pytest_docker") is None:
        return "pytest-docker is not installed"
    if shutil.which("docker") is None:
        return "there is no docker command"
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            return f"`{' '.join(command)}` fails: {(done.stderr or done.stdout).strip().splitlines()[-1]}"
    return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def composed_uri(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh Milvus of the compose file, on a free port; its volumes go with it."""
    if reason := _why_not():
        pytest.skip(f"Docker does not run here: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILVUS_PORT", str(_free_port()))
        services = request.getfixturevalue("docker_services")  # up --wait: healthy when it returns
        yield f"http://127.0.0.1:{services.port_for('milvus', 19530)}"


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(900)  # the first time, the images are downloaded
def test_the_demo_catalog_on_the_composed_milvus(composed_uri: str, tmp_path: Path) -> None:
    catalog = draw_catalog(tmp_path)
    rows = [json.loads(line) for line in catalog.read_text(encoding="utf-8").splitlines()]
    with Client(composed_uri, collection="composed") as shop:
        report = shop.ingest(catalog)
        assert (report.read, report.written, report.rejected) == (len(rows), len(rows), 0)
        assert shop.info().rows == len(rows)
        picture = shop.query(image=tmp_path / "images" / "runners-white-1.jpg", text="red", limit=2)
        assert {hit.id for hit in picture.hits} == {"runners-red-1", "runners-red-2"}
        cheap = shop.query("red t-shirt", filter='price < 30 and color == "red"', limit=len(rows))
        assert {hit.id for hit in cheap.hits} == {
            row["id"] for row in rows if row["price"] < 30 and row["color"] == "red"
        }
        again = shop.ingest(catalog)
        assert (again.unchanged, again.images_encoded, again.texts_encoded) == (len(rows), 0, 0)
        shop.drop()
