"""Attacks on the program; `python -m torture`.

An attack is a module's `attack(place, tries, draw)`, which yields an Attempt for each case. Survived: nothing is
silently wrong or lost, and the user reads one line that says what happened.
"""
