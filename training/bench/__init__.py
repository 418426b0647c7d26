"""Simulated users, measured: they ask, rate, let the nights run, and everything is asked again.

run.py       the story: every arm and seed lives through the days of the streams
plan.py      streams as days, and what is asked after each
arms.py      what is compared: how each arm's nights differ from the default
public.py    public sets after a run, beside the base
cache.py     an engine that computes no answer twice
results.py   the files of a bench: one for each night, and results.json made of them
figures.py   records of nights → the R matrix and the figures of a run
poison.py    a stranger's thumbs that push false facts and flattery
metrics.py   the formulas: ACC, BWT, FWT, forgetting, intervals
report.py    results → report.md
plots.py     results → plots
recalled.py  a stream by memory alone, a minute after its corrections
loop.py      one night of the product in the small: seconds to an answer, tokens a second
speed.py     serving and learning beside peers: one conversation, many users, a night, a switch
talk_speed.py  how fast an engine talks: to one, to many, in a second turn, while versions change, beside a night
peer_speed.py  the same conversation by plain generate() and by llama.cpp
night_speed.py  a training in a process of its own, ours or TRL's
random_model.py  a model folder in the shape of an 8B, with random weights
peers.py     where vLLM and llama.cpp are installed, and how they start
load.py      many users against a running server, and what they leave behind

Nothing here prints, and nothing is known of how settings become an assistant: whoever starts a bench hands in `Build`.
"""

from training.bench.loop import LoopFigures, loop, seconds_to_first_answer
from training.bench.public import PublicSets
from training.bench.recalled import recalled
from training.bench.run import Build, Product, compare

__all__ = [
    "Build",
    "LoopFigures",
    "Product",
    "PublicSets",
    "compare",
    "loop",
    "recalled",
    "seconds_to_first_answer",
]
