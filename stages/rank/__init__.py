"""Order a device's candidates, choose one, and say how far the order can be trusted."""
