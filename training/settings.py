"""What a night needs to know. Each bound of the gate says why it is where it is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from assistant.settings import Settings as DaySettings


class NightSettings(BaseModel):
    """Settings of the nightly job: the table `[night]` of the file, `NIGHTSCHOOL_NIGHT__…` in the environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, lt=2**31)
    max_minutes: float | None = Field(None, gt=0, description="budget for training; None: as long as the epochs take")

    rank: int = Field(16, ge=1, le=256)
    alpha: int = Field(32, ge=1)
    learning_rate: float = Field(3e-4, gt=0, le=1)
    epochs: int = Field(3, ge=1, le=100)
    batch_rows: int = Field(8, ge=1, le=256)
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps")
    kl_weight: float = Field(3.0, ge=0, description="weight of the KL to the base on replayed rows")
    known_nll: float = Field(
        0.2, ge=0, description="nats; a wanted token at least this likely (0.2: p = 0.82) teaches nothing more"
    )
    rewordings: int = Field(6, ge=0, le=20, description="reworded questions trained beside each correction")

    lesson_tokens: int = Field(512, ge=16, description="longest lesson, prompt and answer; longer ones are left out")
    replay_rows: int = Field(60, ge=0, description="rows of replayed dialogue a night")
    replay_tokens: int = Field(20, ge=1, description="length of the base's own answers in the replay")

    scales: tuple[float, ...] = Field(
        (1.0, 0.75, 0.5),
        min_length=1,
        description="strengths of the adapter that are examined; the best that passes serves",
    )
    answer_tokens: int = Field(
        24, ge=1, description="length of an answer in the exam, at least; lessons need what they are long"
    )
    controls: int = Field(48, ge=0, description="general questions in the exam")

    # The gate's bounds.
    perplexity_ratio_max: float = Field(
        1.03, ge=1, description="perplexity on fixed text, after / before: 3 % is under what a reader can notice"
    )
    controls_kept_min: float = Field(
        0.95, ge=0, le=1, description="share of controls that were right and still are: one in twenty may be chance"
    )
    verified_kept_min: float = Field(
        0.95, ge=0, le=1, description="share of earlier verified lessons that still hold: what was learned must stay"
    )
    lease_seconds: float = Field(30, gt=0, description="a night that is silent for so long is dead")


class Settings(DaySettings):
    """The settings of a whole Nightschool: the day's, and the night's under `night`."""

    night: NightSettings = NightSettings()


def as_json(settings: NightSettings) -> dict[str, Any]:
    """What the ledger keeps of them beside a night."""
    return settings.model_dump(mode="json")
