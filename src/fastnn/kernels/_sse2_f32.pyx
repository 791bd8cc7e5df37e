# The float32 kernels for sse2.
include "module.pxi"
