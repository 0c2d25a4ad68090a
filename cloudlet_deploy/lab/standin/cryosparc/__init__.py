"""Stand-in of CryoSPARC: the files that :mod:`cloudlet_deploy.lab.cryosparc` makes its archives of.

``program`` goes into both archives as ``lib/cryosparc_standin``, and runs on the hosts' Python.
"""
