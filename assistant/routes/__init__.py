"""The routes, one module a subject; `assistant.api` puts them together.

chat.py      OpenAI's shape: chat, plain and streamed, and the versions as models
learning.py  ratings, lessons, versions, nights
knowing.py   what is remembered: search and export
standing.py  health, readiness, metrics
errors.py    the one shape of everything that is refused
"""
