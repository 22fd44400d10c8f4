# SPDX-License-Identifier: Apache-2.0
"""The fuzzers of test/fuzz, each for ten minutes."""

import glob
import os
import re
import subprocess

import pytest

from httpd_env import REPO
from scale import scaled

FUZZ = os.path.join(REPO, "test", "fuzz")
BUILD = os.path.join(REPO, "build-fuzz")
NAMES = sorted(os.path.basename(path)[len("fuzz_"):-len(".c")]
               for path in glob.glob(os.path.join(FUZZ, "fuzz_*.c")))
# Each fuzzer has only one thread, so two fuzzers run in parallel.
PAIRS = [NAMES[i:i + 2] for i in range(0, len(NAMES), 2)]


def start(name, seconds):
    """Start a fuzzer. It adds the inputs that it finds to build-fuzz/found,
    which `make fuzz` uses, too."""
    found = os.path.join(BUILD, "found", name)
    os.makedirs(found, exist_ok=True)
    words = [os.path.join(BUILD, "fuzz", name),
             "-max_total_time=%d" % seconds, "-max_len=4096", "-timeout=10",
             "-verbosity=0", "-print_final_stats=1",
             "-artifact_prefix=%s-" % os.path.join(BUILD, name)]
    words_of = os.path.join(FUZZ, name + ".dict")
    if os.path.exists(words_of):
        words.append("-dict=" + words_of)
    return subprocess.Popen(
        words + [found, os.path.join(FUZZ, "corpus", name)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)


@pytest.mark.bound(800)
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_490_01_fuzz(names, figure):
    """Fuzzers under ASan and UBSan for ten minutes each"""
    seconds = scaled(600, 2)
    running = [(name, start(name, seconds)) for name in names]
    said = {}
    try:
        for name, process in running:
            said[name] = process.communicate(timeout=seconds + 120)[0].decode(
                "utf-8", "replace")
    finally:
        for _, process in running:
            process.kill()
            process.wait()
    for name, process in running:
        assert process.returncode == 0, said[name][-4000:]
        runs = re.search(r"number_of_executed_units: *(\d+)", said[name])
        assert runs and int(runs.group(1)) > 100 * seconds, said[name][-4000:]
    figure(", ".join("%s: %s runs" % (name, re.search(
        r"number_of_executed_units: *(\d+)", said[name]).group(1))
        for name in names))
