"""The table of what is tuned: it names what exists, and a few of its settings cover much."""

from __future__ import annotations

from itertools import islice
from math import prod

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.policies import METHODS, settable
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import DrafterSpec, Precision, Quantization, SkipSet
from casspec.tuner.methods.by_decoding import tunable
from casspec.tuner.methods.grids import GRIDS, SKIPPING, axes_of, published_setting, settings_of, takes
from tests.runtime.own_methods import Copying, empty_registry
from tests.tuner.tiny import tiny_target

SPARSE = DrafterSpec(name="a", kind="self", skip=SkipSet(attention=(1,)))

OTHER_SPARSE = DrafterSpec(name="b", kind="self", skip=SkipSet(mlp=(1, 2)))

INT4 = Quantization(precision=Precision.INT4_WEIGHT)


def test_every_method_with_parameters_has_a_grid() -> None:
    assert set(GRIDS) == {method for method, policy in METHODS.items() if settable(policy)}


@pytest.mark.parametrize("method", GRIDS)
def test_an_axis_is_a_parameter_and_its_values_are_of_its_type(method: str) -> None:
    defaults = settable(METHODS[method])
    for axis, values in GRIDS[method].items():
        assert {type(value) for value in values} == {type(defaults[axis])}, axis
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("method", GRIDS)
def test_settings_come_once_each_and_the_published_one_first(method: str) -> None:
    settings = list(settings_of(method, [SPARSE]))
    assert settings[0] == published_setting(method)
    different = {tuple(setting.items()) for setting in settings}
    assert len(different) == len(settings)
    in_grid = [s for s in settings if all(s[axis] in values for axis, values in axes_of(method, [SPARSE]).items())]
    assert len(in_grid) == prod(map(len, axes_of(method, [SPARSE]).values()))
    assert len(settings) <= len(in_grid) + 1


def test_any_beginning_covers_every_axis_and_is_fixed_by_the_seed() -> None:
    first = list(islice(settings_of("layer-sparse", [SPARSE, OTHER_SPARSE], seed=3), 1 + 12))
    assert first == list(islice(settings_of("layer-sparse", [SPARSE, OTHER_SPARSE], seed=3), 1 + 12))
    assert first != list(islice(settings_of("layer-sparse", [SPARSE, OTHER_SPARSE], seed=4), 1 + 12))
    for axis, values in axes_of("layer-sparse", [SPARSE, OTHER_SPARSE]).items():
        assert {setting[axis] for setting in first} >= set(values)


def test_an_axis_of_plans_holds_the_methods_own_choice_and_the_profiles_drafters() -> None:
    assert axes_of("layer-sparse", [SPARSE, OTHER_SPARSE])["drafter"] == ("", SPARSE.name, OTHER_SPARSE.name)
    assert axes_of("prompt-lookup", [SPARSE, OTHER_SPARSE]) == GRIDS["prompt-lookup"]


def test_a_method_without_a_grid_has_its_published_parameters_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    empty_registry(monkeypatch).register("copying", Copying)
    assert axes_of("copying", [SPARSE]) == {}
    assert list(settings_of("copying", [SPARSE])) == [{}]
    assert published_setting("copying") == {}
    with pytest.raises(UnsupportedOption, match="method 'copying' has nothing to tune"):
        tunable(["copying"])


@pytest.mark.parametrize("method", sorted(SKIPPING))
def test_methods_about_skip_sets_are_tuned_with_plans_that_do_nothing_but_skip(method: str) -> None:
    whole = DrafterSpec(name="int4", kind="self", quantization=INT4)
    both = DrafterSpec(name="int4-a", kind="self", skip=SPARSE.skip, quantization=INT4)
    drafters = [whole, both, SPARSE, DrafterSpec(name="prompt-lookup", kind="prompt-lookup")]
    assert axes_of(method, drafters)["drafter"] == ("", SPARSE.name)
    assert axes_of("vertical", drafters)["drafter"] == ("", whole.name, both.name, SPARSE.name)
    taken = {name: takes(method, {"drafter": name}, drafters) for name in ("", "int4", "int4-a", "a", "gone")}
    assert taken == {"": True, "int4": False, "int4-a": False, "a": True, "gone": False}


@pytest.mark.parametrize("method", GRIDS)
def test_every_setting_can_be_built_and_decodes_what_the_target_says(method: str) -> None:
    """A few settings of each method, without a profile."""
    target = tiny_target()
    prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
    expected = Decoder(target, method="autoregressive").generate(prompt, 12, temperature=0.7, seed=1).token_ids
    for parameters in islice(settings_of(method), 6):
        if method == "quantised" and target.refusal(Precision(parameters["precision"])):
            continue
        decoder = Decoder(target, method=method, parameters=parameters)
        assert decoder.generate(prompt, 12, temperature=0.7, seed=1).token_ids == expected
