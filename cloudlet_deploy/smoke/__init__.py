"""The scaling test: clients of the real protocols, a load profile, its analysis and report."""
