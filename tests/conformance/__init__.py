"""Every model and every balancer, through every guarantee."""
