"""What must hold of every service in the compose files. Reads them only; test_stack.py runs them."""

from __future__ import annotations

import re

import pytest

from tests.containers.compose_files import ROOT, load

COMPOSE, GPU, TLS = "docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.tls.yml"
SERVICES = load(COMPOSE)["services"]
OURS = re.compile(r"recserve-(triton|train|client):\d+\.\d+\.\d+(-gpu)?")
PINNED = re.compile(r"[\w.-]+\.[a-z]+/[\w./-]+:v?\d+\.\d+(\.\d+)?[\w.-]*")
INTERNAL_PORTS = {"8000", "8002", "8003"}  # Triton's HTTP and metrics, the side-car's metrics
CLIENT_FILES = {"ca": "ca", "cert": "client_cert", "key": "client_key"}
every_service = pytest.mark.parametrize("name", SERVICES)


def test_the_services_are_those_of_the_documentation() -> None:
    assert set(SERVICES) == {"secret", "triton", "trainer", "client", "perf", "locust", "prometheus", "grafana"}
    text = (ROOT / "docs" / "containers.md").read_text()
    assert [name for name in SERVICES if f"`{name}`" not in text] == []


def test_up_alone_makes_a_secret_and_starts_the_server_and_the_side_car() -> None:
    assert {name for name, service in SERVICES.items() if not service.get("profiles")} == {
        "secret", "triton", "trainer"}  # fmt: skip


def test_the_secret_is_there_before_triton_and_for_those_who_need_it_only() -> None:
    assert SERVICES["triton"]["depends_on"] == {"secret": {"condition": "service_started"}}
    volumes = {name: volume for name, service in SERVICES.items() for volume in service.get("volumes", [])
               if volume.startswith("admin:")}  # fmt: skip
    readers = dict.fromkeys(("triton", "trainer", "perf"), "admin:/admin:ro")
    assert volumes == {"secret": "admin:/admin", **readers}
    (file,) = {SERVICES[name]["environment"]["RECSERVE_ADMIN_SECRET_FILE"] for name in ("secret", "triton")}
    assert file == "/admin/secret"
    for words in (SERVICES["trainer"]["entrypoint"][-1].split(), SERVICES["perf"]["command"]):
        assert f"--admin_secret_file={file}" in words


@every_service
def test_no_rights_that_are_not_needed(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode", "userns_mode", "user"} & set(service)
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


@every_service
def test_files_of_the_host_are_read_only(name: str) -> None:
    binds = [volume for volume in SERVICES[name].get("volumes", []) if volume.startswith((".", "/", "~"))]
    assert [volume for volume in binds if not volume.endswith(":ro")] == []


@every_service
def test_published_ports_listen_on_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        host, _, inside = port.split(":")
        assert host == "127.0.0.1", port
        assert inside not in INTERNAL_PORTS, port
        assert "edge" in SERVICES[name]["networks"], f"{name} publishes {port}, which an internal network does not do"


@every_service
def test_only_who_publishes_a_port_leaves_the_internal_network(name: str) -> None:
    networks = set(SERVICES[name]["networks"])
    assert networks == ({"internal", "edge"} if SERVICES[name].get("ports") else {"internal"})
    assert load(COMPOSE)["networks"]["internal"]["internal"] is True


@every_service
def test_images_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert OURS.fullmatch(image) or PINNED.fullmatch(image), image
    assert ("build" in SERVICES[name]) == image.startswith("recserve-")


@every_service
def test_health_check_or_a_run_that_ends(name: str) -> None:
    service = SERVICES[name]
    if service["healthcheck"].get("disable"):
        assert service["restart"] == "no", "a service that stays needs a health check"
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"
        assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])


def test_a_service_that_stays_depends_on_no_other_that_ends() -> None:
    """podman starts none again, after a crash, of which a dependency is not running."""
    staying = [service for service in SERVICES.values() if service["restart"] != "no"]
    needed = {name for service in staying for name in service.get("depends_on", {})}
    assert {name for name in needed if SERVICES[name]["restart"] == "no"} == set()


def test_health_of_triton_is_a_score() -> None:
    assert SERVICES["triton"]["healthcheck"]["test"][-1] == "/opt/recserve/triton_health.py"
    assert "triton_health.py /opt/recserve/" in (ROOT / "Dockerfile.triton").read_text()


def test_clients_wait_for_a_score_and_the_side_car_does_not() -> None:
    for name in ("client", "perf", "locust"):
        assert SERVICES[name]["depends_on"]["triton"]["condition"] == "service_healthy"
    # healthy would be a circle: nothing can be scored before the side-car has published
    assert SERVICES["trainer"]["depends_on"]["triton"]["condition"] == "service_started"


