"""Confirms settings by restarts: in each round the engine is started without speculation and with each of them, one after the other.

A comparison is of the same prompts in the same round: machines drift, and prompts differ. What a start with or without speculation changes
beside the drafts (vLLM schedules asynchronously only without) is part of what is compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from casspec.storage.engines.documents import PLAIN, EngineMeasurement, EngineSetting
from casspec.tuner.engines.figures import Interval, ratio, ratio_by_round
from casspec.tuner.engines.process import EngineFailed
from casspec.tuner.engines.tuning.finalists import Finalist
from casspec.tuner.engines.tuning.session import CONFIRM_KIND, OutOfTime, Session

ROUNDS = 3
"""At most, of settings that still may be the best."""
HOPE = 0.97
"""A start is spent on a setting whose corrected prediction is at least this gain somewhere."""


class Confirmed:
    """What was measured of settings and of none, round by round."""

    def __init__(self, session: Session, plain: Mapping[int, EngineMeasurement]) -> None:
        self._session = session
        self._plain = plain

    def _asking_s(self, concurrency: int, place: int) -> float:
        """Expected time of a group, by what its requests took without speculation."""
        group, plain = self._session.workload.groups(concurrency)[place], self._plain[concurrency]
        return len(group) * plain.seconds / plain.requests

    def run(self, finalists: Sequence[Finalist]) -> None:
        """All rounds that there is time for, the most promising settings first."""
        for number in range(ROUNDS):
            left = self._still_wanted(finalists) if number else list(finalists)
            if not left:
                return
            order = [Finalist(PLAIN, {}), *left]
            for each in order if number % 2 == 0 else reversed(order):
                if not self.is_disproved(each, finalists) and not self.measure(each.setting, number):
                    return

    def is_disproved(self, finalist: Finalist, finalists: Sequence[Finalist]) -> bool:
        """Whether a setting was not measured, and the measured ones of its method fell so short of their predictions that it pays nowhere.

        What replay and steps do not know of a method, such as the time that the engine itself takes for drafting, its settings share.
        """
        if not finalist.predicted_gain or self.gain(finalist.setting, next(iter(finalist.predicted_gain))) is not None:
            return False
        for concurrency, promised in finalist.predicted_gain.items():
            kept = [
                gain.middle / other.predicted_gain[concurrency]
                for other in finalists
                if other.setting.method == finalist.setting.method and concurrency in other.predicted_gain
                if (gain := self.gain(other.setting, concurrency)) is not None
            ]
            if not kept or promised * max(kept) >= HOPE:
                return False
        return True

    def measure(self, setting: EngineSetting, number: int) -> bool:
        """A round of a setting, where it is not stored; False where there is no time for all of it.

        A setting that the engine does not start with is a failed trial. Raises EngineFailed where it fails without speculation.
        """
        session = self._session
        missing = self._missing(setting, number)
        if not missing or session.has_failed(setting):
            return True
        if not session.budget.allows(sum(self._asking_s(*each) for each in missing)):
            return False
        try:
            session.persistently(lambda: self._measure(setting, number))
        except EngineFailed as error:
            if setting.is_off:
                raise
            session.failed(setting, str(error))
        except OutOfTime:
            return False
        return True

    def _measure(self, setting: EngineSetting, number: int) -> None:
        session = self._session
        with session.engine_with(setting, f"round {number + 1}, {setting.name}") as instance:
            for concurrency, place in self._missing(setting, number):
                group = session.workload.groups(concurrency)[place]
                session.check_time(self._asking_s(concurrency, place))
                fresh = f"confirm {number} {concurrency} {place}"
                figures, _ = session.drive(instance, fresh, group, concurrency, setting=setting)
                key = _key(setting, number, concurrency, place)
                session.store.save(session.subject_hash, CONFIRM_KIND, key, figures)

    def _missing(self, setting: EngineSetting, number: int) -> list[tuple[int, int]]:
        """Requests at a time and place of the groups that are not stored."""
        stored = self._stored()
        return [
            (concurrency, place)
            for concurrency in self._session.subject.concurrency
            for place in range(len(self._session.workload.groups(concurrency)))
            if _key(setting, number, concurrency, place) not in stored
        ]

    def gain(self, setting: EngineSetting, concurrency: int) -> Interval | None:
        """Against no speculation, of pairs of the same prompts and round; None where there is none."""
        rounds = self._pairs(setting, concurrency)
        return ratio_by_round(rounds) if rounds else None

    def is_slower(self, setting: EngineSetting) -> bool:
        """Whether it is measurably slower than no speculation with some number of requests at a time."""
        found = [self._of_pairs(setting, each) for each in self._session.subject.concurrency]
        return any(each is not None and each.high < 1.0 for each in found)

    def _of_pairs(self, setting: EngineSetting, concurrency: int) -> Interval | None:
        """As `gain`, as if each pair had starts of its own: two or three rounds bound nothing, and would leave all settings in."""
        pairs = [pair for one in self._pairs(setting, concurrency) for pair in one]
        return ratio(pairs) if pairs else None

    def rounds(self, setting: EngineSetting, concurrency: int) -> int:
        """How many of them its gain comes from."""
        return len(self._pairs(setting, concurrency))

    def _pairs(self, setting: EngineSetting, concurrency: int) -> list[list[tuple[float, float]]]:
        """Tokens per second with and without it, by round."""
        stored = self._stored()
        rounds = []
        for number in range(ROUNDS):
            pairs = []
            for place in range(len(self._session.workload.groups(concurrency))):
                with_it = stored.get(_key(setting, number, concurrency, place))
                without = stored.get(_key(PLAIN, number, concurrency, place))
                if with_it is not None and without is not None:
                    pairs.append((with_it.tokens_per_second, without.tokens_per_second))
            rounds.append(pairs)
        return [pairs for pairs in rounds if pairs]

    def of(self, setting: EngineSetting, concurrency: int) -> list[EngineMeasurement]:
        """What was measured of it with so many requests at a time."""
        wanted = setting.content_hash()
        return [
            each
            for each in self._stored().values()
            if each.concurrency == concurrency and each.setting.content_hash() == wanted
        ]

    def _still_wanted(self, finalists: Sequence[Finalist]) -> list[Finalist]:
        """Those that may be the best somewhere, by what was measured so far; settings without a measurement have failed."""
        kept = []
        for each in finalists:
            for concurrency in self._session.subject.concurrency:
                own = self._of_pairs(each.setting, concurrency)
                others = [self._of_pairs(other.setting, concurrency) for other in finalists if other is not each]
                if (
                    own is not None
                    and all(other is None or own.high >= other.low for other in others)
                    and own.high > 1.0
                ):
                    kept.append(each)
                    break
        return kept

    def _stored(self) -> dict[str, EngineMeasurement]:
        return self._session.store.saved(self._session.subject_hash, CONFIRM_KIND, EngineMeasurement)


def _key(setting: EngineSetting, number: int, concurrency: int, place: int) -> str:
    return f"{setting.content_hash()[:24]}/{number}/{concurrency}/{place}"
