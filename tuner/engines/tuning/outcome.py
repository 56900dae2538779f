"""What came of a search: the best setting for each number of requests at a time, and one configuration for all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from casspec.storage.engines.documents import (
    PLAIN,
    EngineChoice,
    EngineMeasurement,
    EngineResult,
    EngineSetting,
)
from casspec.tuner.engines.figures import Interval
from casspec.tuner.engines.tuning.confirm import Confirmed
from casspec.tuner.engines.tuning.finalists import Finalist
from casspec.tuner.engines.tuning.latency import StepTime
from casspec.tuner.engines.tuning.session import OutOfTime, Session

NO_SLOWER = 0.97
"""A gain from here on is no loss where its interval reaches 1: machines are not measured more finely than that in a few starts."""

MOST_BEYOND = 1.1
"""A gain of so many times the tokens that a draft brought is none of the drafts': it was as if each step became faster by drafting."""

NONE = Interval(1.0, 1.0, 1.0, 0)
"""Of no speculation against itself."""


def adjusted(session: Session, confirmed: Confirmed, finalists: Sequence[Finalist]) -> Finalist | None:
    """The best setting without drafts where it was measured to be slower; None where nothing has to be left out, or the engine cannot."""
    if not session.abilities.draft_by_batch:
        return None
    best = _best(session, confirmed, finalists)
    if best is None:
        return None
    engine = session.engine
    lengths = {each: engine.drafts_at(best.setting, each) for each in session.subject.concurrency}
    slower = [each for each in lengths if lengths[each] and not _is_as_fast(confirmed, best.setting, each)]
    if not slower or len(slower) == len(lengths):
        return None
    kept = {each: 0 if each in slower else length for each, length in lengths.items()}
    if not any(kept.values()):
        return None
    gains = {each: 1.0 if each in slower else gain for each, gain in best.predicted_gain.items()}
    return Finalist(engine.by_batch(best.setting, kept), gains)


def outcome(
    session: Session,
    plain: Mapping[int, EngineMeasurement],
    confirmed: Confirmed,
    finalists: Sequence[Finalist],
    steps: StepTime | None,
) -> EngineResult:
    """The result of what was confirmed. A setting counts only where its interval lies above 1, and its drafts can have brought the gain.

    One configuration counts where it does so somewhere, and where it is nowhere measurably slower than no speculation.

    Raises OutOfTime where settings are promising and none of them was confirmed.
    """
    measured = [each for each in finalists if _is_measured(session, confirmed, each)]
    promising = [each for each in finalists if not session.has_failed(each.setting)]
    if promising and not measured:
        raise OutOfTime
    best = _best(session, confirmed, measured)
    configured: tuple[EngineChoice, ...] = ()
    if best is not None:
        configured = tuple(_choice(confirmed, plain, best, each) for each in session.subject.concurrency)
    pays = (
        best is not None
        and all(_is_no_slower(each.gain, each.high) for each in configured)
        and any(_is_gain(each) for each in configured)
        and all(map(_is_possible, configured))
    )
    setting = best.setting if best is not None and pays else PLAIN
    return EngineResult(
        subject=session.subject,
        choices=tuple(_choices(session, plain, confirmed, measured)),
        configuration=session.engine.configuration(setting),
        configured=configured if pays else (),
        refuses=session.engine.refuses(setting),
        latency=steps.latency if steps else None,
        notes=(
            *_impossible(
                _choice(confirmed, plain, each, one) for each in measured for one in session.subject.concurrency
            ),
            *_notes(session, confirmed, finalists, best if not pays else None),
            *_few_rounds(confirmed, setting, plain),
            *_beyond(session, setting),
        ),
    )


def _is_gain(choice: EngineChoice) -> bool:
    return choice.low > 1.0 and _is_possible(choice)


def _is_possible(choice: EngineChoice) -> bool:
    """Whether drafts can have brought the gain: a step brings no more tokens than one with a draft does, and takes no less time."""
    return choice.acceptance_length is None or choice.gain <= MOST_BEYOND * choice.acceptance_length


def _impossible(choices: Iterable[EngineChoice]) -> list[str]:
    return [
        f"{each.setting.name} was {each.gain:.2f}x as fast at {each.concurrency}, but a draft of it brought {each.acceptance_length:.2f} "
        "tokens: the machine was busy otherwise, so that does not count; measure on an idle one with --force"
        for each in choices
        if not _is_possible(each)
    ]


def _beyond(session: Session, setting: EngineSetting) -> list[str]:
    """What a user may run into that was not measured."""
    if setting.is_off:
        return []
    most = max(session.subject.concurrency)
    found = [f"more than {most} requests at a time were not measured; the engine drafts for them as for {most}"]
    if deciding := session.starter.deciding:
        words = " ".join(f"{name}={value}" for name, value in deciding.items())
        found.append(f"{session.engine.name} was started with {words}: with other values it takes other times")
    again = [str(each) for each in session.subject.concurrency if session.workload.comes_again(each)]
    if again:
        found.append(
            f"prompts were asked more than once in a start at {', '.join(again)} at a time, for want of others: "
            "methods that keep earlier answers gain from that"
        )
    return found


