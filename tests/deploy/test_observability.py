"""Prometheus' configuration and rules, and every query of the dashboard, by a real Prometheus and a real Triton."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from client import GrpcTransport, Scorer
from serving.embedded import TritonServer

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "recserve.json").read_text())
SIDECAR = "recserve_sidecar_"
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
VARIABLES = {"$__rate_interval": "10s", "$model": ".*"}

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="prometheus and promtool are not installed (Debian: apt-get install prometheus)",
)


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_prometheus
def test_prometheus_accepts_the_configuration_and_the_rules() -> None:
    assert "8 rules found" in promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
    promtool("check", "rules", "--lint-fatal", str(PROMETHEUS / "rules.yml"))


@needs_prometheus
def test_alerts_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(Path(__file__).with_name("prometheus_rules_test.yml")))


def test_every_alert_is_explained() -> None:
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
    text = (ROOT / "docs" / "operations.md").read_text()
    for rule in rules["groups"][0]["rules"]:
        assert f"| {rule['alert']} |" in text


def test_panels_lie_side_by_side_and_name_the_provisioned_source() -> None:
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    expected = {"type": source["type"], "uid": source["uid"]}
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"] == expected
        assert all(target["datasource"] == expected for target in panel["targets"])
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "recserve.yml").read_text())["providers"][0]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"


class Scraped:
    """A Prometheus with our configuration, but for the addresses, that watches a Triton under load."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        return self._get("query", query=expression)["result"]

    def rules(self) -> list[dict[str, Any]]:
        return self._get("rules")["groups"][0]["rules"]

    def values_of(self, label: str, series: str) -> list[str]:
        return self._get(f"label/{label}/values", **{"match[]": series})

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as stream:  # noqa: S310
            answer = json.load(stream)
        assert answer["status"] == "success"
        return answer["data"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _configuration(folder: Path, triton: str, own_port: int) -> Path:
    shutil.copytree(PROMETHEUS, folder, dirs_exist_ok=True)
    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    targets = {"triton": triton, "prometheus": f"127.0.0.1:{own_port}"}
    for job in config["scrape_configs"]:
        if job["job_name"] in targets:
            job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    return folder / "prometheus.yml"


def _keep_scoring(url: str, tiny_model: Any, over: threading.Event) -> None:
    rows = tiny_model.served(tiny_model.rows(8))
    with Scorer(GrpcTransport(url), "sim") as scorer:
        while not over.is_set():
            scorer.score(rows)
            time.sleep(0.02)


@pytest.fixture(scope="module")
def scraped(tiny_repository: Path, tiny_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    summaries = ["--metrics-config=summary_latencies=true", "--metrics-config=summary_quantiles=0.5:0.05,0.99:0.001"]
    folder, port, over = tmp_path_factory.mktemp("prometheus"), _free_port(), threading.Event()
    with TritonServer(tiny_repository, extra_args=[*summaries, "--metrics-interval-ms=500"]) as server:
        ends = server.endpoints
        load = threading.Thread(target=_keep_scoring, args=(ends.grpc, tiny_model, over))
        load.start()
        config = _configuration(folder / "config", f"{ends.host}:{ends.metrics_port}", port)
        arguments = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                ["prometheus", *arguments, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
            )
        try:
            found = Scraped(f"http://127.0.0.1:{port}")
            _wait_for_rates(found, folder / "log")
            yield found
        finally:
            over.set()
            load.join()
            process.terminate()
            process.wait(20)


def _wait_for_rates(found: Scraped, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            rate = found.query("sum(rate(nv_inference_count[5s])) > 0")
            cpu = found.query("nv_cpu_memory_total_bytes > 0")
            if rate and cpu and {rule["health"] for rule in found.rules()} == {"ok"}:
                return
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.5)
    pytest.fail(f"Prometheus has no rates after a minute:\n{log.read_text()[-2000:]}")


@needs_prometheus
@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_a_panel_shows_what_triton_says(scraped: Scraped, title: str, expression: str) -> None:
    result = scraped.query(expression)
    if SIDECAR in expression:
        return  # no side-car runs here: that Prometheus understands the query is all
    assert result, f"{title}: no data"
    values = [float(sample["value"][1]) for sample in result]
    assert all(value >= 0 for value in values), (title, values)  # a NaN is not


@needs_prometheus
@pytest.mark.server
@pytest.mark.slow
def test_the_figures_are_those_of_the_load(scraped: Scraped) -> None:
    by_title = dict(EXPRESSIONS)
    rows = float(scraped.query(by_title["Rows per second"])[0]["value"][1])
    merged = float(scraped.query(by_title["Rows of an execution"])[0]["value"][1])
    assert 20 < rows < 8 / 0.02  # a request of 8 rows at most every 20 ms
    assert merged == pytest.approx(8, abs=0.01)
    assert scraped.values_of("model", "nv_inference_count") == ["sim"]  # the query behind the variable $model


@needs_prometheus
@pytest.mark.server
@pytest.mark.slow
def test_only_what_is_wrong_raises_an_alert(scraped: Scraped) -> None:
    states = {rule["name"]: rule["state"] for rule in scraped.rules()}
    del states["SidecarStalled"]  # no side-car runs
    assert "firing" not in states.values(), states  # on a busy machine one may be pending for a moment


def test_every_metric_of_triton_in_rules_and_dashboard_is_spelled_as_triton_does() -> None:
    """Where no Prometheus is installed, at least the names: nv_… of Triton 2.51 with summaries."""
    known = {
        "nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count", "nv_inference_exec_count",
        "nv_inference_request_duration_us", "nv_inference_queue_duration_us", "nv_inference_compute_input_duration_us",
        "nv_inference_compute_infer_duration_us", "nv_inference_compute_output_duration_us",
        "nv_inference_pending_request_count", "nv_cpu_utilization", "nv_cpu_memory_total_bytes",
        "nv_cpu_memory_used_bytes", "nv_inference_request_summary_us", "nv_inference_queue_summary_us",
    }  # fmt: skip
    text = (PROMETHEUS / "rules.yml").read_text() + " ".join(expression for _, expression in EXPRESSIONS)
    assert set(re.findall(r"\bnv_\w+", text)) <= known


@pytest.mark.server
def test_triton_forgets_the_counts_of_a_model_that_it_unloads(tiny_repository: Path) -> None:
    """The alert NoVersionLive rests on it."""
    import tritonclient.grpc as triton

    with (
        TritonServer(tiny_repository, model_control_mode="explicit", load_models=["sim"]) as server,
        triton.InferenceServerClient(server.endpoints.grpc) as client,
    ):
        assert "nv_inference_count{" in _metrics(server)
        client.unload_model("sim")
        end = time.monotonic() + 15
        while "nv_inference_count{" in _metrics(server):
            assert time.monotonic() < end, "the counts are still there"
            time.sleep(0.1)
        client.load_model("sim")
        assert 'nv_inference_count{model="sim",version="1"}' in _metrics(server)


def _metrics(server: TritonServer) -> str:
    with urllib.request.urlopen(server.endpoints.metrics, timeout=10) as stream:  # noqa: S310
        return str(stream.read().decode())
