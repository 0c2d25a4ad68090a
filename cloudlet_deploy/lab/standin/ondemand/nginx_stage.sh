#!/bin/sh
# nginx_stage of the Open OnDemand stand-in.
[ ! -r /etc/ood/profile ] || . /etc/ood/profile
exec /usr/bin/python3 -I /opt/ood/nginx_stage/lib/nginx_stage.py "$@"
