"""Which steps of the sampler are guided."""


def is_guided(index: int, steps: int, window: tuple[float, float], every: int) -> bool:
    """Whether step `index` of `steps` is guided: each `every`-th within a window of the trajectory (0 noise, 1 image).

    The last step is never guided: no later step could repair the sample.
    """
    begin, end = (round(edge * steps) for edge in window)
    return begin <= index < min(end, steps - 1) and (index - begin) % every == 0
