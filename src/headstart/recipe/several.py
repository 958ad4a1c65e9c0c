"""Several tasks in one stage: the values of `task = [...]`, `mix` and `balance`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from headstart.errors import unknown_name
from headstart.recipe.tasks import AnyTask, Positive, Task, from_name, reads_labels
from headstart.recipe.values import Values

OWN = ("name", "data", "weight", "test")
"""Keys of one of several tasks that are not the task's own."""


class Member(Values):
    """One of several tasks.

    In a recipe its task's own keys stand beside these: `{ kind = "classify", data = "books",
    class_weights = "balanced" }`.

    Attributes:
        name: what its head is known by. Default: its data's name.
        data: the data set, or several read as one. Default: the stage's.
        task: what is asked.
        weight: of its loss in the sum.
        test: the data set to measure it on. Default: a fifth of its rows, held out.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$")]
    data: str | tuple[str, ...]
    task: Task
    weight: Positive = 1.0
    test: str | None = None

    @property
    def data_names(self) -> tuple[str, ...]:
        """The data sets that are read."""
        return (self.data,) if isinstance(self.data, str) else self.data

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, values: Any) -> Any:
        """The task's own keys put in a table of their own."""
        if not isinstance(values, dict) or "task" in values:
            return values
        own = {key: value for key, value in values.items() if key in OWN}
        return own | {"task": {k: v for k, v in values.items() if k not in OWN}}

    @model_serializer(mode="wrap")
    def _flat(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = dict(dump(self))
        return values.pop("task") | values


class Several(Values):
    """Tasks that one backbone learns together, each with a head of its own.

    Attributes:
        kind: "several"; in a recipe the list of tasks stands alone.
        tasks: one or more.
    """

    kind: Literal["several"] = "several"
    tasks: Annotated[tuple[Member, ...], Field(min_length=1)]

    @model_serializer(mode="wrap")
    def _listed(self, dump: SerializerFunctionWrapHandler) -> Any:
        return dump(self)["tasks"]


class Mix(Values):
    """Which task an update is of, and how often each comes.

    Attributes:
        by: "proportional", as often as a task has batches, so that an epoch is one pass over each;
            "temperature", in proportion to their number ** (1 / temperature) (Raffel et al. 2020,
            section 3.5.2); "equal"; "hand", by `shares`; "annealed", to their number ** alpha,
            where alpha falls from 1 to 0.2 over the epochs (Stickland & Murray 2019, section 3.3).
        temperature: 1 is proportional, a very large one equal.
        shares: by task, up to a factor.
        batches: "one", an update is of one task; "several", of all of them, each with its share of
            the tokens; "auto", several where `balance` needs it.
    """

    by: Literal["proportional", "temperature", "equal", "hand", "annealed"] = "proportional"
    temperature: Annotated[float, Field(ge=1)] = 2.0
    shares: dict[str, Positive] = Field(default_factory=dict)
    batches: Literal["auto", "one", "several"] = "auto"


class Balance(Values):
    """How the gradients of several tasks become one.

    Attributes:
        by: "sum", of the losses, each times its `weight`; "uncertainty", weights by a softmax over
            the inverse losses (UW-SO: Kirchdorfer et al. 2024, arXiv 2408.07985); "dwa", by how
            fast the losses fall (Liu et al. 2019, "End-to-End Multi-Task Learning with Attention",
            section 3.2); "pcgrad", gradients without what works against another task's (Yu et al.
            2020); "nash", the bargaining solution (Navon et al. 2022).
        temperature: of the softmax of "uncertainty" (default 1) and "dwa" (default 2, the
            authors'); larger ones are nearer to equal weights.
    """

    by: Literal["sum", "uncertainty", "dwa", "pcgrad", "nash"] = "sum"
    temperature: Positive | None = None


def _from_word(value: object) -> object:
    return {"by": value} if isinstance(value, str) else value


def _from_list(value: object) -> object:
    """A list stands for several tasks, anything else for one."""
    if isinstance(value, (list, tuple)):
        return {"kind": "several", "tasks": value}
    return from_name(value)


AnyMix = Annotated[Mix, BeforeValidator(_from_word)]
AnyBalance = Annotated[Balance, BeforeValidator(_from_word)]
StageTask = Annotated[
    Annotated[Several | AnyTask, Field(discriminator="kind")], BeforeValidator(_from_list)
]


def labels_read(stage: Any, data: str) -> frozenset[str]:
    """What the labels of a data set are to a stage: "classes", "numbers", both or nothing."""
    tasks = [m.task for m in members_of(stage) if data in (*m.data_names, m.test)]
    return frozenset(
        "numbers" if task.kind == "regress" else "classes" for task in tasks if reads_labels(task)
    )


def labels_asked(recipe: Any, data: str) -> frozenset[str]:
    """What the labels of a data set must serve as in a recipe; classes where no stage reads it."""
    read = [labels_read(stage, data) for stage in recipe.stage]
    return frozenset[str]().union(*read) or frozenset({"classes"})


def members_of(stage: Any) -> tuple[Member, ...]:
    """The tasks of a stage, one or more; a stage's only task is called by its kind."""
    if isinstance(stage.task, Several):
        return stage.task.tasks
    return (Member(name=stage.task.kind, data=stage.data, task=stage.task),)


def settled(stage: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's values with names and data of several tasks filled in, and its data of theirs."""
    task, data = stage.get("task"), stage.get("data")
    if not isinstance(task, (list, tuple)):
        return dict(stage)
    tasks: list[Any] = []
    for one in task:
        one = {"kind": one} if isinstance(one, str) else one
        if not isinstance(one, Mapping):
            tasks.append(one)
            continue
        one = ({} if data is None else {"data": data}) | dict(one)
        read = one.get("data")
        if "name" not in one and isinstance(read, str):
            one["name"] = read
        elif "name" not in one:
            one["name"] = one.get("kind", "classify")
        tasks.append(one)
    read_by_all = [name for one in tasks if isinstance(one, Mapping) for name in _names(one)]
    return dict(stage) | {"task": tasks, "data": tuple(dict.fromkeys(read_by_all))}


def _names(values: Mapping[str, Any]) -> list[str]:
    data = values.get("data")
    names = [data] if isinstance(data, str) else data if isinstance(data, (list, tuple)) else []
    return [name for name in names if isinstance(name, str)]


def several_faults(place: str, stage: Mapping[str, Any], known: list[str]) -> Iterator[str]:
    """Faults of a stage's several tasks that pydantic does not tell.

    Args:
        place: of the stage, such as "stage[1]".
        stage: its values, settled.
        known: names of data sets.
    """
    tasks = stage["task"]
    if not tasks:
        yield f"{place}.task: is an empty list. Name one task or more."
    names: list[str] = []
    for number, one in enumerate(tasks):
        if isinstance(one, Mapping):
            yield from _member_faults(f"{place}.task[{number}]", one, names, known)
            names.append(str(one.get("name")))
    yield from _mix_faults(place, stage.get("mix"), names)
    yield from _balance_faults(place, stage, tasks)


def _member_faults(
    here: str, one: Mapping[str, Any], names: list[str], known: list[str]
) -> Iterator[str]:
    if one.get("name") in names:
        yield (
            f"{here}.name: {one['name']!r} is taken by an earlier task of the stage. Give each a "
            'name of its own, such as name = "' + f'{one["name"]}-{one.get("kind", "classify")}".'
        )
    for key in ("data", "test"):
        for name in _names({"data": one.get(key)}):
            if name not in known:
                yield unknown_name(f"{here}.{key}", "data set", name, known)


def _mix_faults(place: str, mix: Any, names: list[str]) -> Iterator[str]:
    values = mix if isinstance(mix, Mapping) else {"by": mix}
    by, shares = values.get("by", "proportional"), values.get("shares") or {}
    if by == "hand" or shares:
        if by != "hand":
            yield f'{place}.mix.shares: are read with by = "hand" alone; it is {by!r}. Drop one.'
        for name in shares:
            if name not in names:
                yield unknown_name(f"{place}.mix.shares", "task", str(name), names)
        missing = [name for name in names if name not in shares]
        if missing:
            yield f"{place}.mix.shares: no share for {', '.join(missing)}. Give each task one."
    if values.get("temperature", 2.0) != 2.0 and by != "temperature":
        yield f'{place}.mix.temperature: is read with by = "temperature" alone; it is {by!r}.'
    if by == "annealed" and values.get("batches") == "several":
        yield f"{place}.mix.batches: annealed mixing is of batches of one task. Use one."


def _balance_faults(place: str, stage: Mapping[str, Any], tasks: Any) -> Iterator[str]:
    balance, mix = stage.get("balance"), stage.get("mix")
    values = balance if isinstance(balance, Mapping) else {"by": balance or "sum"}
    mixed = mix if isinstance(mix, Mapping) else {"by": mix or "proportional"}
    by = values.get("by", "sum")
    if by != "sum" and (mixed.get("batches") == "one" or mixed.get("by") == "annealed"):
        yield (
            f"{place}.balance: {by} weighs tasks against each other within an update, so that it "
            'needs batches of several (mix = { batches = "several" }, not annealed), or use sum.'
        )
    if values.get("temperature") is not None and by not in ("uncertainty", "dwa"):
        yield f"{place}.balance.temperature: is read by uncertainty and dwa alone; it is {by!r}."
    weighed = [one.get("weight", 1) != 1 for one in tasks if isinstance(one, Mapping)]
    if by == "nash" and any(weighed):
        yield f"{place}.balance: nash finds the weights itself. Drop the weight of each task."
