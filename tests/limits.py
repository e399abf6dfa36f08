"""How long a test waits for what must come."""

HANGS = 600  # seconds: what has not come by then never will, on a machine however busy
