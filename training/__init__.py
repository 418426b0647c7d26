"""One night: collect → examine → replay → train → examine → decide → (bisect) → publish.

`nightly.py` is the story. The night trains and examines through the very engine and prompt of the day, and hands over
through the ledger alone, so that it can be another process or another machine. Importing this package loads no torch.
"""
