"""Stand-in of Open OnDemand: the files that :mod:`cloudlet_deploy.lab.portal` puts into its image.

It keeps the contract between Open OnDemand's core and what lies around it (files, commands,
sockets, processes, forms of errors) and has none of the dashboard. It runs on Debian 12.
"""
