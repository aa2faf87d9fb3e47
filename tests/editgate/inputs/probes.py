"""The probes that `--benchmarks` names beside lm-eval's tasks: `perplexity:FILE` and `kl:FILE`."""

from __future__ import annotations

from pathlib import Path

from editgate.errors import ConfigError
from editgate.inputs.benchmarks import Area, Benchmark, nothing_to_guess
from editgate.inputs.files.user_files import read_text

PERPLEXITY, KL = "perplexity", "kl"
PROBES = (PERPLEXITY, KL)
LARGEST = 700.0  # nats; exp of more is infinite
TITLES = {PERPLEXITY: "Perplexity of a text", KL: "KL divergence from the unedited model"}


def is_probe(wanted: str) -> bool:
    """Return whether an entry of `--benchmarks` is a probe, or its name without a file."""
    return wanted.partition(":")[0] in PROBES


def find(wanted: str, area: Area, option: str) -> Benchmark:
    """Return the probe that `NAME:FILE` names.

    Args:
        wanted: such as `perplexity:wiki.txt`.
        area: what a failure would mean.
        option: how an error calls it.

    Raises:
        ConfigError: there is no file, or nothing in it.
    """
    name, _, file = wanted.partition(":")
    if not file:
        what = "a text" if name == PERPLEXITY else "a text with one prompt a line"
        raise ConfigError(f"{option}: it needs {what}. Allowed: {name}:FILE.")
    text = read_text(Path(file), f"{option}: {file}")
    texts = tuple(dict.fromkeys(filter(None, map(str.strip, text.split("\n")))))
    if not texts:
        raise ConfigError(f"{option}: {file} has no text.")
    return Benchmark(name, TITLES[name], name, "", 0, "nats", area, "", nothing_to_guess, kind="probe", texts=texts)


def told(probe: Benchmark) -> str:
    """Return in one line how a probe is judged."""
    if probe.name == PERPLEXITY:
        return f"probe {PERPLEXITY}: unedited over edited, of {len(probe.texts):,} lines, {probe.area}"
    return f"probe {KL}: exp(-KL), every token of {len(probe.texts)} prompts, {probe.area}"
