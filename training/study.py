"""What earlier candidates have shown: an Optuna study in the ledger's own database, and the sampler that reads it.

Optuna's JournalStorage over the ledger, because its RDBStorage keeps its schema's version in a table `alembic_version`
of its own, which is the ledger's too: it refuses the ledger, and would have the ledger refuse it.

Which trials count is decided for each night anew (`Study.trials`): the sampler sees a study in memory that holds those
alone, so that what was taken back leaves no trace in what is proposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from memory.ledger import Ledger

optuna.logging.set_verbosity(optuna.logging.WARNING)

SPACE: dict[str, CategoricalDistribution | FloatDistribution | IntDistribution] = {
    # LoRA's NLL learns from 1e-4 to 5e-4 (LoRA Without Regret); a KL beside it affords ten times that (docs/LOG.md).
    "learning_rate": FloatDistribution(2e-4, 2e-3, log=True),
    # What a night teaches fits the smallest; a larger one forgets more (arXiv 2405.09673). Alpha keeps its ratio.
    "rank": CategoricalDistribution((8, 16, 32)),
    # Two are too few for the KL to pull neighbours back, more than ten cost a night its time (docs/LOG.md).
    "epochs": IntDistribution(3, 10),
    # 1 loses neighbours, 5 keeps most of them (docs/LOG.md); twice that holds harder than it may be worth.
    "kl_weight": FloatDistribution(1.0, 10.0, log=True),
    # The arms: the plain loss, which learned best live (arXiv 2410.13852), and two preferences beside it.
    "preference": CategoricalDistribution(("none", "kto", "apo")),
}
"""Setting of the night → where candidates are drawn from."""

STARTUP = 6
"""Trials from which the sampler (TPE, Bergstra et al., 2011) draws by what they showed; fewer say too little."""


@dataclass(frozen=True)
class Trial:
    """One candidate of a night.

    Attributes:
        settings: those of `SPACE` that it was trained with.
        value: what its exam was worth, see `candidates.worth`; None where its training diverged.
        won: whether the night chose it, and it passed the gate.
        mark: what was in force that night, see `lessons.mark`.
    """

    night_id: str
    settings: Mapping[str, Any]
    value: float | None
    won: bool
    mark: Mapping[str, Any]


class Study:
    """All trials of one `name`: of one model, around one set of default settings."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._name = name
        self._storage = JournalStorage(_Journal(ledger))

    def trials(self) -> list[Trial]:
        """In the order in which they were added."""
        try:
            study = optuna.load_study(study_name=self._name, storage=self._storage)
        except KeyError:
            return []
        return [Trial(**trial.user_attrs) for trial in study.get_trials(deepcopy=False)]

    def add(self, trials: Sequence[Trial]) -> None:
        """Keep a night's trials. Those of a night that has added its own already are not added again."""
        nights = {trial.night_id for trial in self.trials()}
        if not nights:
            optuna.create_study(study_name=self._name, storage=self._storage, direction="maximize", load_if_exists=True)
        study = optuna.load_study(study_name=self._name, storage=self._storage)
        for trial in trials:
            if trial.night_id not in nights:
                study.add_trial(_frozen(trial))


class Sampler:
    """Proposes settings by what `past` trials showed, and by what it is told tonight. The same seed, the same settings.

    Args:
        names: of `SPACE`, those that tonight can differ in.
    """

    def __init__(self, past: Sequence[Trial], names: Iterable[str], *, seed: int) -> None:
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._study.add_trials([_frozen(trial) for trial in past])
        self._space: dict[str, BaseDistribution] = {name: SPACE[name] for name in names}

    def add(self, trial: Trial) -> None:
        """What one more candidate showed."""
        self._study.add_trial(_frozen(trial))

    def propose(self) -> dict[str, Any]:
        """Settings for the next candidate; numbers to two digits, which is all that they mean."""
        asked = self._study.ask(self._space)
        # What is asked for stays open in Optuna's eyes, and is told by `add` with the settings that were trained.
        self._study.tell(asked, state=TrialState.FAIL)
        return {name: float(f"{x:.2g}") if isinstance(x, float) else x for name, x in asked.params.items()}


class _Journal(BaseJournalBackend):
    """Optuna's log of operations, in the ledger's transactions."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._ledger.study_log(first=log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._ledger.append_study_log(logs)


def _frozen(trial: Trial) -> FrozenTrial:
    # Settings of the user's own may lie outside of the space: what they showed can't be told to the sampler.
    inside = {name: x for name, x in trial.settings.items() if _inside(name, x)}
    return create_trial(
        state=TrialState.FAIL if trial.value is None else TrialState.COMPLETE,
        value=trial.value,
        params=inside,
        distributions={name: SPACE[name] for name in inside},
        user_attrs=asdict(trial),
    )


def _inside(name: str, value: Any) -> bool:
    space = SPACE[name]
    if isinstance(space, CategoricalDistribution):
        return value in space.choices
    return bool(space.low <= value <= space.high)
