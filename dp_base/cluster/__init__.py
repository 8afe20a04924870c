"""Jobs on other machines: the workers of a dask scheduler, and what runs there in a process of its own."""
