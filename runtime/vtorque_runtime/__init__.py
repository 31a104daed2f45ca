"""What runs on a node: applies a NodePlan, runs the job in its guests, and undoes everything."""
