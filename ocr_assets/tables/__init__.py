"""The schemas of the four tables and the Delta tables behind them."""
