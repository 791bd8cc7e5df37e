"""Compiled kernels, one module per instruction set and dtype; `fastnn.core.dispatch` chooses among them."""
