"""The search for hyperparameters: what it tries, that it finds the best, and that it goes on where it was stopped."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editgate.tune import space as spaces
from editgate.tune.__main__ import main
from editgate.tune.search import search
from editgate.tune.space import Space
from editgate.tune.trials import Measured, Score, Trials
from editors.core.registry import built_in, names

METHODS = sorted({*tomllib.loads(spaces.FILE.read_text(encoding="utf-8"))} & {*names()})
PLACED = [name for name in METHODS if Space.of(name).blocks]
SHARE = st.floats(0, 1)


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_is_one_that_the_method_takes(method: str) -> None:
    """No hyperparameter that a method needs is missing from its space, and no name or value is wrong."""
    space, record = Space.of(method), built_in(method).Hyperparameters
    for place in space.places(30, one_layer="layer" in record.model_fields):
        for numbers in space.combinations():
            record.model_validate({**place, **numbers})


@given(st.sampled_from(PLACED), st.integers(1, 100))
def test_places_lie_within_the_model(method: str, depth: int) -> None:
    """Whatever its depth, blocks exist, differ, and stand next to one another."""
    for place in Space.of(method).places(depth, one_layer=False):
        layers = place["layers"]
        assert layers == list(range(layers[0], layers[-1] + 1))
        assert layers[0] >= 0
        assert layers[-1] < depth


class Pretended(Trials):
    """Trials whose scores are known: the nearer to layer 7 and to a rate of 0.1, the better."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], int]] = []

    def score(self, settings: Any, count: int, *, with_perplexity: bool, tick: Any) -> Score:  # noqa: ANN401
        """Return a score without any model."""
        self.asked.append((dict(settings), count))
        tick()
        off = abs(settings["layers"][0] - 7) / 30 + (settings["v_lr"] != 0.1) / 10
        return Score.of([Measured(1.0, 1 - off, 1.0, 1.0 if with_perplexity else None)])


def test_the_best_place_and_the_best_number_are_found() -> None:
    """The winner is last, has the best of both, and only a few settings are tried on all edits."""
    space, trials = Space.of("rome"), Pretended()
    places = space.places(30, one_layer=False)
    tried = search(trials, space, places, 20)
    assert tried[-1].settings["v_lr"] == 0.1
    best = min((place["layers"] for place in places), key=lambda layers: abs(layers[0] - 7))
    assert tried[-1].settings["layers"] == best
    assert sum(count == 20 for _, count in trials.asked) == 3
    assert tried[-1].round == 3


def test_of_a_method_without_blocks_its_numbers_are_searched() -> None:
    """It has one place, which names no block; every number is tried there, and those that are given are kept."""
    space = Space(blocks=(), fixed={"layers": [7]}, numbers={"v_lr": (0.5, 0.1)})
    assert space.model_copy(update={"fixed": {}}).places(30, one_layer=False) == [{}]
    tried = search(Pretended(), space, [{}], 20)
    assert tried[-1].settings == {"layers": [7], "v_lr": 0.1}


def test_what_is_given_is_not_searched() -> None:
    """A number and a place that `--editor-arg` gave are in every setting, and nothing else is tried for them."""
    space = Space.of("rome").fixing({"v_lr": 0.3, "layers": [9], "v_num_grad_steps": 7})
    assert space.places(30, one_layer=False) == [{"layers": [9]}]
    tried = search(Pretended(), space, space.places(30, one_layer=False), 20)
    assert {(row.settings["v_lr"], *row.settings["layers"], row.settings["v_num_grad_steps"]) for row in tried} == {
        (0.3, 9, 7)
    }
    assert {row.settings["clamp_norm_factor"] for row in tried} == {*Space.of("rome").numbers["clamp_norm_factor"]}


def test_of_settings_that_all_fail_in_one_thing_the_better_goes_on() -> None:
    """On few edits no paraphrase may take, so that every total is 0: then the mean decides, not the order."""

    class NoParaphrase(Pretended):
        def score(self, settings: Any, count: int, *, with_perplexity: bool, tick: Any) -> Score:  # noqa: ANN401
            found = super().score(settings, count, with_perplexity=with_perplexity, tick=tick)
            return Score.of([Measured(found.paraphrase or 0.0, 0.0, 1.0, found.kept)])

    space = Space.of("rome")
    tried = search(NoParaphrase(), space, space.places(30, one_layer=False), 20)
    assert tried[-1].score.total == 0
    assert tried[-1].settings["v_lr"] == 0.1
    assert abs(tried[-1].settings["layers"][0] - 7) <= 1


@given(SHARE, SHARE, SHARE)
def test_a_setting_that_fails_in_one_thing_fails(efficacy: float, paraphrase: float, locality: float) -> None:
    """The total is no more than three times the least share, and 0 if one is 0: nothing makes up for it."""
    total = Score.of([Measured(efficacy, paraphrase, locality)]).total
    assert total <= 3 * min(efficacy, paraphrase, locality) + 1e-9
    assert Score.of([Measured(efficacy, 0.0, locality)]).total == 0


def test_what_was_measured_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second search finds every trial in the store and writes the same file, which the method's record takes.

    What `--editor-arg` gives is in that file, under the record's names.
    """
    given = ["--editor-arg=layer=1", "--editor-arg=v_lr=0.3"]
    arguments = ["pythia-mini-s", "--editor=rome", "--count=1", f"--store={tmp_path}", *given]
    main([*arguments, f"--output={tmp_path / 'first.toml'}"])
    first = (tmp_path / "first.toml").read_text(encoding="utf-8")
    shown = capsys.readouterr().out
    monkeypatch.setattr(Trials, "_measure", lambda *_, **__: pytest.fail("measured again"))
    main([*arguments, f"--output={tmp_path / 'second.toml'}"])
    assert (tmp_path / "second.toml").read_text(encoding="utf-8") == first
    (record,) = tomllib.loads(first).values()
    assert "(layer, v_lr given, not searched): efficacy" in record.pop("source")
    assert (record["layers"], record["v_lr"]) == ([1], 0.3)
    built_in("rome").Hyperparameters.model_validate(record)
    assert "perplexity kept" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give one --editor"),
        (["--editor=ike"], "cannot be tuned. Allowed: alphaedit"),
        (["--editor=rome", "--count=0"], "at least 1"),
        (["--editor=rome", "--count=900"], "the first half is left to the gate"),
    ],
)
def test_wrong_settings_are_usage_errors(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No method, one without a space, and edits that the list does not hold are refused before a model is loaded."""
    with pytest.raises(SystemExit) as stopped:
        main(["pythia-mini-s", *arguments])
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err


def test_another_models_numbers_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that holds another model's table is left as it is, and named."""
    file = tmp_path / "rome.toml"
    file.write_text("[gpt2-xl]\nlayers = [17]\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["pythia-mini-s", "--editor=rome", "--count=1", f"--store={tmp_path}", f"--output={file}"])
    assert "holds the numbers of gpt2-xl" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8").startswith("[gpt2-xl]")
