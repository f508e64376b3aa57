"""Real hospitals: what coordinator and sites keep on disk, and Flower's own programs started with the right switches.

No run logic is here: the same `ServerApp` and `ClientApp` run as in one process. TLS and node authentication are
always on; there is no switch that turns them off.
"""