def test_only_the_side_car_writes_models() -> None:
    writers = {name for name, service in SERVICES.items() if "models:/models" in service.get("volumes", [])}
    assert writers == {"trainer"}
    assert "models:/models:ro" in SERVICES["triton"]["volumes"]


def test_triton_may_finish_its_requests() -> None:
    entrypoint = (ROOT / "deploy" / "containers" / "triton_entrypoint.sh").read_text()
    exit_timeout = int(re.search(r"--exit-timeout-secs=(\d+)", entrypoint)[1])
    assert int(SERVICES["triton"]["stop_grace_period"].removesuffix("s")) > exit_timeout


@every_service
def test_every_volume_network_and_secret_is_declared(name: str) -> None:
    file, service = load(COMPOSE), SERVICES[name]
    named = {volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith(".")}
    assert named <= set(file["volumes"])
    assert set(service["networks"]) <= set(file["networks"])
    assert set(service.get("secrets", [])) <= set(file["secrets"])


def test_secrets_are_files_outside_of_images_and_the_repository() -> None:
    secrets = load(COMPOSE)["secrets"]
    assert all(set(secret) == {"file"} for secret in secrets.values())
    assert [secret["file"] for secret in secrets.values()] == ["./deploy/secrets/grafana_admin_password"]
    assert all(secret["file"].startswith("./deploy/secrets/") for secret in load(COMPOSE, TLS)["secrets"].values())
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().split()
    assert "deploy/secrets" in (ROOT / ".dockerignore").read_text().split()
    words = re.compile(r"PASSWORD|SECRET|TOKEN|KEY", re.IGNORECASE)
    for name, service in SERVICES.items():
        open_secrets = [v for v in service.get("environment", {}) if words.search(v) and not v.endswith("_FILE")]
        assert not open_secrets, f"{name}: {open_secrets}"


def test_the_tls_file_adds_to_each_service_its_own_keys_and_options() -> None:
    plain, tls = load(COMPOSE)["services"], load(COMPOSE, TLS)["services"]
    changed = {name for name in tls if tls[name] != plain[name]}
    assert changed == {"triton", "trainer", "client", "perf", "locust"}
    files = [f"--tls_{what}=/run/secrets/tls_{secret}" for what, secret in CLIENT_FILES.items()]
    for name in changed - {"triton"}:
        assert tls[name]["secrets"] == [f"tls_{secret}" for secret in CLIENT_FILES.values()]
    for name in ("client", "perf", "locust"):
        assert tls[name]["command"] == [*plain[name]["command"], "--tls", *files]
    plain_words = plain["trainer"]["environment"]["RECSERVE_SIDECAR_ARGS"].split()
    assert tls["trainer"]["environment"]["RECSERVE_SIDECAR_ARGS"].split() == ["--tls", *files, *plain_words]
    assert tls["triton"]["secrets"] == ["tls_ca", "tls_server_cert", "tls_server_key"]
    words = tls["triton"]["environment"]["RECSERVE_TRITON_ARGS"].split()
    assert {"--grpc-use-ssl=true", "--grpc-use-ssl-mutual=true", "--http-address=127.0.0.1"} < set(words)
    named = [word.split("/run/secrets/")[1] for word in words if "/run/secrets/" in word]
    assert sorted(named) == tls["triton"]["secrets"]


def test_the_gpu_file_changes_only_where_training_and_serving_run() -> None:
    plain, gpu = load(COMPOSE), load(COMPOSE, GPU)
    changed = {name for name in gpu["services"] if gpu["services"][name] != plain["services"][name]}
    assert changed == {"trainer", "triton"}
    for name in changed:
        (device,) = gpu["services"][name]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    trainer = gpu["services"]["trainer"]
    assert trainer["build"]["args"]["FLAVOR"] == "gpu"
    assert trainer["build"]["args"]["BASE_IMAGE"] == "nvcr.io/nvidia/tensorflow:25.02-tf2-py3"
    assert trainer["image"] != plain["services"]["trainer"]["image"], "both may be built on one machine"
    assert trainer["entrypoint"] == plain["services"]["trainer"]["entrypoint"]


def test_variables_reach_their_places() -> None:
    services = load(COMPOSE, variables={"RECSERVE_GRPC_PORT": "9001", "RECSERVE_TRITON_TARGET": "official-25.02"})[
        "services"
    ]
    assert services["triton"]["ports"] == ["127.0.0.1:9001:8001"]
    assert services["triton"]["build"]["target"] == "official-25.02"


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_build_targets_and_arguments_exist(name: str) -> None:
    build = load(COMPOSE, GPU)["services"][name]["build"]
    text = (ROOT / build["dockerfile"]).read_text()
    assert re.search(rf"^FROM .* AS {re.escape(build['target'])}$", text, re.MULTILINE)
    for argument in build.get("args", {}):
        assert re.search(rf"^ARG {argument}=", text, re.MULTILINE), argument
