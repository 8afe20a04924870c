"""How the examples of one round come about: plain, guided by a learner, or over-generated and pruned by one."""
