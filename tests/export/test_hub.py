"""To a hub on this machine and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants, snapshot_download
from huggingface_hub.utils import disable_progress_bars
from tests.export import fake_hub
from tests.export.fake_hub import COMMIT, FakeHub
from tests.report.sample import verdict

from headstart.errors import CheckpointError, UserError
from headstart.export import hub as module
from headstart.export.hub import push
from headstart.training.model import open_trained

# The hub's library hands raw bytes to its HTTP library in a way that is on its way out.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
TOKEN = "hf_right"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = FakeHub()
    for key, value in {"HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True,
                       "ENDPOINT": server.address, "HF_HUB_CACHE": str(tmp_path / "hub"),
                       "HF_TOKEN_PATH": str(tmp_path / "no-token")}.items():  # fmt: skip
        monkeypatch.setattr(constants, key, value)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                        server.address + "/{repo_id}/resolve/{revision}/{filename}")  # fmt: skip
    monkeypatch.delenv("HF_TOKEN", raising=False)
    disable_progress_bars()
    yield server
    server.shutdown()
    server.server_close()


def fault(*arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        push(*arguments, **options)
    (only,) = caught.value.faults
    return only


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_arrives_is_the_proven_folder_with_its_card(hub, trained, tmp_path):
    url = push(trained, "anna/shop", token=TOKEN, message="first")
    arrived = hub.repositories["anna/shop"]
    assert url == f"{hub.address}/anna/shop"
    assert (arrived.messages, arrived.private) == (["first"], False)
    assert arrived.large == {"model.safetensors"}
    module.write_public(trained, "anna/shop", tmp_path)
    assert arrived.files == contents(tmp_path)
    assert ModelCard(arrived.files["README.md"].decode()).data.library_name == "transformers"


def test_the_other_way_of_uploading_gives_the_same(hub, trained, tmp_path, monkeypatch):
    """With hf_xet the library uploads in a stream; the storage behind it is not faked."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(fake_hub, "LARGE", ".none")
    push(trained, "anna/shop", token=TOKEN)
    module.write_public(trained, "anna/shop", tmp_path)
    assert hub.repositories["anna/shop"].files == contents(tmp_path)


@pytest.mark.parametrize("pooling", ["family", "mean"])
def test_what_was_pushed_comes_back_equal(hub, make, texts, pooling):
    trained = open_trained(make("distilbert", pooling))
    push(trained, "shop", token=TOKEN, private=True)
    assert hub.repositories["anna/shop"].private
    folder = snapshot_download("anna/shop", token=TOKEN)
    assert Path(folder).name == COMMIT
    back = open_trained(folder)
    assert torch.equal(back.logits(texts), trained.logits(texts))


