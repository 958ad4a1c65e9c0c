from __future__ import annotations

import os

import pytest

from headstart.training.cores import num_cores

THERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def write(folder, **files):
    for name, text in files.items():
        file = folder / name.replace("__", "/").replace("_DOT_", ".")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("max 100000\n", THERE),
        ("9900000 100000\n", THERE),
        ("odd\n", THERE),
        ("100000 0\n", THERE),
    ],
)
def test_a_container_of_today(tmp_path, text, cores):
    assert num_cores(write(tmp_path, cpu_DOT_max=text)) == cores


def test_a_container_of_yesterday(tmp_path):
    files = {"cpu__cpu_DOT_cfs_quota_us": "100000\n", "cpu__cpu_DOT_cfs_period_us": "100000\n"}
    assert num_cores(write(tmp_path, **files)) == 1
    files["cpu__cpu_DOT_cfs_quota_us"] = "-1\n"
    assert num_cores(write(tmp_path, **files)) == THERE


def test_no_container(tmp_path):
    assert num_cores(tmp_path / "none") == THERE
