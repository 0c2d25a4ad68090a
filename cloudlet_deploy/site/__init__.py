"""What the user wrote: loading it, the schema it must follow, and its faults."""

from cloudlet_deploy.site.loading import load
from cloudlet_deploy.site.model import Host, Origin, Site, Unknown, Value, Vault, Why

__all__ = ["Host", "Origin", "Site", "Unknown", "Value", "Vault", "Why", "load"]
