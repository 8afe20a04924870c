"""Attacks on the program: kills, damage, two writers, full disks, faults, failing ranks, nonsense; `python -m torture`.

Each kind of attack is a module with a function `attack(place, tries, draw)`, which yields an Attempt for each case. A
case is survived if nothing is silently wrong, nothing is lost, and the user reads one line that says what happened.
"""
