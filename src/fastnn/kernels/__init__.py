"""Compiled kernels, one module per instruction set and dtype; `fastnn._dispatch` chooses among them."""
