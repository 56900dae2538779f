"""What a calibration can be replayed on, and compared with: recordings of one half of its suite, and benchmarks of the same prompts."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import cached_property

from casspec.profiler.progress import Progress
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import SuiteError, UnsupportedOption
from casspec.storage.repository import Repository
from casspec.storage.schema import CASCADE, BenchReport, CascadeProfile, Mode
from casspec.tuner.bench.entries import AUTOREGRESSIVE, as_calibrated, method_entries
from casspec.tuner.bench.run import run_benchmark
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.stage import reporting_recordings, stored_recordings, tasks_in_turn
from casspec.tuner.replay.policies import variant_of
from casspec.tuner.replay.reality import comparable
from casspec.tuner.replay.run import Predicted, speedups
from casspec.tuner.settings import CalibrationSettings
from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.prompts import Half, Prompt, Suite, asked_turns, spread_over_tasks, without_refused

PROMPTS = 10
"""Of the reporting half, where no benchmark says how many."""


class ReplayTexts:
    """Recordings of one half, made with the model where they are not stored.

    Args:
        load: gives the model, the same at every call; called when something needs it.
    """

    def __init__(
        self, repository: Repository, profile: CascadeProfile, load: Callable[[], TargetModel], half: Half
    ) -> None:
        self._repository = repository
        self._profile = profile
        self._load = load
        self._half = half
        self.calibration_id, stored = repository.calibration_of(profile.content_hash())
        self.settings = CalibrationSettings.of_stored(stored)

    def tuning(self) -> list[Recording]:
        """What the calibration recorded, tasks in turn."""
        return tasks_in_turn(list(stored_recordings(self._repository, self.calibration_id).values()))

    def recordings(self, modes: Sequence[Mode], n_prompts: int | None, progress: Progress) -> list[Recording]:
        """Of the half, at least one; all prompts that a benchmark decoded, or `n_prompts` of them.

        Raises:
            UnsupportedOption: there is none.
            SuiteError: the suite is no longer the one the calibration recorded.
        """
        found = self._recorded(n_prompts) if self._half == "tuning" else self._reporting(modes, n_prompts, progress)
        chosen = [one for one in found if one.mode in modes]
        if not chosen:
            raise UnsupportedOption(
                f"of the {self._half} half nothing is recorded in mode {', '.join(modes)}, or its prompts leave no room in "
                "the model's context: take another --mode or --half"
            )
        return chosen

    def benchmark(self, modes: Sequence[Mode]) -> BenchReport | None:
        """The newest benchmark of the profile on the half that decoded in one of `modes`, with the noise the recordings have."""
        if self._half == "tuning":
            return None
        return comparable(self._repository.bench_reports(self._profile.content_hash()), self.settings, modes)

    def decoded(
        self,
        profile: LoadedProfile,
        methods: Sequence[str],
        modes: Sequence[Mode],
        recordings: Sequence[Recording],
        predicted: Sequence[Predicted],
        progress: Progress,
    ) -> BenchReport:
        """The recorded prompts decoded by the same methods, interleaved with autoregressive decoding; stored for the reporting half.

        dytc also decodes as it was replayed, with the latencies that the calibration measured and no others.

        Args:
            predicted: what replay says of the same prompts, kept beside what is measured.
        """
        target = self._load()
        prompts = _as_far_as(self._suite.prompts, {recording.prompt_id for recording in recordings})
        variants = {method: variant_of(method, self._profile) for method in methods}
        entries = [
            entry
            for entry in method_entries(target, profile, list(methods))
            if entry.method == AUTOREGRESSIVE or variants[entry.method] == entry.variant
        ]
        if CASCADE in methods:
            entries += as_calibrated(target, profile)
        told = {
            "suite": self._suite.name,
            "suite_sha256": self.settings.suite_sha256,
            "profile": self._profile.profile_id,
            "half": self._half,
        }
        report = run_benchmark(
            target,
            prompts,
            entries,
            tuple(modes),
            len(recordings[0].continuation_tokens),
            seed=self.settings.seed,
            progress=progress,
            settings=told,
            long=self.settings.record.long,
        )
        of_cascade = speedups(row for row in predicted if row.method == CASCADE)
        report = report.model_copy(update={"replayed": of_cascade})
        if self._half == "reporting":
            self._repository.save_bench(self._profile.content_hash(), report)
        return report

    @cached_property
    def _suite(self) -> Suite:
        suite = load_suite(self.settings.suite)
        if suite.content_hash() != self.settings.suite_sha256:
            raise SuiteError(
                f"suite '{self.settings.suite}' has changed since this calibration recorded it; "
                "run `casspec calibrate` again"
            )
        if any(prompt.conversation for prompt in suite.prompts):
            return without_refused(suite, self._load().tokenizer)
        return suite

    def _recorded(self, n_prompts: int | None) -> list[Recording]:
        recorded = self.tuning()
        kept = list(dict.fromkeys(one.conversation_id for one in recorded))[:n_prompts]
        return [one for one in recorded if one.conversation_id in kept]

    def _reporting(self, modes: Sequence[Mode], n_prompts: int | None, progress: Progress) -> list[Recording]:
        """As many tokens as the newest comparable benchmark decoded, else as the calibration recorded."""
        report = self.benchmark(modes)
        n_tokens = report.environment["max_new_tokens"] if report else self.settings.record.tokens
        half = asked_turns(self._suite.half("reporting"), self.settings.record.turns)
        if report and not n_prompts:
            prompts = _as_far_as(half, {text.prompt_id for text in report.texts})
        else:
            prompts = spread_over_tasks(half, n_prompts or PROMPTS)
        asked = self.settings.record.model_copy(update={"tokens": n_tokens})
        return reporting_recordings(
            self._repository, self.calibration_id, self._load, prompts, asked, self.settings.seed, progress
        )


def _as_far_as(prompts: Sequence[Prompt], turn_ids: Container[str]) -> list[Prompt]:
    """The conversations among these turns, each as far as they go."""
    found = []
    for prompt in prompts:
        turns = range(len(prompt.turns))
        n_turns = next((turn for turn in turns if prompt.turn_id(turn) not in turn_ids), len(turns))
        if n_turns:
            found.append(prompt.until(n_turns))
    return found
