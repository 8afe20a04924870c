"""Everything about texts: their sources, generators and learners, and which texts are nearly alike.

The engine does not import this room. Its kinds are entry points of this project (pyproject.toml), as those of another
package would be.
"""
