"""One turn of a conversation: recall → prompt → generate → store → rate.

`turn.py` is the story. Nothing here knows how a night trains: the day only reads from the ledger which adapter serves.
Importing this package loads no torch, faiss, peft or gradio; the modules that need them do so when they are used.
"""
