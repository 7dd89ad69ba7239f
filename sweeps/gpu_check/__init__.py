"""What decides on a launch on this machine: numbers beside the CPU's, resume, rates, memory and pace."""