def _few_rounds(confirmed: Confirmed, setting: EngineSetting, places: Iterable[int]) -> list[str]:
    """What is not known of a configuration that was started once."""
    if setting.is_off or max(confirmed.rounds(setting, each) for each in places) > 1:
        return []
    return [
        "the configuration was measured in one start of the engine, and starts differ too, so intervals may be too narrow: run the same "
        "command again for more rounds"
    ]


def _choices(
    session: Session,
    plain: Mapping[int, EngineMeasurement],
    confirmed: Confirmed,
    measured: Sequence[Finalist],
) -> list[EngineChoice]:
    found = []
    for concurrency in session.subject.concurrency:
        here = [_choice(confirmed, plain, each, concurrency) for each in measured]
        better = [each for each in here if _is_gain(each)]
        found.append(max(better, key=lambda each: each.gain) if better else _off(confirmed, plain, concurrency))
    return found


def _off(confirmed: Confirmed, plain: Mapping[int, EngineMeasurement], concurrency: int) -> EngineChoice:
    return _choice(confirmed, plain, Finalist(PLAIN, {}), concurrency)


def _choice(
    confirmed: Confirmed, plain: Mapping[int, EngineMeasurement], finalist: Finalist, concurrency: int
) -> EngineChoice:
    setting = finalist.setting
    interval = (NONE if setting.is_off else confirmed.gain(setting, concurrency)) or NONE
    own, without = confirmed.of(setting, concurrency), confirmed.of(PLAIN, concurrency)
    drafted = [each for each in own if each.drafts]
    accepted = sum(each.accepted_tokens or 0 for each in drafted)
    drafts = sum(each.drafts or 0 for each in drafted)
    speed_without = _speed(without) or plain[concurrency].tokens_per_second
    return EngineChoice(
        concurrency=concurrency,
        setting=setting,
        gain=interval.middle,
        low=interval.low,
        high=interval.high if math.isfinite(interval.high) else 1e9,
        pairs=interval.n,
        tokens_per_second=_speed(own) or speed_without,
        plain_tokens_per_second=speed_without,
        predicted_gain=finalist.predicted_gain.get(concurrency),
        acceptance_length=1.0 + accepted / drafts if drafts else None,
    )


def _speed(measurements: Sequence[EngineMeasurement]) -> float | None:
    return median(each.tokens_per_second for each in measurements) if measurements else None


def _best(session: Session, confirmed: Confirmed, finalists: Sequence[Finalist]) -> Finalist | None:
    """Highest geometric mean of measured gains, before all others those that are nowhere slower than no speculation."""
    measured = [each for each in finalists if _is_measured(session, confirmed, each)]

    def rank(each: Finalist) -> tuple[bool, float]:
        gains = [_middle(confirmed, each.setting, one) for one in session.subject.concurrency]
        as_fast = all(_is_as_fast(confirmed, each.setting, one) for one in session.subject.concurrency)
        return as_fast, sum(map(math.log, gains))

    return max(measured, key=rank, default=None)


def _is_measured(session: Session, confirmed: Confirmed, finalist: Finalist) -> bool:
    return all(confirmed.gain(finalist.setting, each) is not None for each in session.subject.concurrency)


def _is_as_fast(confirmed: Confirmed, setting: EngineSetting, concurrency: int) -> bool:
    interval = confirmed.gain(setting, concurrency)
    return interval is not None and _is_no_slower(interval.middle, interval.high)


def _is_no_slower(gain: float, high: float) -> bool:
    return gain >= NO_SLOWER and high >= 1.0


def _middle(confirmed: Confirmed, setting: EngineSetting, concurrency: int) -> float:
    interval = confirmed.gain(setting, concurrency)
    return 0.0 if interval is None else interval.middle


def _notes(
    session: Session, confirmed: Confirmed, finalists: Sequence[Finalist], refused: Finalist | None
) -> list[str]:
    found = []
    if not finalists:
        found.append("no setting is predicted to be faster than no speculation, so none was confirmed")
    if refused is not None:
        gains = ", ".join(
            f"{_middle(confirmed, refused.setting, each):.2f}x at {each}" for each in session.subject.concurrency
        )
        slower = [
            str(each) for each in session.subject.concurrency if not _is_as_fast(confirmed, refused.setting, each)
        ]
        why = f"slower than no speculation at {', '.join(slower)}" if slower else "measurably faster nowhere"
        found.append(f"the best configuration that was measured gains {gains}: it is {why}, so it is off")
    for each in finalists:
        if confirmed.is_disproved(each, finalists):
            gains = ", ".join(f"{gain:.2f}x at {place}" for place, gain in each.predicted_gain.items())
            found.append(
                f"{each.setting.name} was predicted {gains}, but not measured: {each.setting.method} fell short of its "
                "predictions with another setting"
            )
    for trial in session.store.trials(session.subject_hash):
        if trial.status == "failed" and trial.concurrency == session.subject.concurrency[0]:
            found.append(f"{trial.setting.name} failed: {trial.reason}")
    return found
