"""`python -m app` is the command `nightschool`."""

from app import main

main()