@pytest.mark.filterwarnings("ignore")
def test_transformers_fetches_it(hub, trained, texts):
    transformers = pytest.importorskip("transformers")
    push(trained, "anna/shop", token=TOKEN)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(
        "anna/shop", token=TOKEN
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained("anna/shop", token=TOKEN)
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        got = theirs(batch["input_ids"], batch["attention_mask"]).logits
    torch.testing.assert_close(got, trained.logits(texts), atol=1e-4, rtol=1e-4)
    assert theirs.config.id2label == dict(enumerate(trained.task.labels))


def test_a_second_push_writes_over_the_first(hub, trained, make):
    push(trained, "anna/shop", token=TOKEN)
    before = dict(hub.repositories["anna/shop"].files)
    push(open_trained(make("bert", "cls")), "anna/shop", token=TOKEN)
    after = hub.repositories["anna/shop"]
    assert len(after.messages) == 2
    assert after.files["config.json"] != before["config.json"]


def test_nothing_of_the_user_is_sent(hub, trained, tmp_path):
    """No text of the data, no path: in whatever file."""
    trained.origin, old = tmp_path / "model", trained.origin
    trained.origin.symlink_to(old)
    values = verdict()
    (tmp_path / "verdict.json").write_text(json.dumps(values))
    push(trained, "anna/shop", token=TOKEN)
    sent = b"\n".join(hub.repositories["anna/shop"].files.values()).decode("utf-8", "replace")
    assert "source → target" in sent
    forbidden = ["/home/", "anna/data", "secret", str(tmp_path)]
    forbidden += [mistake["text"] for mistake in values["mistakes"]]
    assert [text for text in forbidden if text in sent] == []
    assert json.loads(hub.repositories["anna/shop"].files["tokenizer_config.json"])[
        "name_or_path"
    ] == "bert"  # fmt: skip


def test_an_adapter_goes_along(hub, trained, tmp_path):
    adapter = tmp_path / "model" / "adapter"
    adapter.mkdir(parents=True)
    config = {"base_model_name_or_path": "/home/anna/bert", "r": 8}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    (adapter / "notes.txt").write_text("private")
    note = {"base": {"name": "/home/anna/bert", "digest": "d"}, "labels": ["/r/x"]}
    (adapter / "headstart_adapter.json").write_text(json.dumps(note))
    for file in trained.origin.iterdir():
        if file.is_file():
            (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
    trained.origin = tmp_path / "model"
    push(trained, "anna/shop", token=TOKEN)
    sent = hub.repositories["anna/shop"].files
    assert json.loads(sent["adapter/adapter_config.json"]) == {
        "base_model_name_or_path": "bert", "r": 8,
    }  # fmt: skip
    assert sent["adapter/adapter_model.safetensors"] == b"weights"
    assert json.loads(sent["adapter/headstart_adapter.json"]) == {
        "base": {"name": "bert", "digest": "d"}, "labels": ["/r/x"],
    }  # fmt: skip
    assert "adapter/notes.txt" not in sent


def test_private_is_never_made_public_by_accident(hub, trained):
    push(trained, "anna/shop", token=TOKEN)
    seen = len(hub.seen)
    assert "everyone can see it" in fault(trained, "anna/shop", token=TOKEN, private=True)
    assert not any("commit" in request for request in hub.seen[seen:])


@pytest.mark.parametrize(("name", "meant"), [
    ("anna/my shop!", "anna/my-shop"), ("a/b/c", "b/c"), ("anna/shop.git", "anna/shop"),
    ("anna/x--y", "anna/x-y"),
])  # fmt: skip
def test_a_name_that_no_repository_can_have(hub, trained, name, meant):
    said = fault(trained, name, token=TOKEN)
    assert "cannot be the name of a repository" in said
    assert f"Did you mean {meant!r}?" in said
    assert hub.seen == []


def test_without_a_token(hub, trained):
    assert "there is no token of the Hugging Face hub. Make a token" in fault(trained, "anna/shop")
    assert hub.seen == []


def test_a_token_that_the_hub_does_not_know(hub, trained):
    said = fault(trained, "anna/shop", token="hf_wrong")
    assert "does not know this token" in said and "hf auth login" in said


@pytest.mark.parametrize("place", ["/api/repos/create", "/api/models/anna/shop/commit",
                                   "/anna/shop.git"])  # fmt: skip
def test_a_token_that_may_not_write(hub, trained, place):
    hub.refuse.append((place, 403))
    assert "this token may not write there" in fault(trained, "anna/shop", token=TOKEN)


@pytest.mark.parametrize("place", ["/api/repos/create", "/storage"])
def test_a_hub_that_refuses(hub, trained, place):
    hub.refuse.append((place, 418))
    assert "the hub refused" in fault(trained, "anna/shop", token=TOKEN)


def test_a_hub_out_of_reach(hub, trained, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said = fault(trained, "anna/shop", token=TOKEN)
    assert "could not be reached at http://127.0.0.1:9" in said


def test_offline(hub, trained, monkeypatch):
    from huggingface_hub.utils import close_session

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    assert "HF_HUB_OFFLINE is set. Unset it." in fault(trained, "anna/shop", token=TOKEN)
    monkeypatch.undo()
    close_session()


def test_errors_are_of_one_kind(hub, trained):
    with pytest.raises(CheckpointError):
        push(trained, "a b", token=TOKEN)
