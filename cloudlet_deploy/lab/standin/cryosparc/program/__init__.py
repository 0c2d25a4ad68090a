"""Lab stand-in for CryoSPARC: what its master and worker do, as far as a deployment sees it."""
