"""What a machine is, how busy it is, and what a process holds."""
