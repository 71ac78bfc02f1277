"""What people and probes see of workers and jobs."""
