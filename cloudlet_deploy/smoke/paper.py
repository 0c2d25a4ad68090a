"""What the paper measured, as reference in the figures.

"Measurement of BeStMan Scalability" (Pi et al.), section 4.1: small directories of about ten
files, BeStMan in a Globus container at UCSD on a quad dual-core Opteron of 2.2 GHz with 8 GB.
"""

from __future__ import annotations

#: "There average ratio is 1 Hz per 40 clients."
CLIENTS_PER_HZ = 40.0
#: "1000 (2000) client concurrency makes ~25 (50) Hz processing rate"; clients and Hz.
RATES: tuple[tuple[float, float], ...] = ((1000, 25), (2000, 50))
#: "More than 2500 client concurrency: BeStMan stops functioning and hangs."
TROUBLE = 2500.0
