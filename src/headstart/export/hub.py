"""To the Hugging Face hub: a proven folder with its card, and nothing of the user's."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from headstart.errors import CheckpointError, UserError
from headstart.export.card import model_card, read_verdict, write_card
from headstart.export.private import public_provenance, public_settings
from headstart.models.published import HEAD_FILE
from headstart.models.resolve import HUB_ERRORS
from headstart.training.model import Trained, save_trained

ADAPTER = "adapter"
NOTE = "headstart_adapter.json"
PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors", HEAD_FILE)
ADAPTER_FILES = (*PEFT_FILES, "adapter.safetensors", NOTE)
SETTINGS = ("tokenizer_config.json", f"{ADAPTER}/adapter_config.json", f"{ADAPTER}/{NOTE}")
"""Files that may tell where the backbone was read from."""

PROOF_TEXTS = ("a", "b c")
LOGIN = (
    "Make a token that may write on https://huggingface.co/settings/tokens, then `hf auth login`, "
    "or give it as token=... or in HF_TOKEN."
)


def push(
    model: Trained,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str | None = None,
    license_name: str | None = None,
) -> str:
    """Upload a model with its card, making the repository where there is none.

    No text of the data, and no path of this machine, is uploaded.

    Args:
        model: what to upload.
        repo: its name on the hub, "owner/name"; "name" alone is the token's owner's.
        private: make a repository that only its owner sees.
        token: of the hub. Default: the one of `hf auth login`, or HF_TOKEN.
        message: of the commit.
        license_name: for the card, as the hub writes it, such as "apache-2.0".

    Returns:
        The address of the model's page.

    Raises:
        CheckpointError: the name cannot be a repository's, the hub does not let this token write
            there, or it cannot be reached.
        UserError: `private` was asked for, and the repository is there and public.
    """
    from huggingface_hub import HfApi, get_token

    _check_name(repo)
    if not (token or get_token()):
        raise CheckpointError(f"{repo}: there is no token of the Hugging Face hub. {LOGIN}")
    api = HfApi(token=token, library_name="headstart")
    with _worded(repo):
        made = api.create_repo(repo, private=private, exist_ok=True)
        public = private and not api.model_info(made.repo_id).private
    if public:
        raise UserError(
            f"{repo}: is there already, and everyone can see it; private=True makes new "
            "repositories only. Choose another name, or make this one private in its settings."
        )
    said = message or f"{made.repo_id.rpartition('/')[2]}, trained with headstart"
    with tempfile.TemporaryDirectory() as folder:
        write_public(model, made.repo_id, Path(folder), license_name=license_name)
        with _worded(repo):
            api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=said)
    return str(made)


def write_public(
    model: Trained, name: str, folder: Path, *, license_name: str | None = None
) -> None:
    """Fill a fresh folder with what may be shown to everyone: proven, with a card.

    Args:
        name: what the card calls the model.
    """
    public = replace(model, provenance=public_provenance(model.provenance))
    public.network.to("cpu").eval()  # after predictions it may be on an accelerator
    save_trained(public, folder, PROOF_TEXTS)
    if not (folder / ADAPTER).exists():
        copy_adapter(model, folder / ADAPTER, ADAPTER_FILES)
    for file in folder.glob(f"{ADAPTER}/*"):
        if file.name not in ADAPTER_FILES:
            file.unlink()
    for file in (folder / name for name in SETTINGS):
        if file.exists():
            values = public_settings(json.loads(file.read_text(encoding="utf-8")))
            text = json.dumps(values, indent=2, ensure_ascii=False)
            file.write_text(text + "\n", encoding="utf-8")
    write_card(folder, model_card(public, name, read_verdict(model), license_name=license_name))


def copy_adapter(model: Trained, place: Path, names: Sequence[str]) -> None:
    """Copy those of the named files that the model's adapter has."""
    for name in names:
        source = model.origin / ADAPTER / name
        if source.exists():
            place.mkdir(exist_ok=True)
            shutil.copyfile(source, place / name)


def _check_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError:
        parts = [re.sub(r"[^\w.-]+", "-", part, flags=re.ASCII) for part in repo.split("/")[-2:]]
        mended = "/".join(re.sub(r"-{2,}|\.{2,}", "-", part).strip("-.") for part in parts)
        mended = mended.removesuffix(".git")[:96]
        hint = f" Did you mean {mended!r}?" if mended.strip("/") and mended != repo else ""
        raise CheckpointError(
            f"{repo!r}: cannot be the name of a repository on the hub. It is owner/name, of "
            f"letters, digits, '-', '_' and '.', 96 characters at most.{hint}"
        ) from None


@contextmanager
def _worded(repo: str) -> Iterator[None]:
    """Word what can go wrong with the hub."""
    try:
        yield
    except HUB_ERRORS as error:
        raise CheckpointError(_why(repo, error)) from error
    except (RuntimeError, ValueError) as error:  # an upload that failed, or an answer it refused
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise CheckpointError(_why(repo, cause)) from error


def _why(repo: str, error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo}: the hub may not be asked, because HF_HUB_OFFLINE is set. Unset it."
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return f"{repo}: the hub does not know this token. {LOGIN}"
    if status == 403:
        return (
            f"{repo}: this token may not write there. Take a name of your own or of an "
            f"organisation that you belong to, and a token that may write. {LOGIN}"
        )
    first = str(error).strip().split("\n")[0]
    if status is None and isinstance(error, HUB_ERRORS):
        return (
            f"{repo}: the hub could not be reached at {constants.ENDPOINT} "
            f"({type(error).__name__}: {first}). Once it can, push again: what is there already "
            "is not sent twice."
        )
    return (
        f"{repo}: the hub refused ({first}). Push again later; see https://status.huggingface.co."
    )
