"""What a generation_config.json asks for, as options; what cannot be had is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.errors import CheckpointError, UserError
from headstart.generation.options import SAMPLING, Options

SAME = {  # their name: ours
    "max_new_tokens": "max_new_tokens",
    "min_new_tokens": "min_new_tokens",
    "max_length": "max_length",
    "decoder_start_token_id": "start",
    "num_beams": "num_beams",
    "length_penalty": "length_penalty",
    "early_stopping": "early_stopping",
    "num_return_sequences": "num_return_sequences",
    "do_sample": "sample",
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram_size": "no_repeat_ngram_size",
    "forced_bos_token_id": "first",
    "renormalize_logits": "renormalize",
}
THEIR_TOP_K = 50
"""How many words transformers draws from where a folder asks for drawing and says no number."""

NEUTRAL: dict[str, Any] = {  # what would change a text, and the values with which it does not
    "num_beam_groups": (None, 1),
    "diversity_penalty": (None, 0),
    "penalty_alpha": (None,),
    "top_h": (None,),
    "typical_p": (None, 1),
    "epsilon_cutoff": (None, 0),
    "eta_cutoff": (None, 0),
    "encoder_repetition_penalty": (None, 1),
    "encoder_no_repeat_ngram_size": (None, 0),
    "exponential_decay_length_penalty": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "sequence_bias": (None, {}, []),
    "guidance_scale": (None, 1),
    "force_words_ids": (None, []),
    "constraints": (None, []),
    "remove_invalid_values": (None, False),
    "watermarking_config": (None,),
    "stop_strings": (None, []),
    "max_time": (None,),
    "prompt_lookup_num_tokens": (None,),
    "assistant_early_exit": (None,),
    "token_healing": (None, False),
    "dola_layers": (None,),
}


def published(place: str, values: Mapping[str, Any], *, decoder: bool) -> dict[str, Any]:
    """Values of `Options` by name.

    Args:
        place: file, for messages.
        values: of a generation_config.json.
        decoder: whether the model is a decoder alone, whose texts go on from their prompts.

    Raises:
        CheckpointError: a value cannot be honoured, each by its name.
    """
    faults = [
        f"{place}, {key}: {values[key]!r} is not supported. Remove it there if texts are wanted "
        "without."
        for key, neutral in NEUTRAL.items()
        if values.get(key) not in neutral
    ]
    found = {ours: values[name] for name, ours in SAME.items() if values.get(name) is not None}
    if found.get("sample"):
        found |= {name: values[name] for name in SAMPLING if values.get(name) is not None}
        found["top_k"] = values.get("top_k", THEIR_TOP_K) or None
    found["eos"], found["last"] = (
        _tokens(values.get(key)) for key in ("eos_token_id", "forced_eos_token_id")
    )
    words = values.get("bad_words_ids") or []
    found["forbidden"] = tuple(word[0] for word in words if len(word) == 1)
    faults += [
        f"{place}, bad_words_ids: {word!r} is a run of tokens; only single ones can be forbidden."
        for word in words
        if len(word) != 1
    ]
    least = values.get("min_length") or 0
    if least and decoder:
        faults.append(
            f"{place}, min_length: {least!r} counts the prompt, which is not supported. Put "
            "min_new_tokens there instead."
        )
    elif least:  # it counts the token that a text starts with
        found.setdefault("min_new_tokens", least - 1)
    try:
        Options.of(found)
    except UserError as error:
        faults += [f"{place}, {fault}" for fault in error.faults]
    if faults:
        raise CheckpointError(faults)
    return found


def combined(said: Mapping[str, Any], given: Mapping[str, Any]) -> Options:
    """The options of a call: what is given, else what is published, where it fits the given.

    Args:
        said: as `published` gives them.
        given: by name; one of `SAMPLING` lets words be drawn.

    Raises:
        UserError: a name is not known, or a value cannot be; all of them at once.
    """
    given = {name: _list_as_tuple(value) for name, value in given.items()}
    if any(name in given for name in SAMPLING):
        given.setdefault("sample", True)
    left_out: set[str] = set()
    if given.get("sample"):
        left_out |= {"num_beams", "length_penalty", "early_stopping"}
    elif given.get("sample") is False or given.get("num_beams", 1) != 1:
        left_out |= {"sample", *SAMPLING}
    if given.get("max_new_tokens") is not None:
        left_out |= {"max_length"}
    values = {name: value for name, value in said.items() if name not in left_out} | given
    limit, least = given.get("max_new_tokens"), said.get("min_new_tokens", 0)
    if "min_new_tokens" not in given and isinstance(limit, int) and limit >= 1:
        values["min_new_tokens"] = min(least, limit)
    return Options.of(values)


def _list_as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _tokens(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)
