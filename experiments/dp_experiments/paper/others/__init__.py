"""Figures of what other papers ask, answered by the engine of this one."""
