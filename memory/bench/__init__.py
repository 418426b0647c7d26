"""Recall, measured: does it find the evidence, and what does a million cost.

evidence.py   LoCoMo: of the turns that answer a question, how many are among the first k
scale.py      a million exchanges: latency, recall of the index, memory, start, cost of one more
rows.py       the same of the ledger with its lexicon
plot.py       the cost of one more exchange, drawn
crash.py      two processes that write, one killed in the midst

They print nothing, and use nothing that the product doesn't use.
"""
