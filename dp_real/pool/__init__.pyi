"""The names of this package, with the module that each lives in (see dp_base.imports)."""

from dp_real.pool.pool import FACTS as FACTS
from dp_real.pool.pool import REAL_SEED as REAL_SEED
from dp_real.pool.pool import Pool as Pool
